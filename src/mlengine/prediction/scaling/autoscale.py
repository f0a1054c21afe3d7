"""How many workers a version should have. Pure: what was seen goes in, a number and why come out.

- Asleep and asked: one. Idle for `idle_after_s` and free to sleep: none.
- Up: when workers were busier than the target, or more predictions were in flight than they can
  work on, at every look for `_UP_S`. As many as bring the share down to the target, at most twice
  as many as there are.
- Down: to the most that any look of the last `_CALM_S` asked for, each with a reserve. So what was
  added for a burst stays for a minute, and a level load never sways between two numbers.
- Never above `max_nodes`, never below `min_nodes`; beyond that, no more than there is memory for.
  So far as `min_nodes` whoever acts must make the room: others sleep for it, as for a wake.
"""

from __future__ import annotations

import collections
import math
from typing import NamedTuple

__all__ = ["Bounds", "Decision", "Policy", "Seen"]

_UP_S = 3.0
_CALM_S = 60.0
_RESERVE = 0.8  # of the target: what may be left after a worker is taken away
_IN_FLIGHT = 64  # a worker answers what is waiting with one call; beyond this, it is a queue
_QUEUE_BUSY = 0.5


class Bounds(NamedTuple):
    """What a version's fields and the settings allow.

    Attributes:
        busy_target: Share of their CPUs that workers should use, 0 to 1.
        idle_after_s: Without a prediction for so long it sleeps, if `min_nodes` is 0.
    """

    min_nodes: int = 0
    max_nodes: int = 1
    busy_target: float = 0.6
    idle_after_s: float = 900.0


class Seen(NamedTuple):
    """One look at a version.

    Attributes:
        nodes: Workers that it has, those that load included.
        in_flight: Predictions that workers have.
        held: Predictions that wait for it to wake.
        busy: Share of their CPUs that the workers used since the last look.
        idle_s: Time since the last prediction, or since it was woken.
        room: How many workers more there is memory for.
    """

    nodes: int
    in_flight: int = 0
    held: int = 0
    busy: float = 0.0
    idle_s: float = 0.0
    room: int = 1_000


class Decision(NamedTuple):
    """How many workers, and why."""

    nodes: int
    why: str


class Policy:
    """Decides for one version; remembers what its last looks asked for.

    Example:
        >>> Policy().decide(Seen(nodes=0, held=3), Bounds(), now_s=0.0)
        Decision(nodes=1, why='3 predictions wait')
    """

    def __init__(self) -> None:
        self._since_s = math.inf  # when the first look was
        # (time, what it asked for, the same with a reserve)
        self._asked: collections.deque[tuple[float, int, int]] = collections.deque()

    def decide(self, seen: Seen, bounds: Bounds, now_s: float) -> Decision:
        """Return how many workers the version should have from now on.

        Args:
            now_s: A clock that only goes forward, in seconds.
        """
        self._since_s = min(self._since_s, now_s)
        ceiling = max(min(bounds.max_nodes, seen.nodes + max(seen.room, 0)), 0)
        if seen.nodes < bounds.min_nodes:
            return Decision(bounds.min_nodes, "it is to have so many at least")
        if seen.nodes > bounds.max_nodes:
            return Decision(bounds.max_nodes, "it is to have so many at most")
        if seen.nodes == 0:
            if not seen.held:
                return Decision(0, "nobody asks")
            return Decision(min(1, ceiling), f"{seen.held} predictions wait")
        if bounds.min_nodes == 0 and _is_idle(seen, bounds):
            return Decision(0, f"nobody asked for {seen.idle_s:.0f} s")
        self._note(seen, bounds, now_s)
        up, down = self._settled(now_s)
        if up > seen.nodes:
            nodes = max(min(up, 2 * seen.nodes, ceiling), seen.nodes)
            return Decision(nodes, "they are busy" if nodes > seen.nodes else "there is no room")
        if down < seen.nodes:
            return Decision(max(down, bounds.min_nodes, 1), "fewer were enough for a minute")
        return Decision(seen.nodes, "as they are")

    def _note(self, seen: Seen, bounds: Bounds, now_s: float) -> None:
        asked = _demand(seen, bounds.busy_target)
        reserved = _demand(seen, bounds.busy_target * _RESERVE)
        self._asked.append((now_s, asked, reserved))
        while self._asked[0][0] < now_s - _CALM_S:
            self._asked.popleft()

    def _settled(self, now_s: float) -> tuple[int, int]:
        """Return the least that lately was asked for all the time, and the most of a minute."""
        recent = [asked for at_s, asked, _reserved in self._asked if at_s >= now_s - _UP_S]
        up = min(recent) if now_s - self._since_s >= _UP_S and len(recent) > 1 else 0
        down = max(reserved for _at_s, _asked, reserved in self._asked)
        return up, down if now_s - self._since_s >= _CALM_S else 1_000_000


def _is_idle(seen: Seen, bounds: Bounds) -> bool:
    return not seen.in_flight and not seen.held and seen.idle_s >= bounds.idle_after_s


def _demand(seen: Seen, target: float) -> int:
    by_time = math.ceil(round(seen.nodes * seen.busy / target, 6))
    queued = seen.in_flight + seen.held > _IN_FLIGHT * seen.nodes and seen.busy > _QUEUE_BUSY
    return max(by_time, seen.nodes + 1 if queued else 1, 1)
