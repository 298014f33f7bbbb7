"""MLServer with adaptive batching (32 requests, 3 ms: see `mlserver_folder`) and its one inference worker."""

from __future__ import annotations

import os

from mlserver import MLModel
from mlserver.codecs import StringCodec
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput

from benchmarks.serving.peers.classifier import Classifier


class Runtime(MLModel):
    async def load(self) -> bool:
        self.classify = Classifier(os.environ["BENCH_CHECKPOINT"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        texts = StringCodec.decode_input(payload.inputs[0])
        scores = self.classify(texts)
        data = [value for row in scores for value in row]
        output = ResponseOutput(
            name="probabilities", shape=[len(scores), len(scores[0])], datatype="FP32", data=data
        )
        return InferenceResponse(model_name=self.name, outputs=[output])
