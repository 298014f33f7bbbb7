"""Open Inference Protocol v2 on the wire: requests and answers, as JSON and as binary tensors.

Formats: kserve/open-inference-protocol, specification/protocol/inference_rest.md, and the binary tensor data extension
of Triton (server/docs/protocol/extension_binary_data.md): JSON first, then the tensors' bytes, row by row; an element
of a BYTES tensor is its length (4 bytes, little-endian) and its bytes.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.engine import Prediction
from service.schemas import Name
from trimtab.errors import InvalidTensor
from trimtab.features import Floats

TEXT = "text"
# Name -> datatype, in the order of the metadata; all but the label have a second dimension.
OUTPUTS: Mapping[str, str] = {
    "label": "BYTES",
    "probabilities": "FP32",
    "logits": "FP32",
    "embedding": "FP32",
}
DEFAULT_OUTPUTS = ("label", "probabilities")
# Parameters that would change what the data mean: better refused than ignored.
_UNSUPPORTED = ("shared_memory_region", "classification")


class TensorParameters(BaseModel):
    """How one tensor is sent."""

    model_config = ConfigDict(extra="allow")
    binary_data_size: int | None = Field(None, ge=0, description="bytes of this input after the JSON")
    binary_data: bool | None = Field(None, description="send this output as bytes after the JSON")


class InferInput(BaseModel):
    """One input tensor: `text`, BYTES, [n] or [n, 1]."""

    name: str
    datatype: str
    shape: list[int] = Field(min_length=1, max_length=2)
    parameters: TensorParameters = TensorParameters()
    data: list[Any] | None = None


class InferOutput(BaseModel):
    """One output that is asked for."""

    name: str
    parameters: TensorParameters = TensorParameters()


class InferParameters(BaseModel):
    """How to answer; others are ignored, as the protocol says."""

    truncate: bool = True
    timeout_ms: int | None = Field(None, ge=1, description="a shorter deadline than the configured one")
    timeout: int | None = Field(
        None, ge=1, description="the same in microseconds, as Triton's clients say it"
    )
    sample: bool = Field(True, description="false: no traffic, the monitor does not see it")
    domain: Name | None = None
    group: Name | None = None
    binary_data_output: bool = Field(False, description="send every output as bytes after the JSON")

    @property
    def timeout_s(self) -> float | None:
        """The deadline that was asked for."""
        given = [self.timeout_ms and self.timeout_ms / 1e3, self.timeout and self.timeout / 1e6]
        return min((seconds for seconds in given if seconds), default=None)


class InferRequest(BaseModel):
    """Open Inference Protocol: an inference request."""

    id: str | None = Field(None, max_length=200, description="comes back as `id`")
    parameters: InferParameters = InferParameters()
    inputs: list[InferInput] = Field(
        examples=[[{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["What a film!"]}]]
    )
    outputs: list[InferOutput] | None = Field(None, description="default: label and probabilities")

    def wanted(self) -> tuple[tuple[str, bool], ...]:
        """(name, as bytes) of every output that is asked for. Raises InvalidTensor."""
        everywhere = self.parameters.binary_data_output
        if self.outputs is None:
            return tuple((name, everywhere) for name in DEFAULT_OUTPUTS)
        for output in self.outputs:
            if output.name not in OUTPUTS:
                raise InvalidTensor(f"outputs: there is no {output.name!r}, there are {', '.join(OUTPUTS)}")
            _refuse_unsupported(f"outputs: {output.name}", output.parameters)
        return tuple(
            (each.name, everywhere if each.parameters.binary_data is None else each.parameters.binary_data)
            for each in self.outputs
        )


@dataclass(frozen=True)
class Inference:
    """A request that was read: its n texts, and the outputs as (name, as bytes)."""

    request: InferRequest
    texts: tuple[str, ...]
    outputs: tuple[tuple[str, bool], ...]


def read_inference(body: bytes, header_length: str | None) -> Inference:
    """Reads a request.

    Args:
        header_length: Inference-Header-Content-Length: bytes of the JSON part; None when all is JSON.

    Raises:
        InvalidTensor: it is malformed, or asks for what is not there.
    """
    end = len(body) if header_length is None else _length_of(header_length, len(body))
    try:
        request = InferRequest.model_validate_json(body[:end])
    except ValidationError as error:
        raise InvalidTensor(_first(error)) from None
    return Inference(request, _texts(request, body[end:]), request.wanted())


def write_answer(head: Mapping[str, Any], tensors: Sequence[dict[str, Any]]) -> tuple[bytes, int | None]:
    """The body, and the length of its JSON part when bytes follow it (else None).

    head: members of the answer beside `outputs`; tensors: what `tensor_of` made.
    """
    blobs = [blob for tensor in tensors if (blob := tensor.pop("bytes", None)) is not None]
    text = json.dumps({**head, "outputs": list(tensors)}, ensure_ascii=False, separators=(",", ":")).encode()
    return (b"".join([text, *blobs]), len(text)) if blobs else (text, None)


def tensor_of(name: str, values: Sequence[str] | Floats, *, binary: bool) -> dict[str, Any]:
    """One output tensor; as bytes it has the member `bytes` in place of `data`, which write_answer moves.

    values: n strings, or (n, k) numbers.
    """
    numbers = values if isinstance(values, np.ndarray) else None
    shape = [len(values)] if numbers is None else list(numbers.shape)
    tensor: dict[str, Any] = {"name": name, "datatype": OUTPUTS[name], "shape": shape}
    if not binary:
        return tensor | {"data": list(values) if numbers is None else numbers.ravel().tolist()}
    blob = _packed(values) if numbers is None else numbers.astype("<f4").tobytes()
    return tensor | {"parameters": {"binary_data_size": len(blob)}, "bytes": blob}


def values_of(name: str, prediction: Prediction) -> Sequence[str] | Floats:
    """What an output of OUTPUTS holds."""
    match name:
        case "label":
            return prediction.labels
        case "probabilities":
            return prediction.probabilities
        case "logits":
            return prediction.outputs.logits
        case _:
            return prediction.outputs.pooled


def _texts(request: InferRequest, blob: bytes) -> tuple[str, ...]:
    if [each.name for each in request.inputs] != [TEXT]:
        raise InvalidTensor(f"inputs: send one tensor, {TEXT!r}")
    (tensor,) = request.inputs
    if tensor.datatype != "BYTES" or tensor.shape[1:] not in ([], [1]):
        raise InvalidTensor(f"inputs: {TEXT} is BYTES of shape [n] or [n, 1]")
    _refuse_unsupported(f"inputs: {TEXT}", tensor.parameters)
    texts = _unpacked(tensor, blob) if tensor.data is None else tuple(_flat(tensor.data))
    if len(texts) != tensor.shape[0]:
        raise InvalidTensor(f"inputs: {TEXT} has shape {tensor.shape} and {len(texts)} elements")
    for i, text in enumerate(texts):
        if not isinstance(text, str) or not text:
            raise InvalidTensor(f"inputs: element {i} of {TEXT} is no text, or empty")
    return texts


def _unpacked(tensor: InferInput, blob: bytes) -> tuple[str, ...]:
    """The strings of a binary BYTES tensor. Raises InvalidTensor unless they fill the blob exactly, in UTF-8."""
    if tensor.parameters.binary_data_size != len(blob):
        raise InvalidTensor(
            f"inputs: {TEXT} announces {tensor.parameters.binary_data_size} bytes, {len(blob)} follow the JSON"
        )
    try:
        return tuple(element.decode() for element in _elements(blob))
    except (UnicodeDecodeError, struct.error):
        raise InvalidTensor(f"inputs: the bytes of {TEXT} are no sequence of lengths and UTF-8") from None


def _elements(blob: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(blob):
        (length,) = struct.unpack_from("<I", blob, at)
        at += 4 + length
        if at > len(blob):
            raise struct.error("an element is longer than what is left")
        yield blob[at - length : at]


def _packed(values: Iterable[Any]) -> bytes:
    encoded = [str(value).encode() for value in values]
    return b"".join(struct.pack("<I", len(element)) + element for element in encoded)


def _flat(data: list[Any]) -> Iterator[Any]:
    """Row-major elements of data that may be nested as its shape or flat."""
    for each in data:
        if isinstance(each, list):
            yield from _flat(each)
        else:
            yield each


def _length_of(text: str, n_bytes: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 12 and int(text) <= n_bytes):
        raise InvalidTensor(f"Inference-Header-Content-Length: a number of bytes, at most {n_bytes}")
    return int(text)


def _refuse_unsupported(where: str, parameters: TensorParameters) -> None:
    asked = [name for name in _UNSUPPORTED if name in (parameters.model_extra or {})]
    if asked:
        raise InvalidTensor(f"{where}: the parameter {asked[0]} is not supported")


def _first(error: ValidationError) -> str:
    first = error.errors(include_input=False, include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg']}" if place else f"the body is not valid: {first['msg']}"
