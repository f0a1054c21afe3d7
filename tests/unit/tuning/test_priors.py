"""A study that begins with what others learned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from mlengine.core.clock import SystemClock
from mlengine.core.errors import InvalidArgument
from mlengine.core.studies import Trial
from mlengine.core.wire import decode
from mlengine.tuning.advisor import Advisor
from mlengine.tuning.problem import Problem, Tried
from mlengine.tuning.search import Suggestion, open_search
from tests.unit.tuning.studycases import DOUBLE, GRID, Service, study

WIDE = {**DOUBLE, "doubleValueSpec": {"minValue": -9, "maxValue": 9}}
CATEGORY = {**DOUBLE, "type": "CATEGORICAL", "categoricalValueSpec": {"values": ["a", "b"]}}
del CATEGORY["doubleValueSpec"]
SMALL = {"parameter": "x", "type": "DISCRETE", "discreteValueSpec": {"values": [1, 2, 3]}}


class Listening(Advisor):
    """Answers at random, and keeps what it was told."""

    def __init__(self) -> None:
        super().__init__(SystemClock())
        self.told: list[Tried] = []

    def suggest(
        self, search: str, problem: Problem, history: Sequence[Tried], count: int
    ) -> list[Suggestion]:
        self.told = list(history)
        return open_search("random").suggest(problem, history, count)


@pytest.fixture
def advisor() -> Listening:
    return Listening()


@pytest.fixture
def service(tmp_path: Path, advisor: Listening) -> Iterator[Service]:
    service = Service(tmp_path, advisor=advisor)
    yield service
    service.close()


def earlier(service: Service, study_id: str, *parameters: dict[str, Any], **more: Any) -> None:
    service.studies.create("p", "local", study_id, study(*parameters, **more))


def tried(service: Service, study_id: str, x: float, loss: float | None = None) -> None:

    body: dict[str, Any] = {"parameters": [{"parameter": "x", "floatValue": x}]}
    if loss is not None:
        final = {"metrics": [{"metric": "loss", "value": loss}]}
        body |= {"state": "COMPLETED", "finalMeasurement": final}
    service.studies.create_trial("p", "local", study_id, decode(Trial, body, at="trial"))


def begun(service: Service, *priors: str, **more: Any) -> None:
    service.make(DOUBLE, algorithm="", priorStudies=list(priors), **more)


def test_trials_of_others_stand_before_its_own(service: Service, advisor: Listening) -> None:
    earlier(service, "a", DOUBLE)
    earlier(service, "b", WIDE)
    tried(service, "a", 0.25, 1.0)
    tried(service, "b", 0.5, 2.0)
    tried(service, "b", 8.5, 3.0)  # too far from the new space to say anything
    tried(service, "b", 0.75)  # nobody has tried it yet
    begun(service, "a", "b")
    (first,) = service.suggest()
    assert first.details is not None
    assert first.details.seen == 0
    before = [
        Tried(number=-1, point={"x": 0.25}, values=(1.0,)),
        Tried(number=0, point={"x": 0.5}, values=(2.0,)),
    ]
    assert advisor.told == before
    service.complete("1", 4.0)
    service.suggest()
    assert advisor.told[:2] == before
    assert [(t.number, t.values) for t in advisor.told[2:]] == [(1, (4.0,))]
    assert (
        service.studies.get("p", "local", "s").study_config
        == study(DOUBLE, algorithm="", priorStudies=["a", "b"]).study_config
    )


def test_what_is_measured_meanwhile_counts_and_what_was_deleted_does_not(
    service: Service, advisor: Listening
) -> None:
    earlier(service, "a", DOUBLE)
    begun(service, "a")
    service.suggest("one")
    assert [t.number for t in advisor.told] == []
    tried(service, "a", 0.25, 1.0)
    service.suggest("two")
    assert [(t.number, t.pending) for t in advisor.told] == [(0, False), (1, True)]
    service.studies.delete("p", "local", "a")
    service.suggest("three")
    assert [t.number for t in advisor.told] == [1, 2]
    metrics = [{"metric": "loss", "goal": "MAXIMIZE"}]
    earlier(service, "a", DOUBLE, metrics=metrics)  # of the same name, but of another goal
    tried(service, "a", 0.5, 1.0)
    service.suggest("four")
    assert [t.number for t in advisor.told] == [1, 2, 3]


def test_the_model_begins_with_them(tmp_path: Path) -> None:
    service = Service(tmp_path)
    try:
        earlier(service, "a", DOUBLE)
        for n in range(-5, 6):
            tried(service, "a", n / 5, (n / 5 - 0.3) ** 2)
        begun(service, "a")
        (first,) = service.suggest()
        assert first.details is not None
        assert first.details.origin == "model"
        assert first.parameters[0].float_value == pytest.approx(0.3, abs=0.15)
    finally:
        service.advisor.close()
        service.close()


def test_what_was_tried_there_may_be_tried_here(tmp_path: Path) -> None:
    service = Service(tmp_path)
    try:
        earlier(service, "a", SMALL)
        for n in range(1, 4):
            tried(service, "a", n, float((n - 2) ** 2))
        service.make(SMALL, algorithm="", priorStudies=["a"])
        found = [service.suggest(f"c{n}")[0].parameters[0].float_value for n in range(3)]
        assert sorted(map(float, found)) == [1.0, 2.0, 3.0]
        assert not service.suggest("late")  # now they are its own
    finally:
        service.advisor.close()
        service.close()


@pytest.mark.parametrize(
    ("wanted", "said", "at"),
    [
        ({"priorStudies": ["none"]}, "'none' was not found", "[0]"),
        ({"priorStudies": ["a", "a b"]}, "The study id", "[1]"),
        ({"priorStudies": ["a", "a"]}, "named twice", "[1]"),
        ({"priorStudies": ["projects/p/locations/l/studies/a"]}, "by its id, as 'a'", "[0]"),
        ({"priorStudies": ["n"]}, "'n' has the parameters n, of which there is none", "[0]"),
        ({"priorStudies": ["c"]}, "'x' is CATEGORICAL in 'c' and DOUBLE here", "[0]"),
        ({"priorStudies": ["up"]}, "of 'up' is MAXIMIZE loss, not MINIMIZE loss", "[0]"),
        ({"priorStudies": ["job"]}, "'job' belongs to a tuning job", "[0]"),
        ({"priorStudies": ["a"] * 17}, "learns from 16 others at most, and this names 17", ""),
        (
            {"priorStudies": ["a"], "algorithm": "GRID_SEARCH", "parameters": [GRID]},
            "GRID_SEARCH does not learn from other studies",
            "",
        ),
        (
            {"priorStudies": ["a"], "metrics": [{"metric": m, "goal": "MINIMIZE"} for m in "ab"]},
            "Only a study of one metric learns from others, and this has 2",
            "",
        ),
    ],
)
def test_what_says_nothing_is_refused(
    service: Service, wanted: dict[str, Any], said: str, at: str
) -> None:
    earlier(service, "a", DOUBLE)
    earlier(service, "n", GRID)
    earlier(service, "c", CATEGORY)
    earlier(service, "up", DOUBLE, metrics=[{"metric": "loss", "goal": "MAXIMIZE"}])
    owned = study(DOUBLE)
    owned.name = "job"
    service.store.add_study("p", "local", owned, uid="u", owner="u")
    with pytest.raises(InvalidArgument, match=said) as caught:
        service.make(DOUBLE, **{"algorithm": "", **wanted})
    assert caught.value.field == f"study.study_config.prior_studies{at}"
    assert "s" not in [made.name.rpartition("/")[2] for made in service.studies.all("p", "local")]


def test_a_study_of_another_project_is_none_of_these(service: Service) -> None:
    service.studies.create("other", "local", "a", study(DOUBLE))
    with pytest.raises(InvalidArgument, match="'a' was not found"):
        begun(service, "a")
