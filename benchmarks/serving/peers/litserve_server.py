"""LitServe with dynamic batching: up to 32 requests, 3 ms. It reads annotations at run time, so none is a string."""

import sys
from typing import Any

import litserve

from benchmarks.serving.peers.classifier import Classifier


class Api(litserve.LitAPI):
    """LitServe looks for the names `request` and `output`."""

    def __init__(self, checkpoint: str) -> None:
        super().__init__(max_batch_size=32, batch_timeout=0.003)
        self.checkpoint = checkpoint

    def setup(self, device: str) -> None:  # noqa: ARG002  # the name is LitServe's
        self.classify = Classifier(self.checkpoint)

    def decode_request(self, request: dict[str, Any]) -> str:
        return str(request["text"])

    def predict(self, x: list[str]) -> list[list[float]]:
        return self.classify(x)

    def encode_response(self, output: list[float]) -> dict[str, list[float]]:
        return {"scores": output}


def main(checkpoint: str, port: int) -> None:
    server = litserve.LitServer(Api(checkpoint), accelerator="cpu", workers_per_device=1, timeout=60)
    server.run(host="127.0.0.1", port=port, generate_client_file=False, log_level="warning")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
