"""Open Inference Protocol on the wire: what is read, what is refused, what is written."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.tensors import read_inference, tensor_of, write_answer
from trimtab.errors import InvalidTensor

TEXTS = ["a good film", "😀 né\n", "\x00"]


def request(data: Any = None, **more: Any) -> dict[str, Any]:
    """A request for TEXTS in JSON; `more` replaces members of its input."""
    tensor = {"name": "text", "datatype": "BYTES", "shape": [3], "data": TEXTS if data is None else data}
    return {"inputs": [tensor | more]}


def blob_of(elements: list[bytes]) -> bytes:
    return b"".join(struct.pack("<I", len(each)) + each for each in elements)


def binary(elements: list[bytes], **more: Any) -> tuple[bytes, str]:
    """Body and header of a request with a binary tensor."""
    blob = blob_of(elements)
    tensor = {"name": "text", "datatype": "BYTES", "shape": [len(elements)]}
    head = json.dumps({"inputs": [tensor | {"parameters": {"binary_data_size": len(blob)}} | more]}).encode()
    return head + blob, str(len(head))


def refused(body: bytes, header: str | None = None) -> str:
    with pytest.raises(InvalidTensor) as caught:
        read_inference(body, header)
    return str(caught.value)


@pytest.mark.parametrize(
    ("data", "shape"), [(TEXTS, [3]), (TEXTS, [3, 1]), ([[text] for text in TEXTS], [3, 1])]
)
def test_texts_in_json_flat_or_nested(data: Any, shape: list[int]) -> None:
    asked = read_inference(json.dumps(request(data, shape=shape)).encode(), None)
    assert asked.texts == tuple(TEXTS)
    assert asked.outputs == (("label", False), ("probabilities", False))
    assert asked.request.id is None


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1, max_size=5))
def test_binary_texts_come_as_they_were_sent(texts: list[str]) -> None:
    assert read_inference(*binary([text.encode() for text in texts])).texts == tuple(texts)


def test_json_with_its_length_said_is_json() -> None:
    body = json.dumps(request()).encode()
    assert read_inference(body, str(len(body))).texts == tuple(TEXTS)


def test_outputs_are_wanted_each_in_its_way() -> None:
    outputs = [{"name": "logits", "parameters": {"binary_data": True}}, {"name": "label"}]
    body = request() | {"outputs": outputs, "id": "mine"}
    assert read_inference(json.dumps(body).encode(), None).outputs == (("logits", True), ("label", False))
    everywhere = body | {"parameters": {"binary_data_output": True}}
    assert read_inference(json.dumps(everywhere).encode(), None).outputs == (
        ("logits", True),
        ("label", True),
    )


@pytest.mark.parametrize(
    ("parameters", "timeout_s"),
    [
        ({}, None),
        ({"timeout_ms": 2000}, 2.0),
        ({"timeout": 500_000}, 0.5),
        ({"timeout": 3_000_000, "timeout_ms": 1}, 0.001),
        ({"sequence_id": 7, "priority": 1, "anything": [1]}, None),
    ],
)
def test_parameters(parameters: dict[str, Any], timeout_s: float | None) -> None:
    asked = read_inference(json.dumps(request() | {"parameters": parameters}).encode(), None)
    assert asked.request.parameters.timeout_s == timeout_s


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "JSON"),
        (b"{", "JSON"),
        (b"[" * 100_000, "JSON"),
        (b"\xff\xfe", "JSON"),
        (b'{"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["\\ud800"]}]}', "JSON"),
        (b"[]", "the body"),
        (b'{"inputs": 3}', "inputs"),
        (b'{"inputs": []}', "one tensor"),
    ],
)
def test_what_is_no_request(body: bytes, says: str) -> None:
    assert says in refused(body)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": "input_ids"}, "one tensor"),
        ({"datatype": "FP32"}, "BYTES"),
        ({"shape": [2]}, "3 elements"),
        ({"shape": [4]}, "3 elements"),
        ({"shape": [1, 3]}, "[n, 1]"),
        ({"shape": []}, "shape"),
        ({"shape": [3, 1, 1]}, "shape"),
        ({"shape": [-1]}, "3 elements"),
        ({"data": ["a", "", "b"]}, "element 1"),
        ({"data": ["a", 3, "b"]}, "element 1"),
        ({"data": ["a", None, "b"]}, "element 1"),
        ({"data": [float("nan")] * 3}, "element 0"),
        ({"data": "abc"}, "data"),
        ({"data": None}, "announces None bytes"),
        ({"parameters": {"shared_memory_region": "r"}}, "shared_memory_region"),
        ({"parameters": {"binary_data_size": -1}}, "binary_data_size"),
    ],
)
def test_what_is_no_text_tensor(change: dict[str, Any], says: str) -> None:
    body = request() | {"inputs": [request()["inputs"][0] | change]}
    assert says in refused(json.dumps(body).encode())


def test_unknown_and_unsupported_outputs() -> None:
    assert "there is no 'scores'" in refused(
        json.dumps(request() | {"outputs": [{"name": "scores"}]}).encode()
    )
    top = {"name": "label", "parameters": {"classification": 2}}
    assert "classification" in refused(json.dumps(request() | {"outputs": [top]}).encode())


def test_bytes_that_do_not_fit() -> None:
    body, header = binary([b"abc", b"d"])
    assert "bytes" in refused(body[:-1], header)
    assert "bytes" in refused(body + b"x", header)
    assert "UTF-8" in refused(*binary([b"\xff"]))
    assert "element 0" in refused(*binary([b""]))
    for wrong in ("", "-1", "9" * 30, str(len(body) + 1), "1.5", "²"):
        assert "Inference-Header-Content-Length" in refused(body, wrong)


@pytest.mark.parametrize("blob", [b"\x05\x00\x00\x00abc", b"\x01\x00", b"\xff\xff\xff\xffa"])
def test_lengths_that_lie(blob: bytes) -> None:
    tensor = {
        "name": "text",
        "datatype": "BYTES",
        "shape": [1],
        "parameters": {"binary_data_size": len(blob)},
    }
    head = json.dumps({"inputs": [tensor]}).encode()
    assert "lengths" in refused(head + blob, str(len(head)))


NUMBERS = np.array([[0.25, 0.75], [0.5, -0.5]], dtype=np.float32)


def test_an_answer_in_json() -> None:
    tensors = [
        tensor_of("label", ("yes", "né"), binary=False),
        tensor_of("probabilities", NUMBERS, binary=False),
    ]
    body, length = write_answer({"model_name": "toy"}, tensors)
    assert length is None
    assert json.loads(body) == {
        "model_name": "toy",
        "outputs": [
            {"name": "label", "datatype": "BYTES", "shape": [2], "data": ["yes", "né"]},
            {"name": "probabilities", "datatype": "FP32", "shape": [2, 2], "data": [0.25, 0.75, 0.5, -0.5]},
        ],
    }


def test_an_answer_in_bytes_beside_json() -> None:
    tensors = [
        tensor_of("label", ("yes", "né"), binary=True),
        tensor_of("embedding", NUMBERS, binary=False),
        tensor_of("logits", NUMBERS, binary=True),
    ]
    body, length = write_answer({}, tensors)
    assert length is not None
    label, embedding, logits = json.loads(body[:length])["outputs"]
    assert ("data" in label, "data" in embedding, "data" in logits) == (False, True, False)
    sizes = [label["parameters"]["binary_data_size"], logits["parameters"]["binary_data_size"]]
    assert sum(sizes) == len(body) - length
    assert body[length : length + sizes[0]] == blob_of([b"yes", "né".encode()])
    assert np.array_equal(np.frombuffer(body[length + sizes[0] :], dtype="<f4").reshape(2, 2), NUMBERS)
