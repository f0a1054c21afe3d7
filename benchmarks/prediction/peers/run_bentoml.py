"""BentoML: a service whose API gathers requests to batches.

`python -m bentoml serve run_bentoml:Predictor`, with BENCH_MODEL and BENCH_FOLDER set.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import bentoml
from answering import load


@bentoml.service(workers=1, traffic={"timeout": 60}, logging={"access": {"enabled": False}})
class Predictor:
    def __init__(self) -> None:
        self.answer = load(os.environ["BENCH_MODEL"], Path(os.environ["BENCH_FOLDER"]))

    @bentoml.api(batchable=True, batch_dim=0, max_batch_size=256, max_latency_ms=1000)
    def predict(self, instances: list[Any]) -> list[Any]:
        return self.answer(instances)
