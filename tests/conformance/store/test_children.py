from __future__ import annotations

import msgspec
import pytest
import sqlalchemy as sa

from mlengine.core.resources import Job
from mlengine.core.states import JobState
from mlengine.store import Store


def test_a_child_is_run_like_any_job_and_listed_with_its_parent_only(
    store: Store, raw: sa.Engine
) -> None:
    parent = store.add_job("p", Job(job_id="tune"), uid="u")
    other = store.add_job("p", Job(job_id="other"), uid="v")
    children = [
        store.add_job("p", Job(job_id=f"tune/{n}"), uid=f"u-{n}", parent="u") for n in (1, 2)
    ]
    assert (parent.parent, children[0].parent) == ("", "u")
    assert store.job("p", "tune/1") == children[0]
    assert store.children(parent) == children
    assert store.children(other) == []
    assert store.jobs("p") == [other, parent]
    assert store.count_jobs({JobState.QUEUED}) == 2
    assert store.jobs_in({JobState.QUEUED}) == [parent, other, *children]
    assert store.queue() == [record.seq for record in (parent, other, *children)]
    assert store.queue_position(children[1], priority=0) == 4
    moved = store.move_job(children[0], JobState.PREPARING, attempt=1)
    assert moved is not None
    assert store.children(parent) == [moved, children[1]]
    assert moved.parent == "u"
    labels = {"a": "b"}
    edited = store.edit_job("p", "tune/2", lambda j: msgspec.structs.replace(j, labels=labels))
    assert edited.parent == "u"
    with pytest.raises(sa.exc.DBAPIError, match="changes its parent"), raw.begin() as connection:
        connection.exec_driver_sql("UPDATE jobs SET parent = ''")


def test_pages_of_jobs_leave_out_children(store: Store) -> None:
    parents = [store.add_job("p", Job(job_id=f"j{n}"), uid=f"j{n}") for n in range(3)]
    for parent in parents:
        store.add_job("p", Job(job_id=f"{parent.job_id}/1"), uid=f"{parent.uid}-1", parent="x")
    newest = store.jobs("p", limit=2)
    assert newest == parents[:0:-1]
    assert store.jobs("p", before_seq=newest[-1].seq) == parents[:1]
