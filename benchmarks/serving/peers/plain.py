"""What most people write: FastAPI and transformers, one call of the model a request, in FastAPI's thread pool."""

from __future__ import annotations

import sys

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from benchmarks.serving.peers.classifier import Classifier


class Text(BaseModel):
    text: str


class Scores(BaseModel):
    scores: list[float]


def main(checkpoint: str, port: int) -> None:
    classify = Classifier(checkpoint)
    app = FastAPI()

    @app.post("/predict")
    def predict(body: Text) -> Scores:
        return Scores(scores=classify([body.text])[0])

    uvicorn.run(app, host="127.0.0.1", port=port, access_log=False, log_level="warning")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
