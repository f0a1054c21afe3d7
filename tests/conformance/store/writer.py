"""A process that writes without pause and says what was acknowledged; it is there to be killed."""

from __future__ import annotations

import itertools
from multiprocessing.connection import Connection

from mlengine.core.resources import Job
from mlengine.core.states import JobState
from mlengine.store import open_store

__all__ = ["write_for_ever"]


def write_for_ever(url: str, round_: int, acks: Connection) -> None:
    """Create and move jobs, sending ``(job_id, state)`` after each call has returned."""
    store = open_store(url)
    for number in itertools.count():
        job_id = f"job_{round_}_{number}"
        record = store.add_job("p", Job(job_id=job_id), uid=job_id)
        acks.send((job_id, str(record.state)))
        moved = store.move_job(record, JobState.PREPARING, attempt=1)
        if moved is None:
            raise AssertionError(f"{job_id} did not move")
        acks.send((job_id, str(moved.state)))
