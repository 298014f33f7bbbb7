"""Shapes that other people's clients know: Open Inference Protocol v2 with Triton's index, and Hugging Face.

Requests and answers of inference itself are in `service.tensors`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from service.schemas import Text


class Server(BaseModel):
    """Open Inference Protocol: the server."""

    name: str
    version: str
    extensions: list[str]


class Live(BaseModel):
    """The process answers."""

    live: bool
    ready: bool


class Ready(BaseModel):
    """Whether every model is served."""

    live: bool
    ready: bool
    reasons: list[str]


class Tensor(BaseModel):
    """Open Inference Protocol: an input or output."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """Open Inference Protocol: a model."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[Tensor]
    outputs: list[Tensor]


class ModelReady(BaseModel):
    """Open Inference Protocol: whether a model is served."""

    name: str
    ready: bool
    version: str


class IndexOrder(BaseModel):
    """Triton: which versions to list."""

    ready: bool = Field(False, description="only those that are loaded")


class IndexEntry(BaseModel):
    """Triton: one version of the repository."""

    name: str
    version: str
    state: Literal["READY", "UNAVAILABLE"]
    reason: str


class ResponseTensor(Tensor):
    """Open Inference Protocol: an output with its values; binary ones follow the JSON and have no `data`."""

    data: list[str | float] | None = None


class InferAnswer(BaseModel):
    """Open Inference Protocol: an inference answer."""

    model_name: str
    model_version: str
    id: str
    parameters: dict[str, str | int | float | bool]
    outputs: list[ResponseTensor]


class HuggingFaceParameters(BaseModel):
    """Hugging Face: how to answer."""

    top_k: Annotated[int, Field(ge=1)] | None = None
    function_to_apply: Literal["softmax"] | None = None


class HuggingFaceRequest(BaseModel):
    """Hugging Face: texts to classify."""

    inputs: Text | list[Text] = Field(examples=["What a film!"])
    parameters: HuggingFaceParameters = HuggingFaceParameters()


class HuggingFaceLabel(BaseModel):
    """Hugging Face: a label with its probability."""

    label: str
    score: float
