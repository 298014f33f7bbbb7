"""Other people's clients, as they are published: what they send is understood, what they get they understand."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from open_inference.openapi.client import OpenInferenceClient
from open_inference.openapi.core.api_error import ApiError
from open_inference.openapi.types import InferenceRequest
from tritonclient import http as triton
from tritonclient.http import aio as triton_aio
from tritonclient.utils import InferenceServerException

from tests.fixtures.deployment import RunningApi

TEXTS = ["a good film", "the battery is bad", "😀 né"]
FLOATS = ("probabilities", "logits", "embedding")


def expected(api: RunningApi, version: int = 2) -> dict[str, Any]:
    """What a version says about TEXTS."""
    bundle = api.serving.routing.table.routes["toy"].bundles[version]
    outputs = bundle.predict(TEXTS)
    probabilities = bundle.probabilities(outputs.logits)
    labels = [bundle.labels[i] for i in probabilities.argmax(axis=1)]
    return {
        "label": labels,
        "probabilities": probabilities,
        "logits": outputs.logits,
        "embedding": outputs.pooled,
    }


def address(api: RunningApi) -> str:
    return api.url.removeprefix("http://")


def triton_input(module: Any, *, binary: bool, shape: tuple[int, ...] = (3,)) -> Any:
    tensor = module.InferInput("text", list(shape), "BYTES")
    data = np.array([text.encode() for text in TEXTS], dtype=np.object_).reshape(shape)
    tensor.set_data_from_numpy(data, binary_data=binary)
    return tensor


def check(result: Any, api: RunningApi, version: int = 2) -> None:
    want = expected(api, version)
    assert [
        label.decode() if isinstance(label, bytes) else label for label in result.as_numpy("label")
    ] == want["label"]
    for name in FLOATS:
        assert np.abs(result.as_numpy(name) - want[name]).max() < 1e-5
    assert result.get_response()["model_version"] == str(version)


@pytest.mark.parametrize("sent", [False, True])
@pytest.mark.parametrize("received", [False, True])
@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_triton_infers_in_json_and_in_binary(
    api: RunningApi, sent: bool, received: bool, shape: tuple[int, ...]
) -> None:
    wanted = [triton.InferRequestedOutput(name, binary_data=received) for name in ("label", *FLOATS)]
    with triton.InferenceServerClient(address(api)) as client:
        tensor = triton_input(triton, binary=sent, shape=shape)
        result = client.infer("toy", [tensor], outputs=wanted, request_id="mine", timeout=5_000_000)
        assert result.get_response()["id"] == "mine"
        check(result, api)
        check(client.infer("toy", [tensor], model_version="1", outputs=wanted), api, version=1)
        check(client.infer("toy", [tensor], model_version="previous", outputs=wanted), api, version=1)
        default = client.infer("toy", [tensor])  # the client asks for every output in binary then
        assert np.abs(default.as_numpy("probabilities") - expected(api)["probabilities"]).max() < 1e-5


def test_triton_looks_around(api: RunningApi) -> None:
    with triton.InferenceServerClient(address(api)) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("toy")
        assert client.is_model_ready("toy", "previous")
        assert not client.is_model_ready("toy", "9")
        assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
        metadata = client.get_model_metadata("toy")
        assert {output["name"] for output in metadata["outputs"]} == {"label", *FLOATS}
        assert [entry["state"] for entry in client.get_model_repository_index()] == ["READY", "READY"]


@pytest.mark.parametrize(
    ("model", "version", "status"), [("nobody", "", "404"), ("toy", "9", "404"), ("toy", "challenger", "404")]
)
def test_triton_understands_refusals(api: RunningApi, model: str, version: str, status: str) -> None:
    with (
        triton.InferenceServerClient(address(api)) as client,
        pytest.raises(InferenceServerException) as caught,
    ):
        client.infer(model, [triton_input(triton, binary=True)], model_version=version)
    assert caught.value.status() == status
    assert "ot found" in caught.value.message() or "not loaded" in caught.value.message()


def test_triton_understands_limits(api: RunningApi) -> None:
    tensor = triton.InferInput("text", [33], "BYTES")
    tensor.set_data_from_numpy(np.array([b"a"] * 33, dtype=np.object_))
    with (
        triton.InferenceServerClient(address(api)) as client,
        pytest.raises(InferenceServerException) as caught,
    ):
        client.infer("toy", [tensor])
    assert caught.value.status() == "422"
    assert "32" in caught.value.message()


def test_triton_aio_infers_concurrently(api: RunningApi) -> None:
    async def run() -> list[Any]:
        async with triton_aio.InferenceServerClient(address(api)) as client:
            wanted = [triton_aio.InferRequestedOutput(name) for name in ("label", *FLOATS)]
            tensors = [triton_input(triton_aio, binary=binary) for binary in (True, False)]
            calls = [client.infer("toy", [tensor], outputs=wanted) for tensor in tensors * 4]
            return await asyncio.gather(*calls)

    for result in asyncio.run(run()):
        check(result, api)


def test_open_inference_openapi(api: RunningApi) -> None:
    client = OpenInferenceClient(base_url=api.url, httpx_client=api.http)
    client.check_server_liveness()
    client.check_server_readiness()
    client.check_model_readiness("toy")
    client.check_model_version_readiness("toy", "previous")
    assert client.read_server_metadata().name == "trimtab"
    assert client.read_model_metadata("toy").versions == ["1", "2"]
    request = InferenceRequest.parse_obj(
        {
            "inputs": [{"name": "text", "shape": [3], "datatype": "BYTES", "data": TEXTS}],
            "outputs": [{"name": name} for name in ("label", *FLOATS)],
        }
    )
    answers = [
        (client.model_infer("toy", request=request), 2),
        (client.model_version_infer("toy", "1", request=request), 1),
    ]
    for answer, version in answers:
        want = expected(api, version)
        label, *floats = [output.data.__root__ for output in answer.outputs]
        assert (answer.model_version, label) == (str(version), want["label"])
        for name, values in zip(FLOATS, floats, strict=True):
            assert np.abs(np.array(values).reshape(want[name].shape) - want[name]).max() < 1e-5
    with pytest.raises(ApiError) as caught:
        client.model_infer("nobody", request=request)
    assert caught.value.status_code == 404
    assert "nobody" in str(caught.value.body["error"])


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The tests run without the hub; this client then refuses to call even this machine."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    yield
    huggingface_hub.close_session()


@pytest.mark.parametrize("by", ["model", "base_url"])
def test_huggingface_hub(api: RunningApi, by: str, online: None) -> None:
    url = f"{api.url}/models/toy"
    client = InferenceClient(model=url) if by == "model" else InferenceClient(base_url=url)
    want = expected(api)
    for i, text in enumerate(TEXTS):
        answer = client.text_classification(text)
        assert answer[0].label == want["label"][i]
        assert [element.score for element in answer] == pytest.approx(
            sorted(want["probabilities"][i])[::-1], abs=1e-5
        )
    assert len(client.text_classification(TEXTS[0], top_k=1)) == 1
    with pytest.raises(HfHubHTTPError, match="404"):
        InferenceClient(model=f"{api.url}/models/nobody").text_classification("a")
