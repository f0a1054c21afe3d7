"""What predictions wait for while their worker explains: times without and with explanations.

    python -m benchmarks.prediction.explaining [--seconds 10]

One version of a forest over 30 features (scikit-learn), one connection that predicts one instance
at a time, and, in the second half, one that has instances explained without a pause. Every answer
is checked.
"""

from __future__ import annotations

import argparse
import http.client
import json
import pickle
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from mlengine.core.resources import Model, Version
from tests.live.engines import LiveEngine, live_engine

__all__ = ["main"]

_PATH = "/v1/projects/default/models/forest:"


def main() -> int:
    """Measure and show."""
    parser = argparse.ArgumentParser(prog="benchmarks.prediction.explaining")
    parser.add_argument("--seconds", type=float, default=10.0)
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory(prefix="mlengine-bench-") as work:
        with live_engine(Path(work) / "home") as engine:
            row = _deploy(engine)
            body = json.dumps({"instances": [row]}).encode()
            alone = _predict(engine, body, seconds)
            done, explained = threading.Event(), [0]
            asking = threading.Thread(target=_explain, args=(engine, body, done, explained))
            asking.start()
            beside = _predict(engine, body, seconds)
            done.set()
            asking.join()
    for what, times in (("alone", alone), (f"beside {explained[0]} explanations", beside)):
        ordered = sorted(times)
        half, most = ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100]
        print(f"{what}: {len(times)} predictions, p50 {half * 1e3:.2f} ms, "
              f"p99 {most * 1e3:.2f} ms, longest {ordered[-1] * 1e3:.1f} ms")  # fmt: skip
    return 0


def _deploy(engine: LiveEngine) -> list[float]:
    from sklearn.datasets import load_breast_cancer
    from sklearn.ensemble import RandomForestClassifier

    engine.make_bucket()
    data, target = load_breast_cancer(return_X_y=True)
    forest = RandomForestClassifier(100, random_state=0).fit(data, target)
    uri = engine.upload_model("forest", **{"model.pkl": pickle.dumps(forest)})
    engine.client.create_model("default", Model(name="forest"))
    config = {"sampledShapleyAttribution": {"numPaths": 50}}
    version = Version(name="v1", deployment_uri=uri, explanation_config=config)
    operation = engine.done(engine.client.create_version("default", "forest", version))
    assert operation.error is None, operation.error
    return [float(value) for value in data[0]]


def _predict(engine: LiveEngine, body: bytes, seconds: float) -> list[float]:
    times = []
    until_s = time.perf_counter() + seconds
    caller = _connect(engine)
    while (begun_s := time.perf_counter()) < until_s:
        assert _ask(caller, engine, "predict", body) == {"predictions": [0]}
        times.append(time.perf_counter() - begun_s)
    return times


def _explain(engine: LiveEngine, body: bytes, done: threading.Event, count: list[int]) -> None:
    caller = _connect(engine)
    while not done.is_set():
        answer = _ask(caller, engine, "explain", body)
        (found,) = answer["explanations"][0]["attributions_by_label"]
        missing = found["example_score"] - found["baseline_score"]
        assert abs(sum(found["attributions"]["input"]) - missing) < 1e-6
        count[0] += 1


def _connect(engine: LiveEngine) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(engine.url.removeprefix("http://"), timeout=60)


def _ask(caller: http.client.HTTPConnection, engine: LiveEngine, verb: str, body: bytes) -> Any:
    headers = {"Authorization": f"Bearer {engine.token}", "Content-Type": "application/json"}
    caller.request("POST", _PATH + verb, body, headers)
    answer = caller.getresponse()
    said = answer.read()
    assert answer.status == 200, said
    return json.loads(said)


if __name__ == "__main__":
    sys.exit(main())
