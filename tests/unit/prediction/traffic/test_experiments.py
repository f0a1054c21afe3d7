"""The verbs of traffic over a real store, with counts as a gateway would hand them over."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlengine.core.clock import SystemClock
from mlengine.core.errors import Aborted, EngineError, FailedPrecondition, NotFound, Unavailable
from mlengine.core.resources import Model, Version
from mlengine.core.states import VersionState
from mlengine.core.traffic import ModelTraffic, Outcome
from mlengine.prediction.requestlog.ids import PredictionIds
from mlengine.prediction.tally import Batch, Tally
from mlengine.prediction.traffic.experiments import Experiments, traffic_routes
from mlengine.prediction.traffic.rules import WHOLE
from mlengine.store import Store, open_store

P, M = "p", "shop"
FULL = f"projects/{P}/models/{M}"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(f"sqlite:///{tmp_path}/engine.db")
    opened.add_model(P, Model(name=M))
    for version_id in ("v1", "v2", "v3"):
        version = opened.add_version(P, M, Version(name=version_id), uid=version_id)
        assert opened.move_version(version, VersionState.READY)
    yield opened
    opened.close()


class Bench:
    """Experiments, and the gateway's side of them."""

    def __init__(self, store: Store) -> None:
        self.gateway = Tally()
        self.published = 0
        self.away = False
        self.experiments = self.engine(store)

    def engine(self, store: Store) -> Experiments:
        return Experiments(store, self.tally, clock=SystemClock(), publish=self.publish)

    def tally(self, known: Batch) -> Batch:
        if self.away:
            raise Unavailable("The gateway does not answer.")
        return self.gateway.batch(known)

    def publish(self) -> None:
        self.published += 1

    def set(self, **traffic: Any) -> ModelTraffic:
        return self.experiments.set(P, M, ModelTraffic(**traffic))

    def count(self, version: str, requests: int, *, errors: int = 0, period: int = 1) -> None:
        counts = self.gateway.counter(FULL, period, version).counts
        counts.requests += requests
        counts.units += requests
        counts.errors += errors


@pytest.fixture
def bench(store: Store) -> Bench:
    return Bench(store)


def test_what_is_set_is_read_back_and_routed(bench: Bench, store: Store) -> None:
    assert bench.experiments.get(P, M) == ModelTraffic(name=FULL, etag="MA==")
    made = bench.set(split={"v1": 9, "v2": 1}, sticky_by="header:X-User", shadow=["v3"])
    assert bench.experiments.get(P, M) == made
    assert (made.split, made.period, bench.published) == ({"v1": 9, "v2": 1}, 1, 1)
    route = traffic_routes(store)[FULL]
    assert route.weights == {f"{FULL}/versions/v1": 9, f"{FULL}/versions/v2": 1}
    assert route.segments[-1] == (WHOLE, f"{FULL}/versions/v2")
    assert (route.shadow, route.sticky_by) == ([f"{FULL}/versions/v3"], "header:X-User")
    assert route.salt


def test_a_salt_stays_for_an_experiment_and_the_next_has_another(
    bench: Bench, store: Store
) -> None:
    salts = []
    for split in ({"v1": 9, "v2": 1}, {"v1": 1, "v2": 1}, {}, {"v1": 9, "v2": 1}):
        bench.set(split=split)
        salts += [route.salt for route in traffic_routes(store).values()]
    assert salts[0] == salts[1] != salts[2]


def test_the_same_again_begins_no_period(bench: Bench) -> None:
    assert bench.set(split={"v1": 1, "v2": 1}) == bench.set(split={"v1": 1, "v2": 1})
    assert bench.experiments.clear(P, M).period == 2
    assert bench.experiments.clear(P, M).period == 2


def test_an_old_etag_changes_nothing(bench: Bench) -> None:
    made = bench.set(split={"v1": 1, "v2": 1})
    bench.set(split={"v1": 1, "v2": 2}, etag=made.etag)
    with pytest.raises(Aborted, match="is not the current one"):
        bench.set(split={"v1": 1, "v2": 3}, etag=made.etag)


@pytest.mark.parametrize(
    ("traffic", "problem"),
    [
        ({"split": {"v1": 0}}, "No version of the split"),
        ({"split": {"v1": -1}}, "-1 parts"),
        ({"split": {"v 1": 1}}, "v 1"),
        ({"split": {"v9": 1}}, "'v9' was not found"),
        ({"split": {"v1": 1}, "sticky_by": "X-User"}, "no key to stick by"),
        ({"sticky_by": "header:X-User"}, "nothing to stick to"),
        ({"split": {"v1": 1, "v2": 1}, "shadow": ["v2"]}, "'v2' answers predictions"),
        ({"shadow": ["v1"]}, "'v1' answers predictions"),
        ({"shadow": ["v2", "v3"]}, "2 shadows are too many"),
        ({"shadow": ["v9"]}, "'v9' was not found"),
    ],
)
def test_what_makes_no_sense_is_refused(
    bench: Bench, traffic: dict[str, Any], problem: str
) -> None:
    with pytest.raises(EngineError, match=problem):
        bench.set(**traffic)
    assert bench.experiments.get(P, M).period == 0


def test_counts_are_of_the_period_in_which_they_were_made(bench: Bench) -> None:
    bench.set(split={"v1": 1, "v2": 1})
    bench.count("v1", 100)
    bench.set(split={"v1": 1, "v2": 3})
    bench.count("v2", 300, errors=30, period=2)
    bench.count("v1", 100, period=2)
    found = bench.experiments.compare(P, M, "v1", "v2")
    assert found.baseline is not None
    assert found.candidate is not None
    assert (found.baseline.requests, found.candidate.requests) == (200, 300)
    assert found.candidate.error_rate == 0.1
    assert found.error_rate is not None
    assert found.error_rate.low is not None


def test_an_engine_that_dies_before_it_says_so_counts_nothing_twice(
    bench: Bench, store: Store
) -> None:
    bench.set(split={"v1": 1, "v2": 1})
    bench.count("v1", 10)
    batch = bench.tally(Batch())  # read and written by an engine that is then killed
    rows = [(P, M, one.period, one.version_id, one.counts) for one in batch.counted]
    store.add_counts(rows, gateway=batch.gateway, batch=batch.number)
    bench.count("v1", 5)
    successor = bench.engine(store)
    successor.collect()
    successor.collect()
    (arm, _other) = store.arms(P, M)
    assert arm.counts.requests == 15


def test_counts_of_a_gateway_that_is_gone_stay_and_another_ones_are_added(
    bench: Bench, store: Store
) -> None:
    bench.set(split={"v1": 1, "v2": 1})
    bench.count("v1", 10)
    bench.experiments.collect()
    bench.away = True
    assert bench.experiments.compare(P, M, "v1", "v2").baseline is not None
    bench.gateway, bench.away = Tally(), False
    bench.count("v1", 7)
    bench.experiments.collect()
    assert store.arms(P, M)[0].counts.requests == 17


def test_a_test_of_many_gateways_lives_is_not_taken_for_sticky(bench: Bench) -> None:
    bench.set(split={"v1": 1, "v2": 1})
    for _life in range(9):
        bench.gateway = Tally()
        for version in ("v1", "v2"):
            bench.count(version, 100, errors=1)
        bench.experiments.collect()
    found = bench.experiments.compare(P, M, "v1", "v2")
    assert found.candidate is not None and found.candidate.requests == 900
    assert found.error_rate is not None and found.error_rate.verdict == "undecided"
    assert [ratio.of for ratio in found.sample_ratios] == ["predictions"]


def test_a_cleared_experiment_can_still_be_compared_and_nothing_else_can(bench: Bench) -> None:
    with pytest.raises(FailedPrecondition, match=r"Neither 'v1' nor 'v2' .*set-traffic shop"):
        bench.experiments.compare(P, M, "v1", "v2")
    bench.set(split={"v1": 1, "v2": 1})
    bench.count("v2", 3)
    bench.experiments.clear(P, M)
    found = bench.experiments.compare(P, M, "v1", "v2").candidate
    assert found is not None
    assert found.requests == 3
    with pytest.raises(NotFound, match="'v9'"):
        bench.experiments.compare(P, M, "v1", "v9")
    with pytest.raises(EngineError, match="compared with itself"):
        bench.experiments.compare(P, M, "v1", "v1")


def drawn(ids: PredictionIds, number: int, *, period: int = 1, unit: str = "") -> str:
    """Name a prediction of v1 or v2, in turn."""
    return ids.drawn(f"v{1 + number % 2}", period=period, unit=unit)


def test_outcomes_are_counted_by_their_predictions_ids(bench: Bench) -> None:
    bench.set(split={"v1": 1, "v2": 1})
    ids = PredictionIds(0.0)
    sent = [Outcome(prediction_id=drawn(ids, i), value=float(i % 2)) for i in range(400)]
    found = bench.experiments.add_outcomes(P, M, sent)
    assert (found.added, found.known, found.outdated) == (400, 0, 0)
    again = [sent[0], Outcome(prediction_id=drawn(ids, 0, period=9), value=1.0)]
    found = bench.experiments.add_outcomes(P, M, again)
    assert (found.added, found.known, found.outdated) == (0, 1, 1)
    report = bench.experiments.compare(P, M, "v1", "v2")
    assert report.outcome is None or report.outcome.verdict == "undecided"  # no spread within each
    bench.experiments.add_outcomes(
        P, M, [Outcome(prediction_id=drawn(ids, i, unit=f"{i:x}"), value=float(i % 4 > 1 or i % 2))
               for i in range(400)],
    )  # fmt: skip
    report = bench.experiments.compare(P, M, "v1", "v2")
    assert report.outcome is not None
    assert report.outcome.verdict == "higher"


REAL = "1-v1--00000c0ffee12345000"  # of day 0; the same in every process that collects tests


@pytest.mark.parametrize(
    ("outcome", "problem"),
    [
        (Outcome(prediction_id="", value=1.0), "'' is no id of a prediction"),
        (Outcome(prediction_id="1-v1-n", value=1.0), "'1-v1-n' is no id"),
        (Outcome(prediction_id="x-v1--n", value=1.0), "'x-v1--n' is no id"),
        (Outcome(prediction_id="1-v1--made1", value=1.0), "'1-v1--made1' is no id"),
        (Outcome(prediction_id=REAL + "a", value=1.0), f"'{REAL}a' is no id"),
        (Outcome(prediction_id=REAL), f"outcome of '{REAL}' is None"),
        (Outcome(prediction_id=REAL, value=math.inf), "is inf"),
        (Outcome(prediction_id=REAL, value=1e101), r"is 1e\+101"),
    ],
)
def test_outcomes_that_say_nothing_are_refused(
    bench: Bench, store: Store, outcome: Outcome, problem: str
) -> None:
    bench.set(split={"v1": 1, "v2": 1})
    with pytest.raises(EngineError, match=problem):
        bench.experiments.add_outcomes(P, M, [Outcome(prediction_id=REAL, value=0), outcome])
    assert store.outcome_sums(P, M) == []
    with pytest.raises(EngineError, match="1001 outcomes are too many"):
        bench.experiments.add_outcomes(P, M, [outcome] * 1001)


def test_without_a_gateway_the_split_holds_too(bench: Bench) -> None:
    def choose(body: bytes) -> str:
        return bench.experiments.choose(P, M, body)

    assert choose(b"{}") == "v1"
    bench.set(split={"v1": 1, "v2": 1}, sticky_by="field:user")
    assert {choose(b"{}") for _ in range(60)} == {"v1", "v2"}
    assert len({choose(b'{"user": 7}') for _ in range(60)}) == 1
    bench.set(split={"v1": 0, "v2": 1})
    assert {choose(b"{}") for _ in range(10)} == {"v2"}
