from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

import msgspec
import pytest
import sqlalchemy as sa

from mlengine.core.errors import AlreadyExists, FailedPrecondition, NotFound
from mlengine.core.states import STUDY_MOVES, TRIAL_MOVES, StudyState, TrialState
from mlengine.core.studies import (
    Measurement,
    MetricSpec,
    MetricValue,
    Study,
    StudyConfig,
    Trial,
    TrialDetails,
    TrialParameter,
)
from mlengine.store import EndedOperation, Store, StudyRecord, TrialChange, TrialRecord
from tests.conformance.store.rivals import rivals
from tests.conformance.store.test_races import at_once

PATHS: dict[TrialState, list[TrialState]] = {
    TrialState.REQUESTED: [],
    TrialState.ACTIVE: [TrialState.ACTIVE],
    TrialState.STOPPING: [TrialState.ACTIVE, TrialState.STOPPING],
    TrialState.COMPLETED: [TrialState.ACTIVE, TrialState.COMPLETED],
}
Measured = Callable[[], Sequence[Measurement]]
MeasuredOf = Mapping[int, Sequence[Measurement]]
_uids = itertools.count()


def add(store: Store, study_id: str = "s", *, location: str = "local") -> StudyRecord:
    study = Study(name=study_id, study_config=StudyConfig(metrics=[MetricSpec(metric="loss")]))
    return store.add_study("p", location, study, uid=f"uid{next(_uids)}")


def again(store: Store, study: StudyRecord) -> StudyRecord:
    return store.study(study.project, study.location, study.study_id)


def point(value: float) -> Trial:
    return Trial(parameters=[TrialParameter(parameter="x", float_value=value)])


def given(trials: Sequence[TrialRecord] | None) -> list[int]:
    assert trials is not None
    return [trial.number for trial in trials]


def bring(store: Store, study: StudyRecord, state: TrialState) -> TrialRecord:
    record = store.add_trial(study, point(0.0), TrialState.REQUESTED)
    for to in PATHS[state]:
        moved = store.move_trial(record, to)
        assert moved is not None
        record = moved
    return record


# --- studies ------------------------------------------------------------------------------------


def test_a_new_study_is_active_and_reads_back_as_it_was_written(store: Store) -> None:
    record = add(store)
    assert record == store.study("p", "local", "s")
    assert (record.state, record.last_trial, record.owner) == (StudyState.ACTIVE, 0, "")
    assert record.name == "projects/p/locations/local/studies/s"
    assert record.study.study_config == StudyConfig(metrics=[MetricSpec(metric="loss")])


def test_an_id_is_unique_in_its_location_and_free_again_after_a_removal(store: Store) -> None:
    first = add(store)
    other = add(store, location="us-central1")
    with pytest.raises(AlreadyExists, match=r"study_id Error: A study with this id"):
        add(store)
    bring(store, first, TrialState.COMPLETED)
    store.remove_study(first)
    with pytest.raises(NotFound):
        again(store, first)
    with pytest.raises(NotFound):
        store.remove_study(first)
    second = add(store)
    assert store.trials(second) == []
    assert store.studies("p", "local") == [second]
    assert store.studies("p", "us-central1") == [other]


def test_the_studies_of_a_location_are_listed_newest_first(store: Store) -> None:
    records = [add(store, study_id) for study_id in ("a", "b", "c")]
    assert store.studies("p", "local") == records[::-1]
    with pytest.raises(NotFound, match="Did you mean 'a'"):
        store.study("p", "local", "aa")


def test_a_tuning_jobs_study_is_found_by_the_job(store: Store) -> None:
    add(store, "free")
    owned = store.add_study("p", "local", Study(name="mine"), uid="u", owner="job-uid")
    assert store.study_of("job-uid") == owned
    assert store.study_of("nobody") is None
    assert store.study_of("") is None


@pytest.mark.parametrize(("frm", "to"), list(itertools.product(StudyState, StudyState)), ids=str)
def test_a_study_moves_exactly_where_the_states_allow(
    store: Store, raw: sa.Engine, frm: StudyState, to: StudyState
) -> None:
    record = add(store)
    if frm is not StudyState.ACTIVE:
        moved = store.move_study(record, frm, inactive_reason="why")
        assert moved is not None
        record = moved
    lawful = to in STUDY_MOVES[frm]
    assert (store.move_study(record, to) is not None) == lawful
    assert again(store, record).state is (to if lawful else frm)
    if to is not frm and not lawful:
        update = sa.text("UPDATE studies SET state = :state")
        with pytest.raises(sa.exc.DBAPIError, match="unlawful"), raw.begin() as connection:
            connection.execute(update, {"state": str(to)})


def test_a_stale_study_moves_nothing(store: Store) -> None:
    record = add(store)
    assert store.move_study(record, StudyState.COMPLETED)
    assert store.move_study(record, StudyState.INACTIVE) is None


# --- trials -------------------------------------------------------------------------------------


def test_numbers_go_on_and_are_never_used_again(store: Store, raw: sa.Engine) -> None:
    study = add(store)
    trials = [store.add_trial(study, point(n), TrialState.REQUESTED) for n in range(3)]
    assert given(trials) == [1, 2, 3]
    assert trials[0].trial.name == "1"
    assert trials[2].name == "projects/p/locations/local/studies/s/trials/3"
    assert store.remove_trial(trials[2])
    assert not store.remove_trial(trials[2])
    with pytest.raises(NotFound, match="has no trial 3"):
        store.trial_of("p", "local", "s", 3)
    assert store.add_trial(study, point(4), TrialState.COMPLETED).number == 4
    assert again(store, study).last_trial == 4
    with pytest.raises(sa.exc.DBAPIError, match="counts back"), raw.begin() as connection:
        connection.exec_driver_sql("UPDATE studies SET last_trial = 3")


def test_trials_are_listed_by_number_all_or_some(store: Store) -> None:
    study = add(store)
    store.hand_out(study, "me", 600, fresh=[point(number) for number in range(600)])
    found = store.trials(study)
    assert given(found) == list(range(1, 601))
    now, some = store.study_since("p", "local", "s", after=598, numbers=[3, 1, 7, 599])
    assert (now, given(some)) == (again(store, study), [1, 3, 7, 599, 600])
    many = store.study_since("p", "local", "s", after=600, numbers=range(1, 600))[1]
    assert len(many) == 599
    assert store.study_since("p", "local", "s", after=600)[1] == []
    assert store.trial_of("p", "local", "s", 7) == (again(store, study), found[6])


@pytest.mark.parametrize(("frm", "to"), list(itertools.product(TrialState, TrialState)), ids=str)
def test_a_trial_moves_exactly_where_the_states_allow(
    store: Store, raw: sa.Engine, frm: TrialState, to: TrialState
) -> None:
    study = add(store)
    record = bring(store, study, frm)
    final = Measurement(metrics=[MetricValue(metric="loss", value=0.0)])
    moved = store.move_trial(record, to, final_measurement=final)
    lawful = to in TRIAL_MOVES[frm]
    assert (moved is not None) == lawful
    now = store.trial_of("p", "local", "s", record.number)[1]
    assert now == (moved or record)
    assert now.state is (to if lawful else frm)
    assert given(store.trials(study)) == [1]
    if not lawful and to is not frm:
        update = sa.text("UPDATE trials SET state = :state")
        refusal = pytest.raises(sa.exc.DBAPIError, match=r"unlawful|never changes")
        with refusal, raw.begin() as connection:
            connection.execute(update, {"state": str(to)})


def test_a_completed_trial_never_changes_not_even_by_raw_sql(store: Store, raw: sa.Engine) -> None:
    study = add(store)
    record = bring(store, study, TrialState.COMPLETED)
    assert store.measure_trial(record, [Measurement()]) is None
    with pytest.raises(sa.exc.DBAPIError, match="never changes"), raw.begin() as connection:
        connection.exec_driver_sql("UPDATE trials SET body = '{}'")


def test_every_write_notes_one_event(store: Store) -> None:
    study = add(store)
    store.hand_out(study, "me", 2, fresh=[point(1), point(2)])
    trial = store.trial_of("p", "local", "s", 1)[1]
    store.measure_trial(trial, [Measurement(step_count=1), Measurement(step_count=2)])
    store.move_trial(trial, TrialState.COMPLETED)
    store.remove_trial(trial)
    store.hand_out(again(store, study), "me", 1)  # as it is: nothing was written
    store.remove_study(study)
    kinds = [event.kind for event in store.events()]
    assert kinds == [
        "study.created", "study.handed_out", "trial.measured", "trial.moved", "trial.removed",
        "study.removed",
    ]  # fmt: skip


# --- what was measured --------------------------------------------------------------------------


def test_measurements_come_back_by_step_then_time(store: Store) -> None:
    study = add(store)
    first, second = (bring(store, study, TrialState.ACTIVE) for _ in range(2))
    steps = [(5, "9.5s"), (1, "2s"), (5, "1s"), (0, "")]
    for step, elapsed in steps:
        value = MetricValue(metric="loss", value=float(step))
        measurement = Measurement(step_count=step, elapsed_time=elapsed, metrics=[value])
        assert store.measure_trial(first, [measurement]) == first
    store.measure_trial(second, [Measurement(step_count=7)])
    found = store.measurements(study)
    assert [(m.step_count, m.elapsed_time) for m in found[1]] == [
        (0, "0.000000s"), (1, "2.000000s"), (5, "1.000000s"), (5, "9.500000s"),
    ]  # fmt: skip
    assert found[1][1].metrics == [MetricValue(metric="loss", value=1.0)]
    assert store.measurements(study, number=2) == {2: found[2]}


def test_a_trial_that_began_again_has_what_it_measured_since(store: Store) -> None:
    study = add(store)
    first, second = (bring(store, study, TrialState.ACTIVE) for _ in range(2))
    for record in (first, second):
        store.measure_trial(record, [Measurement(step_count=step) for step in (1, 2, 5)])
    store.measure_trial(first, [Measurement(step_count=3)], from_step=2)
    found = store.measurements(study)
    assert [m.step_count for m in found[1]] == [1, 3]
    assert [m.step_count for m in found[2]] == [1, 2, 5]
    ended = store.move_trial(first, TrialState.COMPLETED)
    assert ended
    assert store.measure_trial(ended, [Measurement(step_count=1)], from_step=0) is None
    assert store.measurements(study) == found
    assert store.measurements(study, number=3) == {}


@pytest.mark.parametrize("state", sorted(PATHS))
def test_only_a_trial_that_a_client_has_is_measured(store: Store, state: TrialState) -> None:
    study = add(store)
    record = bring(store, study, state)
    taken = store.measure_trial(record, [Measurement(step_count=1)])
    assert (taken is not None) == (state in (TrialState.ACTIVE, TrialState.STOPPING))
    assert bool(store.measurements(study)) == (taken is not None)


def test_an_edit_sees_the_newest_value_and_does_all_of_it_or_nothing(store: Store) -> None:
    study, seen = add(store), []
    first = bring(store, study, TrialState.ACTIVE)
    store.measure_trial(first, [Measurement(step_count=1)])
    final = Measurement(metrics=[MetricValue(metric="loss", value=2.0)])

    def end(study: StudyRecord, trial: TrialRecord, measured: Measured) -> TrialChange:
        seen.append((study.uid, trial.state, [point.step_count for point in measured()]))
        points, changes = [Measurement(step_count=2)], {"final_measurement": final}
        return TrialChange(to=TrialState.COMPLETED, changes=changes, measured=points)

    now, ended = store.edit_trial("p", "local", "s", 1, end)
    assert seen == [(study.uid, TrialState.ACTIVE, [1])]
    assert now == again(store, study)
    assert ended == store.trial_of("p", "local", "s", 1)[1]
    assert (ended.state, ended.trial.final_measurement) == (TrialState.COMPLETED, final)
    assert [point.step_count for point in store.measurements(study)[1]] == [1, 2]
    assert [e.kind for e in store.events()][-2:] == ["trial.measured", "trial.moved"]


def test_an_edit_that_raises_or_changes_nothing_leaves_no_trace(store: Store) -> None:
    study = add(store)
    first, events = bring(store, study, TrialState.ACTIVE), store.events()

    def refuse(_study: StudyRecord, _trial: TrialRecord, _measured: Measured) -> TrialChange:
        raise FailedPrecondition("Not now.")

    with pytest.raises(FailedPrecondition, match="Not now"):
        store.edit_trial("p", "local", "s", 1, refuse)
    assert store.edit_trial("p", "local", "s", 1, lambda *_seen: TrialChange())[1] == first
    assert store.events() == events
    with pytest.raises(NotFound, match="has no trial 2"):
        store.edit_trial("p", "local", "s", 2, refuse)
    with pytest.raises(NotFound, match="study"):
        store.edit_trial("p", "local", "other", 1, refuse)


def test_edits_at_once_wait_for_each_other(store: Store) -> None:
    study = add(store)
    bring(store, study, TrialState.ACTIVE)

    def count(_study: StudyRecord, _trial: TrialRecord, measured: Measured) -> TrialChange:
        return TrialChange(measured=[Measurement(step_count=len(measured()))])

    at_once([lambda: store.edit_trial("p", "local", "s", 1, count)] * 8)
    assert [point.step_count for point in store.measurements(study)[1]] == list(range(8))


# --- handing out --------------------------------------------------------------------------------


def test_a_client_gets_what_it_has_then_what_was_asked_for_then_what_is_new(store: Store) -> None:
    study = add(store)
    details = TrialDetails(origin="model", mean=0.0, seen=3)
    for value in (1.0, 2.0):
        store.add_trial(study, point(value), TrialState.REQUESTED)
    study = again(store, study)
    assert given(store.hand_out(study, "a", 1)) == [1]
    assert given(store.hand_out(study, "a", 1, fresh=[point(9)])) == [1]
    fresh = msgspec.structs.replace(point(9), details=details)
    trials = store.hand_out(study, "a", 3, fresh=[fresh, point(10)])
    assert given(trials) == [1, 2, 3]
    assert trials is not None
    assert trials[2].trial.details == details
    assert {(t.state, t.trial.client_id) for t in trials} == {(TrialState.ACTIVE, "a")}
    assert all(trial.trial.start_time for trial in trials)
    assert store.trials(study) == trials
    assert store.hand_out(again(store, study), "b", 1) is None
    assert given(store.hand_out(again(store, study), "b", 1, fewer=True)) == []


def test_a_stopping_trial_is_still_the_clients_and_a_completed_one_is_not(store: Store) -> None:
    study = add(store)
    trials = store.hand_out(study, "a", 2, fresh=[point(1), point(2)])
    assert trials is not None
    store.move_trial(trials[0], TrialState.STOPPING)
    store.move_trial(trials[1], TrialState.COMPLETED)
    assert given(store.hand_out(again(store, study), "a", 2, fresh=[point(3)])) == [1, 3]


def test_what_was_chosen_without_knowing_of_a_new_trial_is_refused(store: Store) -> None:
    study = add(store)
    assert given(store.hand_out(study, "a", 1, fresh=[point(1)])) == [1]
    before = store.events()
    assert store.hand_out(study, "b", 1, fresh=[point(1)]) is None
    assert (store.trials(study)[1:], store.events()) == ([], before)


def test_what_was_chosen_without_knowing_that_a_trial_is_gone_is_refused(store: Store) -> None:
    study = add(store)
    trials = store.hand_out(study, "a", 2, fresh=[point(1), point(2)])
    assert trials is not None
    before = again(store, study)
    assert store.remove_trial(trials[0])
    assert store.hand_out(before, "b", 1, fresh=[point(1)]) is None
    assert store.hand_out(before, "b", 1, fewer=True) is None, "it may seem that none is left"
    now = again(store, study)
    assert (now.last_trial, now.revision > before.revision) == (2, True)
    assert given(store.hand_out(now, "b", 1, fresh=[point(1)])) == [3]


@pytest.mark.parametrize("state", [StudyState.INACTIVE, StudyState.COMPLETED])
def test_a_study_that_is_not_active_has_no_new_trials(store: Store, state: StudyState) -> None:
    study = add(store)
    store.add_trial(study, point(1), TrialState.REQUESTED)
    study = again(store, study)
    assert store.move_study(study, state)
    assert store.hand_out(study, "a", 2, fresh=[point(2)]) is None
    assert given(store.hand_out(study, "a", 1)) == [1]


def test_a_trial_of_a_removed_study_is_not_handed_out(store: Store) -> None:
    study = add(store)
    store.remove_study(study)
    with pytest.raises(NotFound, match="was deleted"):
        store.hand_out(study, "a", 1, fresh=[point(1)])


@pytest.mark.parametrize("seen", [True, False])
def test_the_operation_ends_in_the_same_transaction(store: Store, seen: bool) -> None:
    study = add(store)
    if seen:
        store.add_operation("p", "one", {"a": 1})

    def ending(
        study: StudyRecord, trials: Sequence[TrialRecord], _measured: MeasuredOf
    ) -> EndedOperation:
        response = {"trials": given(trials), "of": study.last_trial}
        return EndedOperation(operation_id="one", metadata={"a": 2}, response=response)

    assert store.hand_out(study, "a", 1, ending=ending) is None
    assert len(store.operations("p")) == seen
    assert given(store.hand_out(study, "a", 1, fresh=[point(1)], ending=ending)) == [1]
    operation = store.operation("p", "one").operation
    assert operation.done
    assert (operation.metadata, operation.response) == ({"a": 2}, {"trials": [1], "of": 0})
    with pytest.raises(FailedPrecondition, match="is done"):
        store.hand_out(again(store, study), "b", 1, fresh=[point(2)], ending=ending)
    assert given(store.trials(study)) == [1]


def test_an_ending_is_told_what_was_measured_of_the_trials_that_a_client_has(store: Store) -> None:
    study = add(store)
    store.hand_out(study, "a", 2, fresh=[point(1), point(2)])
    store.hand_out(again(store, study), "b", 1, fresh=[point(3)])
    for number in (1, 3):
        _study, trial = store.trial_of("p", "local", "s", number)
        store.measure_trial(trial, [Measurement(step_count=5), Measurement(step_count=number)])
    told: list[MeasuredOf] = []

    def ending(
        study: StudyRecord, trials: Sequence[TrialRecord], its: MeasuredOf
    ) -> EndedOperation:
        told.append(its)
        return EndedOperation(operation_id=f"o{len(told)}", metadata={}, response={})

    for client, count in [("a", 2), ("b", 1)]:
        store.hand_out(again(store, study), client, count, ending=ending)
    store.hand_out(again(store, study), "c", 1, fresh=[point(4)], ending=ending)
    everything = store.measurements(study)
    assert told == [{1: everything[1]}, {3: everything[3]}, {}]


@pytest.mark.parametrize("seen", [True, False])
def test_an_operation_that_is_noted_is_done_once(store: Store, seen: bool) -> None:
    if seen:
        store.add_operation("p", "one", {"a": 1})
    ended = EndedOperation(operation_id="one", metadata={"a": 2}, response={"b": 3})
    first = store.note_operation("p", ended)
    assert first.operation.done
    assert (first.operation.metadata, first.operation.response) == ({"a": 2}, {"b": 3})
    assert first == store.operation("p", "one")
    events = store.events()
    later = msgspec.structs.replace(ended, response={"b": 4})
    assert store.note_operation("p", later) == first
    assert store.events() == events


def test_the_operations_of_a_removed_study_that_are_done_go_with_it(store: Store) -> None:
    study, other = add(store), add(store, "other")

    def ended(operation_id: str, subject: str) -> EndedOperation:
        return EndedOperation(operation_id=operation_id, metadata={}, response={}, subject=subject)

    def ending(its: StudyRecord, _trials: object, _measured: object) -> EndedOperation:
        return ended("given", its.name)

    store.hand_out(study, "a", 1, fresh=[point(1)], ending=ending)
    store.note_operation("p", ended("noted", study.name))
    store.note_operation("p", ended("others", other.name))
    store.note_operation("q", ended("of another project", study.name))
    store.add_operation("p", "worked", {}, subject=study.name)
    store.finish_operation("p", "worked")
    store.add_operation("p", "open", {}, subject=study.name)
    store.remove_study(again(store, study))
    assert [one.operation_id for one in store.operations("p")] == ["open", "others"]
    assert [one.operation_id for one in store.operations("q")] == ["of another project"]


def test_of_clients_that_come_at_once_each_gets_trials_of_its_own(store: Store) -> None:
    study = add(store)

    def client(name: str) -> Callable[[], list[int]]:
        def take() -> list[int]:
            while True:
                found = store.hand_out(again(store, study), name, 2, fresh=[point(1), point(2)])
                if found is not None:
                    return given(found)

        return take

    results = at_once([client(f"c{number % 8}") for number in range(16)])
    assert not [result for result in results if isinstance(result, Exception)]
    assert results[:8] == results[8:], "a client that asks twice has two more"
    numbers = [number for result in results[:8] for number in result]  # type: ignore[union-attr]
    assert sorted(numbers) == list(range(1, 17))


def test_of_ends_at_once_one_is_in_the_books(store: Store) -> None:
    record = bring(store, add(store), TrialState.ACTIVE)
    moves = [lambda: store.move_trial(record, TrialState.COMPLETED) for _ in range(8)]
    assert sum(result is not None for result in at_once(moves)) == 1


def test_of_processes_that_write_one_study_none_waits_in_a_circle(store: Store, url: str) -> None:
    study = add(store)
    with rivals(url, 3) as processes:
        tasks = [(work, (study.study_id, f"c{number}")) for number in range(3)]
        results = processes.at_once(*tasks)
    assert [result for result in results if isinstance(result, Exception)] == []
    numbers = sorted(number for result in results for number in result)
    assert numbers == list(range(1, 31))
    assert {trial.state for trial in store.trials(study)} == {TrialState.COMPLETED}
    assert [len(found) for found in store.measurements(study).values()] == [2] * 30


def work(store: Store, study_id: str, client: str) -> list[int]:
    """Take, measure and end ten trials; return their numbers."""
    numbers: list[int] = []
    while len(numbers) < 10:
        study = store.study("p", "local", study_id)
        trials = store.hand_out(study, client, 1, fresh=[point(1.0)])
        for trial in trials or ():
            for step in (1, 2):
                assert store.measure_trial(trial, [Measurement(step_count=step)])
            assert store.move_trial(trial, TrialState.COMPLETED)
            numbers.append(trial.number)
    return numbers


def test_a_study_is_removed_while_its_trials_are_being_measured(store: Store) -> None:
    study = add(store)
    trials = store.hand_out(study, "a", 4, fresh=[point(n) for n in range(4)])
    assert trials is not None

    def measure(trial: TrialRecord) -> Callable[[], object]:
        def run() -> object:
            while store.measure_trial(trial, [Measurement(step_count=1)]):
                pass
            return None

        return run

    remove: Callable[[], object] = lambda: store.remove_study(study)  # noqa: E731
    assert at_once([*(measure(trial) for trial in trials), remove]) == [None] * 5
    assert store.studies("p", "local") == []
