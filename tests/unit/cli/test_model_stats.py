from __future__ import annotations

import json

from mlengine.core.resources import Model
from mlengine.prediction.gateway.counts import AnswerCounts
from mlengine.prediction.stats import stats_of
from tests.fakes.engine import FakeEngine
from tests.unit.cli.conftest import Run


def test_stats_are_a_table_and_json_on_demand(run: Run, engine: FakeEngine) -> None:
    engine.create_model("p", Model(name="census"))
    done = run("models", "stats", "census", "--project", "p")
    assert done.code == 0, done.err
    heading, *rows = done.out.splitlines()
    assert heading.split() == [
        "VERSION", "WORKERS", "REQUESTS", "IN_FLIGHT", "ANSWERS", "P50_MS", "P99_MS", "MEAN_MS",
        "DROPPED",
    ]  # fmt: skip
    assert rows[0].split() == ["v1", "2", "12", "1", "10", "x", "200,", "1", "x", "503",
                               "1.5", "20.25", "2", "7"]  # fmt: skip
    assert rows[1].split() == ["v2", "0", "1", "0", "1", "x", "400", "-", "-", "-", "0"]
    done = run("models", "stats", "census", "--project", "p", "--format", "json")
    assert json.loads(done.out)["versions"][0]["answers"] == {"200": 10, "503": 1}


def test_an_unknown_model_is_an_error(run: Run) -> None:
    done = run("models", "stats", "none", "--project", "p")
    assert done.code == 1
    assert '"none" was not found' in done.err


def test_the_gateways_counts_become_figures_of_one_models_versions() -> None:
    counts = AnswerCounts()
    for taken_s in (0.001, 0.002, 0.003):
        counts.answered(200, taken_s)
    counts.failed(503)
    counted = {"workers": 1, "requests": 4, "load": 2, "held": 1, **counts.as_stats()}
    found = stats_of("projects/p/models/m", {
        "projects/p/models/m/versions/v1": counted, "projects/p/models/m2/versions/v1": counted,
    })  # fmt: skip
    (one,) = found.versions
    assert (one.version, one.requests, one.in_flight, one.held) == ("v1", 4, 2, 1)
    assert one.answers == {"200": 3, "503": 1}
    assert one.mean_ms == 2.0
    assert one.p50_ms is not None and 1 <= one.p50_ms <= 2.5
