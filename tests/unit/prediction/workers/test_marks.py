"""A version is told of a loop once, and that it is over once; what others said stays."""

from __future__ import annotations

import contextlib

import pytest

from mlengine.core.resources import Version
from mlengine.prediction.workers.marks import Marks
from mlengine.store import VersionRecord


class Pool:
    def __init__(self) -> None:
        self.looping: dict[str, str] = {}
        self.well: set[str] = set()

    def loops(self) -> dict[str, str]:
        return self.looping

    def healthy(self) -> set[str]:
        return self.well


def record(message: str = "") -> VersionRecord:
    version = Version(name="v1", state="READY", error_message=message)
    return VersionRecord(
        seq=1, uid="7f3a", project="p", model_id="m", version_id="v1", version=version
    )


def told(marks: Marks, pool: Pool, message: str = "") -> list[str]:
    return [new for _record, new in marks.due([record(message)], pool)]


def test_a_loop_is_said_and_unsaid_once() -> None:
    marks, pool = Marks(), Pool()
    assert told(marks, pool) == []
    pool.looping = {"7f3a-0": "it fell."}
    (said,) = told(marks, pool)
    assert said == (
        "Its worker dies again and again: it fell. "
        "See what it printed with 'mlengine versions logs v1 --model m'."
    )
    assert told(marks, pool) == []
    pool.looping = {}
    assert told(marks, pool, said) == []  # it sleeps, or is too young
    pool.well = {"7f3a-1"}
    assert told(marks, pool, said) == [""]
    assert told(marks, pool, said) == []


def test_what_could_not_be_stored_is_said_again() -> None:
    marks, pool = Marks(), Pool()
    pool.looping = {"7f3a-0": "it fell."}
    with pytest.raises(OSError), contextlib.closing(marks.due([record()], pool)) as due:
        next(due)
        raise OSError
    assert len(told(marks, pool)) == 1
    assert told(marks, pool) == []


def test_an_engine_that_is_new_unsays_what_the_one_before_said() -> None:
    pool = Pool()
    pool.well = {"7f3a-0"}
    assert told(Marks(), pool, "Its worker dies again and again: it fell.") == [""]
    assert told(Marks(), pool, "Something else.") == []
