"""What becomes of a tuning job: its rules row by row, and whole lives of it under any luck."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlengine.core.states import JobState
from mlengine.training.trials.lifecycle import UNKNOWN_FLAG, Act, Books, Step, TrialFacts, decide

S = JobState


def trial(number: int, child: JobState | None = None, **facts: Any) -> TrialFacts:
    return TrialFacts(number=number, child=child, **facts)


def books(*trials: TrialFacts, of: int = 4, parallel: int = 2, **facts: Any) -> Books:
    return Books(max_trials=of, max_parallel=parallel, trials=trials, **facts)


def ask(count: int) -> Step:
    return Step(Act.ASK, count=count)


good = [trial(n, S.SUCCEEDED, closed=True) for n in range(5)]
bad = [trial(n, S.FAILED, closed=True, failure=f"Broke {n}.") for n in range(5)]

ROWS: dict[str, tuple[Books, list[Step]]] = {
    "it begins with as many as may run": (books(), [ask(2)]),
    "one at a time": (books(parallel=1), [ask(1)]),
    "never more than are wanted": (books(of=1), [ask(1)]),
    "points are being suggested": (books(asking=True), []),
    "a point without a child is begun, and the room used": (
        books(trial(1)), [Step(Act.BEGIN, 1), ask(1)],
    ),
    "nothing to do while they run": (books(trial(1, S.RUNNING), trial(2, S.QUEUED)), []),
    "a child that is over goes into the books": (
        books(trial(1, S.SUCCEEDED), trial(2, S.RUNNING)), [Step(Act.CLOSE, 1)],
    ),
    "so does one that failed": (books(trial(1, S.FAILED), parallel=1), [Step(Act.CLOSE, 1)]),
    "a closed one makes room": (books(good[1], trial(2, S.RUNNING)), [ask(1)]),
    "the last ones": (books(*good[1:4], of=4), [ask(1)]),
    "all are in the books": (books(*good[1:5]), [Step(Act.END, state=S.SUCCEEDED)]),
    "one success is enough": (
        books(*bad[1:3], *good[3:5]),
        [Step(Act.END, state=S.SUCCEEDED, message="2 trials failed (1-2): Broke 1.")],
    ),
    "no point is left": (books(good[1], exhausted=True), [Step(Act.END, state=S.SUCCEEDED)]),
    "no point is left, and one runs": (books(trial(1, S.RUNNING), exhausted=True), []),
    "there never was a point": (
        books(exhausted=True),
        [Step(Act.END, state=S.FAILED, message="There was no point left to try.")],
    ),
    "two of two failed": (
        books(*bad[1:3], of=2, parallel=1),
        [Step(Act.END, state=S.FAILED,
              message="All of the first 2 trials failed.\n2 trials failed (1-2): Broke 1.")],
    ),
    "the first three failed": (
        books(*bad[1:4], trial(4, S.RUNNING), of=9),
        [Step(Act.GIVE_UP,
              message="All of the first 3 trials failed.\n3 trials failed (1-3): Broke 1.")],
    ),
    "with four at a time, three say nothing yet": (
        books(*bad[1:4], trial(4, S.RUNNING), of=9, parallel=4), [ask(3)],
    ),
    "it was given up: what runs is called off": (
        books(*bad[1:4], trial(4, S.RUNNING), of=9, given_up="Why."), [Step(Act.CALL_OFF, 4)],
    ),
    "it was given up: a point that was never begun is closed": (
        books(*bad[1:4], trial(4), of=9, given_up="Why."), [Step(Act.CLOSE, 4)],
    ),
    "it was given up: wait for what stops": (
        books(*bad[1:4], trial(4, S.CANCELLING), of=9, given_up="Why."), [],
    ),
    "it was given up and nothing runs": (
        books(*bad[1:3], trial(3, S.FAILED, closed=True, failure="Other."), trial(5, closed=True),
              trial(4, S.CANCELLED, closed=True, failure="Over."), of=9, given_up="Why.\nSo far."),
        [Step(Act.END, state=S.FAILED, message="Why.\n2 trials failed (1-2): Broke 1.\n"
              "1 trial failed (3): Other.\n1 trial was stopped (4): Over.\n"
              "1 trial never began (5).")],
    ),
    "as many failed as may": (
        books(good[1], *bad[2:4], of=9, max_failed=2),
        [Step(Act.GIVE_UP, message="2 trials failed, and maxFailedTrials is 2.\n"
                                   "2 trials failed (2-3): Broke 2.")],
    ),
    "one fewer failed than may": (books(good[1], bad[2], of=9, max_failed=2), [ask(2)]),
    "three failed, and its user allows four": (books(*bad[1:4], of=9, max_failed=4), [ask(2)]),
    "an unknown flag ends it with the first trial": (
        books(trial(1, S.FAILED, failure=UNKNOWN_FLAG + "--x."), trial(2, S.RUNNING), of=9),
        [Step(Act.GIVE_UP,
              message="Trial 1 cannot work, and no other would: UNKNOWN_FLAG: --x.")],
    ),
    "an unknown flag ends it also where failures are allowed": (
        books(trial(1, S.FAILED, failure=UNKNOWN_FLAG + "--x."), of=9, max_failed=5),
        [Step(Act.GIVE_UP,
              message="Trial 1 cannot work, and no other would: UNKNOWN_FLAG: --x.")],
    ),
    "an unknown flag is said once": (
        books(trial(1, S.FAILED, closed=True, failure=UNKNOWN_FLAG + "--x."),
              given_up="Trial 1 cannot work, and no other would: UNKNOWN_FLAG: --x."),
        [Step(Act.END, state=S.FAILED,
              message="Trial 1 cannot work, and no other would: UNKNOWN_FLAG: --x.")],
    ),
    "an unknown flag after a success is one failure": (
        books(good[1], trial(2, S.FAILED, closed=True, failure=UNKNOWN_FLAG + "--x."), of=9),
        [ask(2)],
    ),
    "a trial need not go on": (
        books(trial(1, S.RUNNING, stopping=True), trial(2, S.RUNNING)), [Step(Act.CALL_OFF, 1)],
    ),
    "it is stopping already": (
        books(trial(1, S.CANCELLING, stopping=True), trial(2, S.RUNNING)), [],
    ),
    "cancelled: all that runs is called off at once": (
        books(good[1], trial(2, S.RUNNING), trial(3, S.QUEUED), cancelling=True),
        [Step(Act.CALL_OFF, 2), Step(Act.CALL_OFF, 3)],
    ),
    "cancelled: a suggestion on its way is waited for": (books(cancelling=True, asking=True), []),
    "cancelled and nothing runs": (
        books(good[1], cancelling=True), [Step(Act.END, state=S.CANCELLED)],
    ),
    "cancelled after it was given up": (
        books(bad[1], cancelling=True, given_up="Why."),
        [Step(Act.END, state=S.CANCELLED, message="Why.\n1 trial failed (1): Broke 1.")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_the_rules(name: str) -> None:
    seen, steps = ROWS[name]
    assert decide(seen) == steps


class _World:
    """Performs every step, in any order and however late; children end as luck has it."""

    def __init__(self, chance: random.Random, **facts: Any) -> None:
        self.chance = chance
        self.books = Books(**facts)
        self.trials: dict[int, TrialFacts] = {}
        self.begun: list[int] = []
        self.ended: Step | None = None
        self.asked = 0

    def turn(self) -> None:
        self.books = msgspec.structs.replace(
            self.books, trials=list(self.trials.values()), asking=self.asked > 0
        )
        steps = decide(self.books)
        self.chance.shuffle(steps)
        for step in steps:
            if self.chance.random() < 0.7:  # a crash in between: the next turn comes to it
                self.perform(step)
        self.live()
        alive = [t for t in self.trials.values() if not t.closed]
        assert len(alive) <= self.books.max_parallel
        assert len(self.trials) <= self.books.max_trials

    def perform(self, step: Step) -> None:
        match step.act:
            case Act.ASK:
                self.asked = step.count
            case Act.BEGIN:
                self.begun.append(step.trial)
                self.change(step.trial, child=S.QUEUED)
            case Act.CALL_OFF:
                self.change(step.trial, child=S.CANCELLING)
            case Act.CLOSE:
                assert not self.trials[step.trial].closed
                self.change(step.trial, closed=True)
            case Act.GIVE_UP:
                self.books = msgspec.structs.replace(self.books, given_up=step.message)
            case Act.END:
                assert all(t.closed for t in self.trials.values())
                self.ended = step

    def live(self) -> None:
        """Let suggestions arrive and children go on, or not."""
        if self.asked and self.chance.random() < 0.5:
            for _ in range(self.asked):
                number = len(self.trials) + 1
                self.trials[number] = TrialFacts(number=number)
            self.asked = 0
        for number, one in self.trials.items():
            if one.child is None or one.child.terminal or self.chance.random() < 0.4:
                continue
            if one.child is S.CANCELLING:
                self.change(number, child=S.SUCCEEDED if one.stopping else S.CANCELLED)
            elif one.child is S.RUNNING:
                end = self.chance.choice([S.SUCCEEDED, S.SUCCEEDED, S.FAILED])
                stopping = self.chance.random() < 0.2
                self.change(number, **({"stopping": True} if stopping else {"child": end}))
            else:
                self.change(number, child=S.RUNNING)

    def change(self, number: int, **facts: Any) -> None:
        self.trials[number] = msgspec.structs.replace(self.trials[number], **facts)


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    trials=st.integers(1, 20),
    parallel=st.integers(1, 6),
    failed=st.integers(0, 5),
    cancel_at=st.one_of(st.none(), st.integers(0, 40)),
)
def test_every_life_ends_with_exact_books(
    seed: int, trials: int, parallel: int, failed: int, cancel_at: int | None
) -> None:
    world = _World(random.Random(seed), max_trials=trials, max_parallel=min(parallel, trials),
                   max_failed=failed)  # fmt: skip
    for turn in range(5000):
        if turn == cancel_at:
            world.books = msgspec.structs.replace(world.books, cancelling=True)
        world.turn()
        if world.ended:
            break
    assert world.ended, "it never ends"
    assert len(set(world.begun)) == len(world.begun), "a trial was begun twice"
    state, won = world.ended.state, any(t.succeeded for t in world.trials.values())
    if world.books.cancelling:
        assert state is S.CANCELLED
    elif world.books.given_up:
        assert state is S.FAILED
        headline = world.books.given_up.partition("\n")[0]
        assert world.ended.message.startswith(f"{headline}\n")
    else:
        assert len(world.trials) == trials
        assert state is (S.SUCCEEDED if won else S.FAILED)


@given(seed=st.integers(0, 2**32), trials=st.integers(1, 12))
def test_the_order_of_the_trials_changes_nothing_but_the_order(seed: int, trials: int) -> None:
    chance = random.Random(seed)
    states = [None, S.QUEUED, S.RUNNING, S.CANCELLING, S.SUCCEEDED]
    some = [trial(n, chance.choice(states)) for n in range(1, trials + 1)]
    shuffled = random.Random(seed + 1).sample(some, len(some))
    one, other = books(*some, of=20, parallel=15), books(*shuffled, of=20, parallel=15)
    assert set(decide(one)) == set(decide(other))
