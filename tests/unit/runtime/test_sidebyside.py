"""Who has company is answered side by side; everybody gets what he would have got alone."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.runtime.answerer import Answerer, predict
from mlengine.runtime.answers import Answer
from mlengine.runtime.frameworks import Beside, Description
from mlengine.runtime.prediction_error import input_error
from mlengine.runtime.sidebyside import SideBySide

_WAIT_S = 20.0


class Doubling:
    """Doubles numbers; it knows how many calls run at once, and in which threads."""

    def __init__(self, beside: Beside | None = None) -> None:
        self.beside = beside
        self.threads: set[int] = set()
        self.running, self.most = 0, 0
        self.together: threading.Barrier | None = None
        self._lock = threading.Lock()

    def predict(self, instances: list[Any], /, **_kwargs: Any) -> list[Any]:
        with self._lock:
            self.threads.add(threading.get_ident())
            self.running += 1
            self.most = max(self.most, self.running)
        try:
            if self.together is not None:
                self.together.wait(_WAIT_S)
            if "memory" in instances:
                raise MemoryError
            if "bad" in instances:
                raise input_error("bad")
            return [2 * value for value in instances]
        finally:
            with self._lock:
                self.running -= 1

    def describe(self) -> Description:
        return Description(framework="", library_version="", inputs=[], raw_text=False, warnings=[])


class Asked:
    """An answerer with two cores, and who waits for it."""

    def __init__(self, calls: int = 2) -> None:
        self.narrow = Doubling()
        self.wide = Doubling(Beside(self.narrow, calls))
        self.answerer = Answerer(self.wide, max_answer_bytes=1000)
        self.woken = threading.Event()
        self.arriving = False
        self.answerer.attend(wake=self.woken.set, is_expecting=lambda: self.arriving)
        self.answers: dict[Any, Answer] = {}
        self.added = 0

    def add(self, *instances: Any) -> None:
        body = json.dumps({"instances": list(instances)}).encode()
        self.answerer.add(self.added, body, now_s=0.0)
        self.added += 1

    def turn(self) -> None:
        """Take what there is, as a worker's loop does."""
        self.woken.clear()
        for some in self.answerer.answers(now_s=0.0):
            for whose, answer in some:
                assert whose not in self.answers
                self.answers[whose] = answer

    def finish(self) -> None:
        """Turn until nobody waits."""
        self.turn()
        while len(self.answers) < self.added:
            assert self.woken.wait(_WAIT_S)
            self.turn()

    def values(self) -> list[Any]:
        return [json.loads(self.answers[n].body).get("predictions") for n in range(self.added)]


def test_two_who_wait_are_answered_at_the_same_time() -> None:
    asked = Asked()
    asked.narrow.together = threading.Barrier(2)  # each waits until the other is there
    asked.add(1)
    asked.add(2)
    asked.finish()
    assert asked.values() == [[2], [4]]
    assert threading.get_ident() not in asked.narrow.threads
    assert asked.wide.most == 0


def test_who_is_alone_gets_all_cores_in_the_worker_s_own_thread() -> None:
    asked = Asked()
    for value in (1, 2):
        asked.add(value)
        asked.turn()
    assert asked.values() == [[2], [4]]
    assert asked.wide.threads == {threading.get_ident()}
    assert asked.narrow.most == 0


def test_who_sees_another_come_leaves_him_a_core() -> None:
    asked = Asked()
    asked.narrow.together = threading.Barrier(2)
    asked.arriving = True
    asked.add(1)
    asked.turn()
    asked.arriving = False
    asked.add(2)  # the first is still there
    asked.finish()
    assert asked.values() == [[2], [4]]
    assert asked.wide.most == 0


def test_who_comes_to_full_cores_waits_and_is_counted() -> None:
    asked = Asked()
    asked.narrow.together = threading.Barrier(3)
    for value in range(5):
        asked.add(value)
    asked.turn()
    assert asked.answerer.stats() == {"requests": 2, "calls": [2] + [0] * 15, "waiting": 3}
    assert asked.answerer.wait_s(now_s=0.0) is None  # who has ended wakes
    asked.narrow.together.wait(_WAIT_S)
    asked.narrow.together = None
    asked.finish()
    assert asked.values() == [[0], [2], [4], [6], [8]]
    assert asked.answerer.stats()["requests"] == 5


ROWS = st.lists(st.one_of(st.integers(0, 9), st.just("bad")), max_size=3)


@given(st.lists(st.lists(ROWS, max_size=9), max_size=6), st.integers(1, 4), st.booleans())
def test_everybody_gets_what_he_would_have_got_alone(
    turns: list[list[list[Any]]], calls: int, arriving: bool
) -> None:
    asked, bodies = Asked(calls), []
    asked.arriving = arriving
    for rows in turns:
        for instances in rows:
            asked.add(*instances)
            bodies.append(json.dumps({"instances": instances}).encode())
        asked.turn()
    asked.finish()
    expected = [predict(Doubling(), body, max_answer_bytes=1000) for body in bodies]
    assert [asked.answers[number] for number in range(len(bodies))] == expected
    assert asked.narrow.most <= calls and asked.wide.most <= 1
    assert len(asked.answerer) == 0 and asked.answerer.stats()["requests"] == len(bodies)


def test_what_runs_out_of_memory_ends_the_worker() -> None:
    asked = Asked()
    asked.add("memory")
    asked.add(1)
    with pytest.raises(MemoryError):
        asked.finish()


def test_what_nobody_foresaw_is_an_answer_too() -> None:
    def fail(_body: bytes) -> Answer:
        raise RuntimeError("unforeseen")

    woken = threading.Event()
    side = SideBySide(fail, 1)
    side.wake = woken.set
    side.start("whose", b"")
    assert not side.has_room
    assert woken.wait(_WAIT_S)
    ((whose, answer),) = side.finished()
    assert (whose, answer.status, side.running) == ("whose", 500, 0)
    assert side.has_room and side.finished() == []
