from __future__ import annotations

import importlib.util
import itertools
import logging
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mlengine.core.clock import SystemClock
from mlengine.core.errors import (
    Cancelled,
    EngineError,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
)
from mlengine.core.states import StudyState
from mlengine.core.studies import AddTrialMeasurementRequest, Study, SuggestTrialsRequest, Trial
from mlengine.core.wire import decode
from mlengine.tuning.advisor import Advisor
from mlengine.tuning.studies import Studies
from tests.unit.tuning.studycases import DOUBLE, GRID, Service, study

AT = ("p", "local", "s")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    made = Service(tmp_path)
    yield made
    made.close()


def number(trial: Trial) -> str:
    return trial.name.rpartition("/")[2]


def measure(service: Service, trial: str, value: float | str, *, step: int = 0) -> Trial:
    metrics = [{"metric": "loss", "value": value}]
    body = {"measurement": {"stepCount": step, "metrics": metrics}}
    request = decode(AddTrialMeasurementRequest, body, at="request")
    return service.studies.add_measurement(*AT, trial, request.measurement)


# --- studies ------------------------------------------------------------------------------------


def test_a_study_is_made_read_listed_and_deleted(service: Service) -> None:
    made = service.make(DOUBLE)
    assert made.name == "projects/p/locations/local/studies/s"
    assert made.state == "ACTIVE"
    assert service.studies.get(*AT) == made
    other = service.studies.create("p", "local", "other", study(DOUBLE))
    assert service.studies.all("p", "local") == [other, made]
    service.suggest()
    service.studies.check_stopping(*AT, "1")
    assert len(service.store.operations("p")) == 2
    service.studies.delete(*AT)
    assert service.studies.all("p", "local") == [other]
    assert service.store.operations("p") == []
    assert service.studies._suggesting._turns == {}


def test_a_study_whose_search_cannot_work_here_is_refused(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FailedPrecondition, match=r"pip install 'mlengine\[tune\]'") as caught:
        service.make(DOUBLE, algorithm="")
    assert caught.value.field == "study.study_config.algorithm"
    assert service.studies.all("p", "local") == []
    service.make(DOUBLE)
    assert service.suggest()


@pytest.mark.parametrize("study_id", ["", "a b", "a/b", "é", "x" * 129])
def test_an_id_that_is_none_is_refused(service: Service, study_id: str) -> None:
    with pytest.raises(InvalidArgument, match="study_id Error: The study id"):
        service.studies.create("p", "local", study_id, study(DOUBLE))


def test_the_study_of_a_tuning_job_is_the_jobs_to_change(service: Service) -> None:
    made = study(DOUBLE)
    made.name = "s"
    service.store.add_study("p", "local", made, uid="u", owner="job")
    calls: list[Callable[[], object]] = [
        lambda: service.studies.delete(*AT),
        lambda: service.suggest(),
        lambda: service.studies.create_trial(*AT, Trial()),
    ]
    for call in calls:
        with pytest.raises(FailedPrecondition, match="belongs to a tuning job"):
            call()
    assert service.studies.optimal(*AT) == []
    with pytest.raises(FailedPrecondition, match="cancel the job, or make a study"):
        service.studies.create_trial(*AT, Trial())
    service.store.move_study(service.store.study(*AT), StudyState.INACTIVE)  # its job is over
    with pytest.raises(FailedPrecondition, match="read; make a study of your own") as caught:
        service.studies.delete(*AT)
    assert "It is kept for jobs that go on with it (resumePreviousJobId)." in str(caught.value)


# --- suggestions --------------------------------------------------------------------------------


def test_a_client_gets_its_pending_trial_until_it_is_completed(service: Service) -> None:
    service.make(DOUBLE)
    (first,) = service.suggest()
    assert (first.state, first.client_id, number(first)) == ("ACTIVE", "me", "1")
    assert first.details is not None
    assert first.details.origin == "random"
    assert service.suggest() == [first]
    measure(service, "1", 0.5, step=3)
    assert service.suggest() == [service.studies.trial(*AT, "1")]
    assert service.suggest()[0].measurements[0].step_count == 3
    assert [number(trial) for trial in service.suggest(count=3)] == ["1", "2", "3"]
    assert [number(trial) for trial in service.suggest("other")] == ["4"]
    service.complete("1", 1.0)
    assert [number(trial) for trial in service.suggest(count=2)] == ["2", "3"]


def test_an_operation_tells_what_google_says_it_tells(service: Service) -> None:
    service.make(DOUBLE)
    request = SuggestTrialsRequest(client_id="me", suggestion_count=2)
    operation = service.studies.suggest(*AT, request)
    metadata = dict(operation.metadata)
    assert metadata.pop("createTime")
    assert metadata == {
        "@type": "type.googleapis.com/google.cloud.ml.v1.SuggestTrialsMetadata",
        "study": "projects/p/locations/local/studies/s",
        "suggestionCount": 2,
        "clientId": "me",
    }
    response = operation.response or {}
    assert response["@type"].endswith(".SuggestTrialsResponse")
    assert response["studyState"] == "ACTIVE"
    assert {"startTime", "endTime", "trials"} <= response.keys()


def test_trials_that_were_asked_for_come_first_and_all_are_logged(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    service.make(DOUBLE)
    wanted = decode(Trial, {"parameters": [{"parameter": "x", "floatValue": 0}]}, at="trial")
    made = service.studies.create_trial(*AT, wanted)
    assert (made.state, made.details and made.details.origin) == ("REQUESTED", "user")
    with caplog.at_level(logging.INFO, "mlengine.tuning.suggesting"):
        first, second = service.suggest(count=2)
    assert first.parameters == wanted.parameters
    assert first.state == "ACTIVE"
    assert [record.getMessage() for record in caplog.records] == [f"{second.name}: random"]


def test_a_grid_is_handed_out_whole_once_and_then_the_study_is_complete(service: Service) -> None:
    service.make(GRID, algorithm="GRID_SEARCH")
    clients = [f"c{n}" for n in range(6)]

    def work(client: str) -> list[int]:
        mine: list[int] = []
        while trials := service.suggest(client):
            mine.append(trials[0].parameters[0].int_value or 0)
            service.complete(number(trials[0]), 1.0)
        return mine

    with ThreadPoolExecutor(len(clients)) as pool:
        points = [point for mine in pool.map(work, clients) for point in mine]
    assert sorted(points) == list(range(1, 25))
    assert [number(trial) for trial in service.trials()] == [str(n) for n in range(1, 25)]
    assert service.studies.get(*AT).state == "COMPLETED"


def test_a_grid_goes_on_with_what_is_missing(service: Service) -> None:
    service.make(GRID, algorithm="GRID_SEARCH")
    assert len(service.suggest("a", 20)) == 20
    assert len(service.suggest("b", 20)) == 4
    assert service.suggest("c") == []
    service.complete("1", 1.0)
    assert len(service.suggest("a", 20)) == 19, "what a client has, it has also when it is over"


def ask(studies: Studies, client: str, count: int = 1) -> list[dict[str, Any]]:
    operation = studies.suggest(*AT, SuggestTrialsRequest(client_id=client, suggestion_count=count))
    found: list[dict[str, Any]] = (operation.response or {}).get("trials", [])
    return found


@pytest.fixture
def other(service: Service) -> Iterator[Studies]:
    """Another engine on the same database."""
    made = Studies(service.store, Advisor(SystemClock()), clock=SystemClock())
    yield made
    made.close()


def test_two_engines_on_one_database_give_no_point_twice(service: Service, other: Studies) -> None:
    service.make(GRID, algorithm="GRID_SEARCH")
    engines = itertools.cycle([service.studies, other])
    with ThreadPoolExecutor(6) as pool:
        clients = [f"c{n}" for n in range(12)]
        list(pool.map(lambda client, studies: ask(studies, client, 2), clients, engines))
    values = [trial.parameters[0].int_value for trial in service.trials()]
    assert sorted(v or 0 for v in values) == list(range(1, 25))


def test_what_an_engine_remembers_of_a_study_is_not_what_it_goes_by(
    service: Service, other: Studies
) -> None:
    """Trials that another engine added or deleted, and a study that it made anew."""
    service.make(GRID, algorithm="GRID_SEARCH")
    assert len(service.suggest("a", 20)) == 20
    assert len(ask(other, "b", 3)) == 3
    other.delete_trial(*AT, "7")
    assert [t.parameters[0].int_value for t in service.suggest("c", 2)] == [7, 24]
    assert [number(t) for t in service.suggest("c", 2)] == ["24", "25"]
    assert service.suggest("d") == []
    other.delete(*AT)
    with pytest.raises(NotFound, match="'s'"):
        service.suggest("a")
    other.create("p", "local", "s", study(GRID, algorithm="GRID_SEARCH"))
    assert [t.parameters[0].int_value for t in service.suggest("a")] == [1]


def test_a_study_replays(tmp_path: Path) -> None:
    """The seed is the study's own, so the same books give the same suggestion in any process."""
    service = Service(tmp_path)
    service.make(DOUBLE)
    for value in (1.0, 2.0):
        service.complete(number(service.suggest()[0]), value)
    (last,) = service.suggest()
    service.studies.delete_trial(*AT, number(last))
    with service.store._database._engine.begin() as raw:  # type: ignore[attr-defined]
        raw.exec_driver_sql("DROP TRIGGER studies_count")
        raw.exec_driver_sql("UPDATE studies SET last_trial = 2")
    service.close()
    again = Service(tmp_path)
    assert again.suggest()[0].parameters == last.parameters
    again.close()


@pytest.mark.parametrize(
    ("client", "count", "field"), [("", 1, "client_id"), ("me", 0, "suggestion_count"),
                                   ("me", -1, "suggestion_count"), ("me", 1001, "suggestion_count"),
                                   ("x" * 1001, 1, "client_id")],
)  # fmt: skip
def test_a_wrong_question_is_refused(service: Service, client: str, count: int, field: str) -> None:
    service.make(DOUBLE)
    with pytest.raises(InvalidArgument) as caught:
        service.suggest(client, count)
    assert caught.value.field == field


# --- a model, in the background -----------------------------------------------------------------

MODEL = """
import json, sys
for line in sys.stdin:
    question = json.loads(line)
    last = max([tried["number"] for tried in question["history"]], default=0)
    found = [{"point": {"x": (last + i + 1) / 1000}, "how": "model", "mean": 1.5, "spread": 0.5,
              "why": "because"} for i in range(question["count"])]
    print(json.dumps({"suggestions": found}), flush=True)
"""


@pytest.fixture
def modelled(tmp_path: Path) -> Iterator[Service]:
    advisor = Advisor(SystemClock(), command=[sys.executable, "-S", "-c", MODEL])
    made = Service(tmp_path, advisor=advisor)
    made.make(DOUBLE, algorithm="ALGORITHM_UNSPECIFIED")
    yield made
    made.close()


def test_a_models_suggestions_say_what_was_expected(
    modelled: Service, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "mlengine.tuning.suggesting"):
        (trial,) = modelled.suggest()
    details = trial.details
    assert details is not None
    assert (details.origin, details.mean, details.spread, details.why, details.seen) == (
        "model", 1.5, 0.5, "because", 0,
    )  # fmt: skip
    said = f"{trial.name}: model, expects 1.5 ± 0.5 (because)"
    assert said in [record.getMessage() for record in caplog.records]


def test_clients_that_wait_for_a_model_get_points_of_their_own(modelled: Service) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(modelled.suggest, [f"c{n}" for n in range(8)]))
    values = [trial.parameters[0].float_value for trials in found for trial in trials]
    assert sorted(value or 0 for value in values) == [n / 1000 for n in range(1, 9)]


def test_an_operation_that_an_engine_left_is_taken_up(modelled: Service) -> None:
    metadata = {
        "@type": "type.googleapis.com/google.cloud.ml.v1.SuggestTrialsMetadata",
        "study": "projects/p/locations/local/studies/s",
        "createTime": "2018-03-02T06:50:06Z",
        "suggestionCount": 2,
        "clientId": "lost",
    }
    for name, subject in (("one", "s"), ("two", "gone")):
        subject = f"projects/p/locations/local/studies/{subject}"
        modelled.store.add_operation("p", name, metadata, subject=subject)
    for _turn in range(3):
        modelled.studies.resume()
    done = modelled.ended("one")
    assert [trial["clientId"] for trial in (done.response or {})["trials"]] == ["lost", "lost"]
    gone = modelled.ended("two")
    assert gone.error is not None
    assert gone.error["code"] == NotFound.rpc_code
    assert len(modelled.trials()) == 2


def test_an_operation_that_was_cancelled_before_it_began_hands_nothing_out(
    modelled: Service,
) -> None:
    metadata = {
        "@type": "type.googleapis.com/google.cloud.ml.v1.SuggestTrialsMetadata",
        "suggestionCount": 1,
        "clientId": "me",
        "isCancellationRequested": True,
    }
    subject = "projects/p/locations/local/studies/s"
    modelled.store.add_operation("p", "one", metadata, subject=subject)
    modelled.studies.resume()
    error = modelled.ended("one").error
    assert error is not None
    assert error["code"] == Cancelled.rpc_code
    assert modelled.trials() == []


def test_a_defect_ends_the_operation_and_is_logged(
    modelled: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def break_off(*_args: object) -> list[Any]:
        raise ZeroDivisionError

    monkeypatch.setattr(modelled.advisor, "suggest", break_off)
    request = SuggestTrialsRequest(client_id="me", suggestion_count=1)
    operation_id = modelled.studies.suggest(*AT, request).name.rpartition("/")[2]
    error = modelled.ended(operation_id).error
    assert error is not None
    assert (error["code"], "please report it" in error["message"]) == (Internal.rpc_code, True)
    assert any(record.exc_info for record in caplog.records)


# --- trials -------------------------------------------------------------------------------------


def test_a_trial_brought_from_elsewhere_counts(service: Service) -> None:
    service.make(GRID, algorithm="GRID_SEARCH")
    body = {
        "state": "COMPLETED",
        "parameters": [{"parameter": "n", "intValue": "1"}],
        "finalMeasurement": {"metrics": [{"metric": "loss", "value": -5}]},
    }
    made = service.studies.create_trial(*AT, decode(Trial, body, at="trial"))
    assert made.state == "COMPLETED"
    assert made.end_time
    assert service.suggest()[0].parameters[0].int_value == 2
    assert [number(trial) for trial in service.studies.optimal(*AT)] == ["1"]


TRIALS: dict[str, tuple[dict[str, Any], str, str]] = {
    "an unknown parameter": ({"parameters": [{"parameter": "y"}]}, "parameters[0].parameter", "y"),
    "no value": ({"parameters": [{"parameter": "x"}]}, "parameters[0]", "no value"),
    "another type": (
        {"parameters": [{"parameter": "x", "intValue": 1}]}, "parameters[0]", "set float_value",
    ),
    "two values": (
        {"parameters": [{"parameter": "x", "intValue": 1, "floatValue": 1}]},
        "parameters[0]", "float_value and int_value",
    ),
    "twice": ({"parameters": [{"parameter": "x", "floatValue": 1}] * 2}, "parameters[1]", "twice"),
    "outside": ({"parameters": [{"parameter": "x", "floatValue": 2}]}, "parameters", "2.0"),
    "nothing": ({}, "parameters", "lacks the parameter 'x'"),
    "active": ({"state": "ACTIVE"}, "state", "'ACTIVE'"),
    "measurements": ({"measurements": [{}]}, "measurements", "cannot bring"),
    "a result too early": (
        {"finalMeasurement": {"metrics": [{"metric": "loss", "value": 1}]}},
        "final_measurement", "set state to COMPLETED",
    ),
    "no result": ({"state": "COMPLETED"}, "final_measurement.metrics", "Nothing was measured"),
    "a result of something else": (
        {"state": "COMPLETED", "finalMeasurement": {"metrics": [{"metric": "los", "value": 1}]}},
        "final_measurement.metrics[0].metric", "Did you mean 'loss'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TRIALS)
def test_a_trial_that_makes_no_sense_is_refused_by_its_name(service: Service, case: str) -> None:
    service.make(DOUBLE)
    body, field, said = TRIALS[case]
    if field != "parameters" and not field.startswith("parameters["):
        body = {"parameters": [{"parameter": "x", "floatValue": 0}], **body}
    with pytest.raises(InvalidArgument) as caught:
        service.studies.create_trial(*AT, decode(Trial, body, at="trial"))
    assert caught.value.field == f"trial.{field}"
    assert said in str(caught.value)
    assert service.trials() == []


def test_without_a_final_measurement_the_last_whole_one_is_taken(service: Service) -> None:
    metrics = [{"metric": name, "goal": "MINIMIZE"} for name in ("loss", "size")]
    service.make(DOUBLE, metrics=metrics)
    service.suggest()
    for step, found in ((1, {"loss": 3.0, "size": 1.0}), (9, {"loss": 1.0}), (4, {"size": 2.0})):
        body = {"measurement": {"stepCount": step, "metrics": [
            {"metric": name, "value": value} for name, value in found.items()]}}  # fmt: skip
        request = decode(AddTrialMeasurementRequest, body, at="request")
        answer = service.studies.add_measurement(*AT, "1", request.measurement)
        assert [point.step_count for point in answer.measurements] == [step]
    done = service.complete("1")
    assert done.final_measurement is not None
    assert done.final_measurement.step_count == 1
    assert [point.step_count for point in done.measurements] == [1, 4, 9]
    assert service.trials() == [done]
    assert done.final_measurement.elapsed_time == done.measurements[0].elapsed_time != ""
    service.suggest()
    with pytest.raises(FailedPrecondition, match="Nothing was measured"):
        service.complete("2")
    with pytest.raises(InvalidArgument, match="lacks the metric 'size'"):
        service.complete("2", 1.0)


def test_a_result_says_how_long_its_trial_ran(service: Service) -> None:
    service.make(DOUBLE)
    service.suggest()
    done = service.complete("1", 1.0)
    assert done.final_measurement is not None
    assert float(done.final_measurement.elapsed_time.removesuffix("s")) >= 0


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_number_was_not_reported(service: Service, value: str) -> None:
    service.make(DOUBLE)
    service.suggest()
    assert measure(service, "1", value).measurements == []
    assert service.trials()[0].measurements == []
    done = service.complete("1", value)
    assert done.trial_infeasible
    assert "not a finite number" in done.infeasible_reason
    assert service.studies.optimal(*AT) == []


def test_an_infeasible_trial_says_why_and_its_point_is_not_tried_again(service: Service) -> None:
    service.make({**GRID, "integerValueSpec": {"minValue": "1", "maxValue": "2"}})
    (first,) = service.suggest()
    done = service.complete("1", 7.0, trialInfeasible=True, infeasibleReason="too large")
    assert done.final_measurement is None
    assert (done.trial_infeasible, done.infeasible_reason) == (True, "too large")
    (second,) = service.suggest()
    assert second.parameters != first.parameters
    with pytest.raises(InvalidArgument, match="but it is not"):
        service.complete("2", 1.0, infeasibleReason="x")


def test_a_completed_trial_takes_nothing_more(service: Service) -> None:
    service.make(DOUBLE)
    service.suggest()
    done = service.complete("1", 1.0)
    calls: list[Callable[[], object]] = [
        lambda: service.complete("1", 2.0),
        lambda: measure(service, "1", 2.0),
        lambda: service.studies.stop(*AT, "1"),
        lambda: service.studies.check_stopping(*AT, "1"),
    ]
    for call in calls:
        with pytest.raises(FailedPrecondition, match="is COMPLETED"):
            call()
    assert service.trials() == [done]


def test_a_trial_nobody_has_is_not_measured_or_stopped(service: Service) -> None:
    service.make(DOUBLE)
    wanted = decode(Trial, {"parameters": [{"parameter": "x", "floatValue": 0}]}, at="trial")
    service.studies.create_trial(*AT, wanted)
    for call in (lambda: measure(service, "1", 2.0), lambda: service.studies.stop(*AT, "1")):
        with pytest.raises(FailedPrecondition, match="is REQUESTED"):
            call()
    assert service.complete("1", 1.0).state == "COMPLETED"


def test_of_ends_at_once_one_counts_and_the_others_are_told(service: Service) -> None:
    service.make(DOUBLE)
    service.suggest()

    def end(value: float) -> object:
        try:
            return service.complete("1", value)
        except EngineError as error:
            return error

    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(end, map(float, range(6))))
    assert sum(isinstance(one, FailedPrecondition) for one in found) == 5
    (won,) = [one for one in found if isinstance(one, Trial)]
    assert service.trials() == [won]


@pytest.mark.parametrize("trial_id", ["0", "one", "01", "-1", "1/2"])
def test_a_trials_id_is_a_number(service: Service, trial_id: str) -> None:
    service.make(DOUBLE)
    with pytest.raises(InvalidArgument, match="is not valid"):
        service.studies.trial(*AT, trial_id)


# --- stopping -----------------------------------------------------------------------------------


def should_stop(service: Service, trial: str) -> bool:
    operation = service.studies.check_stopping(*AT, trial)
    assert operation.done
    assert operation.metadata["@type"].endswith(".CheckTrialEarlyStoppingStateMetatdata")
    assert operation.metadata["trial"] == f"projects/p/locations/local/studies/s/trials/{trial}"
    return bool((operation.response or {}).get("shouldStop"))


def test_the_median_rule_stops_what_is_behind(service: Service) -> None:
    rule: dict[str, Any] = {"medianAutomatedStoppingConfig": {}}
    service.make(DOUBLE, automatedStoppingConfig=rule)
    service.suggest(count=6)
    measure(service, "6", 9.0, step=2)
    for trial in ("1", "2", "3"):
        assert not should_stop(service, "6"), "three trials are the fewest to have a median"
        for step in range(1, 5):
            measure(service, trial, 1.0 / step, step=step)
        service.complete(trial)
    measure(service, "4", 0.1, step=2)
    measure(service, "5", 9.0, step=4)
    assert not should_stop(service, "4")
    assert not should_stop(service, "5"), "it has come as far as those that ended"
    assert should_stop(service, "6")
    states = [trial.state for trial in service.trials()]
    assert states == [*["COMPLETED"] * 3, "ACTIVE", "ACTIVE", "STOPPING"]
    assert should_stop(service, "6"), "once stopping, always"
    assert service.studies.stop(*AT, "6").state == "STOPPING"
    measure(service, "6", 8.0, step=3)
    assert service.complete("6").state == "COMPLETED"


def test_the_decay_rule_goes_by_the_curve(service: Service) -> None:
    rule: dict[str, Any] = {"decayCurveStoppingConfig": {}}
    service.make(DOUBLE, automatedStoppingConfig=rule)
    service.suggest(count=5)
    for trial in range(1, 5):
        for step in range(1, 21):
            measure(service, str(trial), trial * 0.01 + 1.0 / step, step=step)
        service.complete(str(trial))
    for step in range(1, 16):
        measure(service, "5", 5.0 + 1.0 / step, step=step)
    assert should_stop(service, "5")


def test_measurements_without_steps_are_compared_by_their_count(service: Service) -> None:
    service.make(DOUBLE, automatedStoppingConfig={"medianAutomatedStoppingConfig": {}})
    service.suggest(count=5)
    for trial in ("1", "2", "3"):
        for value in (9.0, 3.0, 1.0):
            measure(service, trial, value)
        service.complete(trial)
    measure(service, "4", 8.0)
    assert not should_stop(service, "4"), "the first of one is compared with the first of others"
    for _epoch in range(2):
        measure(service, "5", 9.5)
    assert should_stop(service, "5")


def test_a_study_without_a_rule_stops_nothing(service: Service) -> None:
    service.make(DOUBLE)
    service.suggest()
    assert not should_stop(service, "1")
    assert service.trials()[0].state == "ACTIVE"


def test_an_inactive_study_takes_no_new_trial(service: Service) -> None:
    service.make(DOUBLE)
    record = service.studies.record(*AT)
    assert service.store.move_study(record, StudyState.INACTIVE, inactive_reason="it rains")
    with pytest.raises(FailedPrecondition, match="INACTIVE: it rains"):
        service.suggest()
    body = {"parameters": [{"parameter": "x", "floatValue": 0}]}
    with pytest.raises(FailedPrecondition, match="is INACTIVE"):
        service.studies.create_trial(*AT, decode(Trial, body, at="trial"))


def test_a_pareto_front_of_two_metrics(service: Service) -> None:
    metrics = [{"metric": "loss", "goal": "MINIMIZE"}, {"metric": "auc", "goal": "MAXIMIZE"}]
    service.make(DOUBLE, metrics=metrics)
    trials = service.suggest(count=4)
    values = [(1.0, 0.5), (2.0, 0.9), (2.0, 0.8), (0.5, 0.1)]
    for trial, (loss, auc) in zip(trials, values, strict=True):
        final = {"metrics": [{"metric": "loss", "value": loss}, {"metric": "auc", "value": auc}]}
        service.complete(number(trial), finalMeasurement=final)
    assert [number(trial) for trial in service.studies.optimal(*AT)] == ["1", "2", "4"]


def test_what_is_not_there_is_not_found(service: Service) -> None:
    with pytest.raises(NotFound, match="The study 's' was not found"):
        service.studies.get(*AT)
    made: Study = service.make(DOUBLE)
    assert made.study_config is not None
    with pytest.raises(NotFound, match="has no trial 7"):
        service.complete("7", 1.0)
    with pytest.raises(NotFound, match="has no trial 7"):
        service.studies.delete_trial(*AT, "7")


def test_a_trial_that_somebody_else_deletes_first_is_not_found(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.make(DOUBLE)
    service.suggest()
    monkeypatch.setattr(service.store, "remove_trial", lambda record: False)
    with pytest.raises(NotFound, match=r"The trial 1 was deleted .* list --study s"):
        service.studies.delete_trial(*AT, "1")
