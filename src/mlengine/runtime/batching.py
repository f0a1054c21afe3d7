"""Micro-batching: what waits when the worker turns to it goes to the model as one call.

    request ─▶ its lane ─▶ a batch: what waits in one lane, up to `max_size` ─▶ one call

Nobody waits for company: as long as the deadline is 0, whatever is there is taken at once, so a
batch is what came while the call before it ran. Pure: no clock, no socket, no model.
"""

from __future__ import annotations

import collections
from collections.abc import Hashable, Sequence
from typing import Generic, TypeVar

__all__ = ["Batches"]

T = TypeVar("T")


class _Lane(Generic[T]):
    __slots__ = ("count", "entries", "since_s")

    def __init__(self, since_s: float) -> None:
        self.entries: collections.deque[tuple[T, int, float]] = collections.deque()
        self.count = 0
        self.since_s = since_s


class Batches(Generic[T]):
    """What waits, in lanes: only requests of one lane may share a call.

    Lanes take turns, each request of a lane in the order of its coming.

    Args:
        max_size: Most instances in one call; a single request that has more goes alone, uncut.
        deadline_s: How long a request may wait for others to share its call.

    Example:
        >>> batches = Batches(max_size=3)
        >>> for name, count in [("a", 1), ("b", 2), ("c", 1)]:
        ...     batches.add("lane", name, count, now_s=0.0)
        >>> batches.take(now_s=0.0), batches.take(now_s=0.0), batches.take(now_s=0.0)
        (['a', 'b'], ['c'], [])
    """

    def __init__(self, *, max_size: int, deadline_s: float = 0.0) -> None:
        self._max_size = max_size
        self._deadline_s = deadline_s
        self._lanes: dict[Hashable, _Lane[T]] = {}

    def __len__(self) -> int:
        return sum(len(lane.entries) for lane in self._lanes.values())

    def add(self, lane: Hashable, item: T, count: int, *, now_s: float) -> None:
        """Let a request wait.

        Args:
            lane: With whom it may share a call; not None.
            item: Whatever stands for it.
            count: Its instances.
            now_s: The time; only differences matter.
        """
        self.add_all(lane, [(item, count, now_s)])

    def add_all(self, lane: Hashable, entries: Sequence[tuple[T, int, float]]) -> None:
        """Let requests wait that came one after the other: items, instances and times, see `add`.

        There has to be one.
        """
        found = self._lanes.get(lane)
        if found is None:
            found = self._lanes[lane] = _Lane(entries[0][2])
        found.entries.extend(entries)
        found.count += sum([entry[1] for entry in entries])

    def take(self, *, now_s: float) -> list[T]:
        """Return the requests of the next call; none when nothing waits, or not long enough."""
        name = self._first_due(now_s)
        if name is None:
            return []
        lane = self._lanes.pop(name)
        if lane.count <= self._max_size:
            return [entry[0] for entry in lane.entries]
        item, total, _since_s = lane.entries.popleft()
        batch = [item]
        while lane.entries and total + lane.entries[0][1] <= self._max_size:
            item, count, _since_s = lane.entries.popleft()
            batch.append(item)
            total += count
        if lane.entries:  # behind those that have not had a turn
            lane.count -= total
            lane.since_s = lane.entries[0][2]
            self._lanes[name] = lane
        return batch

    def _first_due(self, now_s: float) -> Hashable | None:
        for name, lane in self._lanes.items():
            if lane.count >= self._max_size or now_s >= lane.since_s + self._deadline_s:
                return name
        return None

    def wait_s(self, *, now_s: float) -> float | None:
        """Return how long nothing need be done; None when nothing waits."""
        if not self._lanes:
            return None
        if any(lane.count >= self._max_size for lane in self._lanes.values()):
            return 0.0
        first_s = min(lane.since_s for lane in self._lanes.values())
        return max(first_s + self._deadline_s - now_s, 0.0)
