"""MLServer: a runtime of our own around the library's call, with its adaptive batching on."""

from __future__ import annotations

import json
import os
from pathlib import Path

from answering import load
from mlserver import MLModel
from mlserver.codecs import StringCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Predictor(MLModel):
    async def load(self) -> bool:
        folder = Path(os.environ["BENCH_FOLDER"])
        self._name = os.environ["BENCH_MODEL"]
        self._answer = load(self._name, folder)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        instances = self._instances(payload)
        texts = [json.dumps(prediction) for prediction in self._answer(instances)]
        output = StringCodec.encode_output("predictions", texts)
        return InferenceResponse(model_name=self.name, outputs=[output])

    def _instances(self, payload: InferenceRequest) -> list:
        data = {one.name: one for one in payload.inputs}
        if self._name == "cnn":
            return [{"b64": text} for text in StringCodec.decode_input(data["image"])]
        tables = {name: _rows(one) for name, one in data.items()}
        if self._name == "wide-and-deep":
            pairs = zip(tables["deep"], tables["wide"], strict=True)
            return [{"deep": deep, "wide": wide} for deep, wide in pairs]
        return tables["rows"]


def _rows(one) -> list[list[float]]:
    width = one.shape[1]
    values = one.data.root
    return [values[at : at + width] for at in range(0, len(values), width)]
