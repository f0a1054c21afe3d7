"""The policy in a simulated world: workers, callers, memory, and a clock that we turn."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlengine.prediction.scaling.autoscale import Bounds, Decision, Policy, Seen

CALM_S = 60
SETTLED_S = 3 * CALM_S  # the longest that any level load may need to be answered as it should


class Moment(NamedTuple):
    at_s: int
    nodes: int
    busy: float
    why: str


def simulate(
    rate: Callable[[int], float], bounds: Bounds, *,
    seconds: int, nodes: int = 0, per_node: float = 100.0, memory: int = 1_000,
) -> list[Moment]:  # fmt: skip
    """Run a version for a while, one look a second.

    Args:
        rate: Predictions that come in a second, by the second.
        per_node: How many of them one worker can make.
        memory: How many workers there is memory for.
    """
    policy, moments = Policy(), []
    queue = last_use_s = 0.0
    for at_s in range(seconds):
        queue += rate(at_s)
        if rate(at_s):
            last_use_s = at_s
        made = min(queue, nodes * per_node)
        busy = made / (nodes * per_node) if nodes else 0.0
        queue -= made
        seen = Seen(
            nodes=nodes,
            in_flight=int(queue) if nodes else 0,
            held=0 if nodes else int(queue + 0.999),
            busy=busy,
            idle_s=at_s - last_use_s,
            room=memory - nodes,
        )
        decision = policy.decide(seen, bounds, float(at_s))
        nodes = decision.nodes
        moments.append(Moment(at_s, nodes, busy, decision.why))
    return moments


def changes(moments: Sequence[Moment]) -> list[tuple[int, int]]:
    """Return (second, by how many) of every change."""
    pairs = itertools.pairwise(moments)
    return [(b.at_s, b.nodes - a.nodes) for a, b in pairs if a.nodes != b.nodes]


loads = st.lists(
    st.tuples(st.integers(1, 90), st.sampled_from([0.0, 0.5, 20.0, 90.0, 300.0, 1_500.0])),
    min_size=1, max_size=8,
)  # fmt: skip
limits = st.builds(
    lambda least, more, idle: Bounds(least, max(least + more, 1), 0.6, idle),
    st.integers(0, 3), st.integers(0, 8), st.sampled_from([5.0, 120.0]),
)  # fmt: skip


def in_steps(steps: Sequence[tuple[int, float]]) -> tuple[Callable[[int], float], int]:
    by_second = [rate for seconds, rate in steps for _second in range(seconds)]
    return by_second.__getitem__, len(by_second)


few = settings(max_examples=25)  # each is some minutes of looks


@few
@given(loads, limits, st.integers(0, 12))
def test_nodes_are_never_more_nor_fewer_than_they_may_be(
    steps: list[tuple[int, float]], bounds: Bounds, memory: int
) -> None:
    rate, seconds = in_steps(steps)
    for moment in simulate(rate, bounds, seconds=seconds, memory=memory):
        assert moment.nodes <= bounds.max_nodes
        assert moment.nodes <= max(memory, bounds.min_nodes)
        assert moment.nodes >= bounds.min_nodes


@few
@given(st.floats(1.0, 900.0), limits, st.integers(0, 5))
def test_a_level_load_is_answered_and_never_sways(rate: float, bounds: Bounds, nodes: int) -> None:
    moments = simulate(
        lambda _second: rate, bounds, seconds=4 * SETTLED_S, nodes=min(nodes, bounds.max_nodes)
    )
    settled = moments[SETTLED_S:]
    assert not changes(settled)
    last = settled[-1]
    assert last.nodes == bounds.max_nodes or last.busy <= bounds.busy_target + 1e-9
    turns = [delta > 0 for _second, delta in changes(moments)]
    assert turns == sorted(turns, reverse=True), "it grows, then it shrinks, and that is all"


@few
@given(loads, limits)
def test_all_sleep_when_nobody_asks(steps: list[tuple[int, float]], bounds: Bounds) -> None:
    steps = [(seconds, min(rate, 40.0 * bounds.max_nodes)) for seconds, rate in steps]
    rate, seconds = in_steps([*steps, (int(bounds.idle_after_s) + 3 * SETTLED_S, 0.0)])
    last = simulate(rate, bounds, seconds=seconds)[-1]
    assert last.nodes == bounds.min_nodes


@few
@given(loads, limits)
def test_who_was_taken_away_is_not_wanted_back_at_once(
    steps: list[tuple[int, float]], bounds: Bounds
) -> None:
    """A change down comes a minute after the last look that wanted more: bursts leave no saw."""
    rate, seconds = in_steps(steps)
    ups = [s for s, delta in changes(simulate(rate, bounds, seconds=seconds)) if delta > 0]
    moments = simulate(rate, bounds, seconds=seconds)
    for second, delta in changes(moments):
        if delta < 0 and moments[second].nodes > 0:
            assert not [up for up in ups if second - CALM_S < up < second]


def test_a_burst_grows_in_seconds_and_shrinks_after_a_minute() -> None:
    bounds = Bounds(0, 8, 0.6, 900.0)
    moments = simulate(lambda s: 450.0 if s < 100 else 10.0, bounds, seconds=300)
    assert moments[0].nodes == 1
    assert moments[20].nodes == 8
    assert moments[99].nodes == 8
    assert moments[130].nodes == 8
    assert moments[299].nodes == 1


@pytest.mark.parametrize(("seen", "decided"), [
    (Seen(nodes=0), Decision(0, "nobody asks")),
    (Seen(nodes=0, held=2), Decision(1, "2 predictions wait")),
    (Seen(nodes=0, held=2, room=0), Decision(0, "2 predictions wait")),
    (Seen(nodes=5), Decision(4, "it is to have so many at most")),
    (Seen(nodes=1, idle_s=900.0), Decision(0, "nobody asked for 900 s")),
    (Seen(nodes=1, idle_s=900.0, in_flight=1), Decision(1, "as they are")),
])  # fmt: skip
def test_each_decision_says_why(seen: Seen, decided: Decision) -> None:
    assert Policy().decide(seen, Bounds(0, 4), 0.0) == decided


@pytest.mark.parametrize("room", [3, 1, 0, -1])
def test_fewer_than_the_least_are_filled_up_whatever_memory_there_is(room: int) -> None:
    """Those who sleep for it make the room, as for a wake."""
    assert Policy().decide(Seen(nodes=0, room=room), Bounds(3, 3), 0.0).nodes == 3
    assert Policy().decide(Seen(nodes=1, room=room), Bounds(3, 4), 0.0).nodes == 3


def test_a_queue_asks_for_one_more() -> None:
    policy, bounds = Policy(), Bounds(0, 4, 0.9)
    seen = Seen(nodes=1, in_flight=200, busy=0.8)
    decided = [policy.decide(seen, bounds, float(s)).nodes for s in range(5)]
    assert decided == [1, 1, 1, 2, 2]
