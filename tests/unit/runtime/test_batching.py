"""The promises of micro-batching, for any mix of requests."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.runtime import answerer as answerer_module
from mlengine.runtime.answerer import Answerer, predict
from mlengine.runtime.batching import Batches
from mlengine.runtime.frameworks import Description
from mlengine.runtime.prediction_error import input_error

REQUESTS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 9)), max_size=40)


@given(REQUESTS, st.integers(1, 12))
def test_nobody_waits_idle_and_no_call_is_too_large(
    requests: list[tuple[str, int]], max_size: int
) -> None:
    batches: Batches[tuple[int, str, int]] = Batches(max_size=max_size)
    for number, (lane, count) in enumerate(requests):
        batches.add(lane, (number, lane, count), count, now_s=5.0)
    taken: list[tuple[int, str, int]] = []
    while len(batches):
        assert batches.wait_s(now_s=5.0) == 0.0
        batch = batches.take(now_s=5.0)
        assert len(batch) == 1 or sum(count for _, _, count in batch) <= max_size
        assert len({lane for _, lane, _ in batch}) == 1
        taken += batch
    assert batches.take(now_s=5.0) == [] and batches.wait_s(now_s=5.0) is None
    assert sorted(number for number, _, _ in taken) == list(range(len(requests)))
    for lane in "abc":  # and nobody overtakes in his lane
        numbers = [number for number, of, _ in taken if of == lane]
        assert numbers == sorted(numbers)


@given(REQUESTS, st.integers(1, 12))
def test_a_call_is_as_large_as_it_may_be(requests: list[tuple[str, int]], max_size: int) -> None:
    batches: Batches[int] = Batches(max_size=max_size)
    for _, count in requests:
        batches.add("one", count, count, now_s=0.0)
    sizes = []
    while batch := batches.take(now_s=0.0):
        sizes.append((batch[0], sum(batch)))
    for (_, size), (first, _) in itertools.pairwise(sizes):
        assert size + first > max_size


ARRIVALS = st.lists(st.tuples(st.integers(0, 40), st.sampled_from("ab"), st.integers(1, 3)))


@given(ARRIVALS)
def test_with_a_deadline_a_request_waits_no_longer_and_leaves_early_only_in_full_company(
    arrivals: list[tuple[int, str, int]],
) -> None:
    batches: Batches[tuple[int, str, int]] = Batches(max_size=4, deadline_s=10)
    waiting: dict[str, list[tuple[int, str, int]]] = {"a": [], "b": []}
    for now_s, lane, count in [*sorted(arrivals), (60, "a", 1), (70, "a", 0)]:
        if count:
            batches.add(lane, (now_s, lane, count), count, now_s=now_s)
            waiting[lane].append((now_s, lane, count))
        while batch := batches.take(now_s=now_s):
            first_s, of, _ = batch[0]
            full = sum(count for _, _, count in waiting[of]) >= 4
            assert full or first_s + 10 <= now_s
            assert waiting[of][: len(batch)] == batch
            del waiting[of][: len(batch)]
        left = [since_s for entries in waiting.values() for since_s, _, _ in entries]
        assert batches.wait_s(now_s=now_s) == (min(left) + 10 - now_s if left else None)
    assert not len(batches)


def test_lanes_take_turns() -> None:
    batches: Batches[str] = Batches(max_size=1)
    for item in ("a1", "a2", "a3"):
        batches.add("a", item, 1, now_s=0.0)
    batches.add("b", "b1", 1, now_s=0.0)
    assert [batches.take(now_s=0.0) for _ in range(4)] == [["a1"], ["b1"], ["a2"], ["a3"]]


class Doubling:
    """Doubles numbers; refuses texts, and `by` multiplies instead."""

    def __init__(self, *, joinable: bool) -> None:
        self.joinable = joinable
        self.calls: list[int] = []

    def predict(self, instances: list[Any], **kwargs: Any) -> list[Any]:
        self.calls.append(len(instances))
        for number, instance in enumerate(instances):
            if isinstance(instance, str):
                raise input_error(f"instance {number} is a string")
        return [float("nan") if value == 13 else value * kwargs.get("by", 2) for value in instances]

    def describe(self) -> Description:
        return Description(framework="", library_version="", inputs=[], raw_text=False, warnings=[])


class Direct:
    """The shortcut of `Doubling`; it knows nothing of 7, and cannot write 13."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def read(self, body: bytes) -> Any | None:
        try:
            found = json.loads(body)
        except ValueError:
            return None
        if set(found) != {"instances"} or not isinstance(found["instances"], list):
            return None
        plain = all(isinstance(value, int) and value != 7 for value in found["instances"])
        return found["instances"] if plain and found["instances"] else None

    def count(self, asked: Any) -> int:
        return len(asked)

    def answer(self, asked: Sequence[Any]) -> list[bytes | None]:
        self.calls.append(sum(len(values) for values in asked))
        return [
            None if 13 in values
            else b'{"predictions":[%b]}' % b",".join(b"%d" % (2 * v) for v in values)
            for values in asked
        ]  # fmt: skip


INSTANCES = st.lists(st.one_of(st.integers(0, 20), st.just("bad"), st.just(7)), max_size=4)
BODIES = st.lists(
    st.one_of(
        INSTANCES.map(lambda instances: json.dumps({"instances": instances}).encode()),
        st.tuples(INSTANCES, st.integers(2, 3)).map(
            lambda asked: json.dumps({"instances": asked[0], "by": asked[1]}).encode()
        ),
        st.sampled_from([b"nonsense", b"{}", b'{"instances": NaN}', b'{"instances": [1], "a": 1}']),
    ),
    max_size=60,
)


@given(BODIES, st.booleans(), st.booleans(), st.integers(1, 8))
def test_everybody_gets_what_he_would_have_got_alone(
    bodies: list[bytes], joinable: bool, has_shortcut: bool, max_size: int
) -> None:
    model, shortcut = Doubling(joinable=joinable), Direct() if has_shortcut else None
    answerer = Answerer(model, shortcut=shortcut, max_batch_size=max_size, max_answer_bytes=60)
    for number, body in enumerate(bodies):
        answerer.add(number, body, now_s=0.0)
    answers = {}
    for call in answerer.answers(now_s=0.0):
        for whose, answer in call:
            assert whose not in answers
            answers[whose] = answer
    assert len(answerer) == 0
    together = [*model.calls, *(shortcut.calls if shortcut else ())]
    alone = Doubling(joinable=False)
    expected = [predict(alone, body, max_answer_bytes=60) for body in bodies]
    assert [answers[number] for number in range(len(bodies))] == expected
    assert all(size <= max(max_size, 4) for size in together)


def test_one_bad_row_fails_alone() -> None:
    model = Doubling(joinable=True)
    answerer = Answerer(model, max_answer_bytes=1000)
    for number, instances in enumerate(([1, 2], ["bad"], [3], [13])):
        answerer.add(number, json.dumps({"instances": instances}).encode(), now_s=0.0)
    (answers,) = answerer.answers(now_s=0.0)
    assert [(whose, answer.status) for whose, answer in answers] == [
        (0, 200), (1, 400), (2, 200), (3, 400)
    ]  # fmt: skip
    assert model.calls == [5, 2, 1, 1, 1]  # all together, and then each alone


def test_without_a_bad_row_there_is_one_call_and_it_is_counted() -> None:
    model = Doubling(joinable=True)
    answerer = Answerer(model, max_answer_bytes=1000)
    for number in range(5):
        answerer.add(number, b'{"instances": [1, 2]}', now_s=0.0)
    assert answerer.stats()["waiting"] == 5
    list(answerer.answers(now_s=0.0))
    assert model.calls == [10]
    assert answerer.stats() == {"requests": 5, "calls": [0, 0, 0, 1] + [0] * 12, "waiting": 0}


class Timed(Direct):
    """Takes so many seconds to predict."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, call_s: float) -> None:
        super().__init__()
        self.call_s, self.now_s = call_s, 0.0
        monkeypatch.setattr(answerer_module.time, "perf_counter", lambda: self.now_s)

    def answer(self, asked: Sequence[Any]) -> list[bytes | None]:
        self.now_s += self.call_s
        return super().answer(asked)


def calls_of(shortcut: Timed, rounds: int) -> list[list[int]]:
    model = Doubling(joinable=False)
    answerer = Answerer(model, shortcut=shortcut, max_answer_bytes=1000)
    found = []
    for _ in range(rounds):
        for number in range(64):
            answerer.add(number, b'{"instances": [1]}', now_s=0.0)
        assert answerer.wait_s(now_s=0.0) == 0.0
        answered = [whose for call in answerer.answers(now_s=0.0) for whose, _answer in call]
        assert answered == list(range(64))
        found.append(shortcut.calls[:])
        shortcut.calls.clear()
    return found


def test_short_calls_answer_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    assert calls_of(Timed(monkeypatch, 50e-6), 2) == [[16] * 4] * 2


@pytest.mark.parametrize("call_s", [150e-6, 300e-6, 0.01, 1.0])
def test_a_call_that_costs_more_is_shared_by_all(
    monkeypatch: pytest.MonkeyPatch, call_s: float
) -> None:
    """For long, whatever a call of all of them costs; then it is tried again."""
    found = calls_of(Timed(monkeypatch, call_s), 258)
    assert found[:256] == [[16, 48]] + [[64]] * 255
    assert [16, 48] in found[256:]


def test_who_is_to_wait_for_others_does(monkeypatch: pytest.MonkeyPatch) -> None:
    shortcut = Timed(monkeypatch, 1.0)
    answerer = Answerer(
        Doubling(joinable=False), shortcut=shortcut, max_answer_bytes=1000, deadline_s=0.03
    )
    for number in range(100):
        answerer.add(number, b'{"instances": [1]}', now_s=0.0 if number < 8 else 0.03)
    assert len(list(answerer.answers(now_s=0.03))) == 1
    assert shortcut.calls == [100]


def test_one_slow_call_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    shortcut = Timed(monkeypatch, 50e-6)
    slow = iter([1.0])
    answer = shortcut.answer

    def stutter(asked: Sequence[Any]) -> list[bytes | None]:
        shortcut.now_s += next(slow, 0.0)
        return answer(asked)

    monkeypatch.setattr(shortcut, "answer", stutter)
    found = calls_of(shortcut, 260)
    assert found[0] == [16, 48] and found[-1] == [16] * 4


def test_a_body_that_breaks_its_reader_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    shortcut = Direct()
    read = shortcut.read

    def stumble(body: bytes) -> Any | None:
        if body == b"stone":
            raise RecursionError("too deep")
        return read(body)

    monkeypatch.setattr(shortcut, "read", stumble)
    answerer = Answerer(Doubling(joinable=False), shortcut=shortcut, max_answer_bytes=1000)
    for number, body in enumerate([b'{"instances": [1]}', b"stone", b'{"instances": [2]}']):
        answerer.add(number, body, now_s=0.0)
    answers = {whose: answer for call in answerer.answers(now_s=0.0) for whose, answer in call}
    assert {whose: answer.status for whose, answer in answers.items()} == {0: 200, 1: 500, 2: 200}
    assert b"too deep" in answers[1].body
    assert len(answerer) == 0
