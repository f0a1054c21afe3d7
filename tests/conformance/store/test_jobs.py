from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from mlengine.core.errors import Aborted, AlreadyExists, Internal, NotFound
from mlengine.core.resources import Job, Scheduling, TrainingInput, TrainingOutput
from mlengine.core.states import JOB_MOVES, TERMINAL_JOB_STATES, JobState
from mlengine.store import JobRecord, Store, open_store

_uids = itertools.count()

PATHS = {
    JobState.QUEUED: [],
    JobState.PREPARING: [JobState.PREPARING],
    JobState.RUNNING: [JobState.PREPARING, JobState.RUNNING],
    JobState.CANCELLING: [JobState.CANCELLING],
    JobState.SUCCEEDED: [JobState.PREPARING, JobState.RUNNING, JobState.SUCCEEDED],
    JobState.FAILED: [JobState.FAILED],
    JobState.CANCELLED: [JobState.CANCELLING, JobState.CANCELLED],
}


def add(store: Store, job_id: str, *, project: str = "p", priority: int = 0) -> JobRecord:
    job = Job(job_id=job_id, training_input=TrainingInput(python_module="trainer.task"))
    return store.add_job(project, job, uid=f"{job_id}-{next(_uids)}", priority=priority)


def bring(store: Store, job_id: str, state: JobState) -> JobRecord:
    record = add(store, job_id)
    for to in PATHS[state]:
        moved = store.move_job(record, to)
        assert moved is not None
        record = moved
    return record


def test_a_new_job_is_queued_and_reads_back_as_it_was_written(store: Store) -> None:
    job = Job(
        job_id="census",
        create_time="2018-03-02T06:50:06Z",
        labels={"owner": "alice"},
        training_input=TrainingInput(
            worker_count=3,
            args=["--é", "\U0001f600", ""],
            hyperparameters={"goal": "MAXIMIZE", "maxTrials": 0, "deep": {"a": [1, None, 0.5]}},
            scheduling=Scheduling(max_running_time="7200s", priority=5),
        ),
    )
    record = store.add_job("p", job, uid="census-1")
    assert record == store.job("p", "census")
    assert (record.state, record.attempt) == (JobState.QUEUED, 0)
    assert msgspec.structs.replace(record.job, state="", etag="") == job


def test_the_first_use_of_an_id_wins_and_names_the_field(store: Store) -> None:
    add(store, "census")
    with pytest.raises(AlreadyExists, match=r"job\.job_id Error: A job with this id already"):
        add(store, "census")


def test_an_id_stays_used_after_its_job_failed(store: Store) -> None:
    bring(store, "census", JobState.FAILED)
    with pytest.raises(AlreadyExists):
        add(store, "census")


def test_ids_differ_by_case_and_by_project(store: Store) -> None:
    records = [add(store, "census"), add(store, "Census"), add(store, "census", project="q")]
    assert len({record.seq for record in records}) == 3


def test_a_uid_is_unique_whatever_the_case(store: Store) -> None:
    store.add_job("p", Job(job_id="a"), uid="Folder")
    with pytest.raises(AlreadyExists):
        store.add_job("p", Job(job_id="b"), uid="folder")


def test_an_unknown_job_is_not_found_and_a_near_one_is_suggested(store: Store) -> None:
    add(store, "census")
    with pytest.raises(NotFound, match="Did you mean 'census'"):
        store.job("p", "censu")


@pytest.mark.parametrize(("frm", "to"), list(itertools.product(JobState, JobState)), ids=str)
def test_a_job_moves_exactly_where_the_states_allow(
    store: Store, raw: sa.Engine, frm: JobState, to: JobState
) -> None:
    record = bring(store, "census", frm)
    moved = store.move_job(record, to)
    lawful = to in JOB_MOVES[frm]
    assert (moved is not None) == lawful
    assert store.job("p", "census").state == (to if lawful else frm)
    other = bring(store, "by_force", frm)
    if to is not frm and not lawful:
        update = sa.text("UPDATE jobs SET state = :state WHERE seq = :seq")
        with pytest.raises(sa.exc.DBAPIError, match="unlawful"), raw.begin() as connection:
            connection.execute(update, {"state": str(to), "seq": other.seq})


def test_a_move_sets_attempt_plan_and_attributes_and_keeps_the_rest(store: Store) -> None:
    record = add(store, "census")
    moved = store.move_job(record, JobState.PREPARING, attempt=1, start_time="now")
    assert moved is not None
    assert (moved.attempt, moved.job.start_time) == (1, "now")
    assert moved.job.training_input == record.job.training_input
    later = store.move_job(moved, JobState.RUNNING)
    assert later is not None
    assert later.attempt == 1


def test_a_stale_record_moves_nothing(store: Store) -> None:
    record = add(store, "census")
    assert store.move_job(record, JobState.PREPARING, attempt=1)
    before = store.job("p", "census")
    assert store.move_job(record, JobState.CANCELLING) is None
    assert store.job("p", "census") == before


def test_an_older_attempt_moves_nothing(store: Store) -> None:
    queued = add(store, "census")
    first = store.move_job(queued, JobState.PREPARING, attempt=1)
    assert first is not None
    second = store.move_job(first, JobState.PREPARING, attempt=2)
    assert second is not None
    assert store.move_job(first, JobState.FAILED) is None
    assert store.move_job(second, JobState.RUNNING, attempt=1) is None
    assert store.job("p", "census") == second


@pytest.mark.parametrize("state", sorted(TERMINAL_JOB_STATES | {JobState.QUEUED}))
def test_only_a_job_that_has_begun_takes_a_new_attempt_in_place(
    store: Store, state: JobState
) -> None:
    record = bring(store, "census", state)
    assert store.move_job(record, state, attempt=record.attempt + 1) is None


def test_a_move_of_a_job_that_never_was_is_refused(store: Store) -> None:
    record = add(store, "census")
    ghost = msgspec.structs.replace(record, seq=record.seq + 100)
    assert store.move_job(ghost, JobState.PREPARING) is None


def test_a_move_keeps_labels_that_were_edited_after_the_record_was_read(store: Store) -> None:
    record = add(store, "census")
    store.edit_job("p", "census", lambda job: msgspec.structs.replace(job, labels={"a": "b"}))
    moved = store.move_job(record, JobState.PREPARING)
    assert moved is not None
    assert moved.job.labels == {"a": "b"}


def test_raw_sql_can_neither_delete_a_job_nor_turn_an_attempt_back(
    store: Store, raw: sa.Engine
) -> None:
    record = add(store, "census")
    assert store.move_job(record, JobState.PREPARING, attempt=2)
    for statement in ("DELETE FROM jobs", "UPDATE jobs SET attempt = 1"):
        with pytest.raises(sa.exc.DBAPIError), raw.begin() as connection:
            connection.execute(sa.text(statement))
    with pytest.raises(sa.exc.DBAPIError), raw.begin() as connection:
        connection.execute(sa.text("UPDATE events SET kind = 'other'"))


def test_an_edit_changes_the_newest_value_and_the_etag(store: Store) -> None:
    before = add(store, "census")
    output = TrainingOutput(completed_trial_count=4)
    after = store.edit_job(
        "p", "census", lambda job: msgspec.structs.replace(job, training_output=output)
    )
    assert after.job.training_output == output
    assert after.job.etag != before.job.etag
    assert store.job("p", "census") == after


def test_an_edit_that_changes_nothing_writes_nothing(store: Store) -> None:
    before = add(store, "census")
    events = len(store.events())
    assert store.edit_job("p", "census", lambda job: job) == before
    assert len(store.events()) == events


def test_an_edit_in_place_does_not_escape_notice(store: Store) -> None:
    add(store, "census")

    def change(job: Job) -> Job:
        job.labels["a"] = "b"
        return job

    assert store.edit_job("p", "census", change).job.labels == {"a": "b"}
    assert store.job("p", "census").job.labels == {"a": "b"}


def test_an_edit_of_an_older_attempt_is_aborted(store: Store) -> None:
    store.move_job(add(store, "census"), JobState.PREPARING, attempt=2)

    def change(job: Job) -> Job:
        return msgspec.structs.replace(job, labels={"a": "b"})

    with pytest.raises(Aborted, match="attempt 2 has taken over"):
        store.edit_job("p", "census", change, attempt=1)
    assert store.edit_job("p", "census", change, attempt=2).job.labels == {"a": "b"}


def test_an_edit_may_not_change_the_state_and_one_that_raises_leaves_no_trace(
    store: Store,
) -> None:
    before = add(store, "census")
    with pytest.raises(Internal, match="changed state"):
        store.edit_job("p", "census", lambda job: msgspec.structs.replace(job, state="FAILED"))
    with pytest.raises(ZeroDivisionError):
        store.edit_job("p", "census", lambda job: 1 // 0)  # type: ignore[arg-type,return-value]
    with pytest.raises(NotFound):
        store.edit_job("p", "other", lambda job: job)
    assert store.job("p", "census") == before


def test_jobs_are_listed_newest_first_and_pages_are_stable_under_inserts(store: Store) -> None:
    for number in range(7):
        add(store, f"job{number}")
    add(store, "elsewhere", project="q")
    first = store.jobs("p", limit=3)
    add(store, "late")
    second = store.jobs("p", before_seq=first[-1].seq, limit=3)
    last = store.jobs("p", before_seq=second[-1].seq, limit=3)
    listed = [record.job_id for page in (first, second, last) for record in page]
    assert listed == [f"job{number}" for number in reversed(range(7))]


def test_the_queue_goes_by_priority_then_age_over_all_projects(store: Store) -> None:
    add(store, "low1")
    add(store, "high1", priority=5)
    add(store, "low2", project="q")
    add(store, "high2", priority=5)
    bring(store, "gone", JobState.FAILED)
    queue = store.jobs_in({JobState.QUEUED})
    assert [record.job_id for record in queue] == ["high1", "high2", "low1", "low2"]
    assert store.jobs_in({JobState.QUEUED}, limit=1) == queue[:1]
    assert store.jobs_in(set()) == []
    assert store.count_jobs({JobState.QUEUED, JobState.FAILED}) == 5


def test_a_reopened_store_knows_everything(store: Store, url: str) -> None:
    record = bring(store, "census", JobState.RUNNING)
    store.close()
    again = open_store(url)
    assert again.job("p", "census") == record
    assert again.move_job(record, JobState.SUCCEEDED) is not None
    again.close()


def test_every_write_of_a_job_appends_one_event(store: Store) -> None:
    record = add(store, "census")
    moved = store.move_job(record, JobState.PREPARING, attempt=1)
    assert store.move_job(record, JobState.PREPARING, attempt=1) is None
    store.edit_job("p", "census", lambda job: msgspec.structs.replace(job, labels={"a": "b"}))
    assert moved is not None
    events = store.events()
    assert [(event.kind, event.resource) for event in events] == [
        ("job.created", "projects/p/jobs/census"),
        ("job.moved", "projects/p/jobs/census"),
        ("job.edited", "projects/p/jobs/census"),
    ]
    expected: dict[str, Any] = {"from": "QUEUED", "to": "PREPARING", "attempt": 1}
    assert events[1].detail == expected
    assert store.events(after_seq=events[0].seq, limit=1) == events[1:2]
    assert store.newest_event() == events[-1]


def test_a_queued_job_knows_its_place_in_the_queue_of_all_projects(store: Store) -> None:
    low = store.add_job("p", Job(job_id="low"), uid="u1", priority=0)
    high = store.add_job("q", Job(job_id="high"), uid="u2", priority=9)
    late = store.add_job("p", Job(job_id="late"), uid="u3", priority=0)
    places = [
        store.queue_position(record, priority=priority)
        for record, priority in ((high, 9), (low, 0), (late, 0))
    ]
    assert places == [1, 2, 3]
    store.move_job(high, JobState.PREPARING, attempt=1)
    assert store.queue_position(late, priority=0) == 2


def test_the_queue_is_listed_by_priority_then_age(store: Store) -> None:
    names = {"low": 0, "high": 9, "low_too": 0, "middle": 5}
    made = {name: add(store, name, priority=priority) for name, priority in names.items()}
    order = [made[name].seq for name in ("high", "middle", "low", "low_too")]
    assert list(store.queue()) == order
    assert store.move_job(made["high"], JobState.PREPARING, attempt=1)
    assert list(store.queue()) == order[1:]
