"""One metric of one run, in little memory however many points it has.

A curve keeps its newest `MOST_KEPT` points as they are. Of those before it keeps what sums them
up, and evenly many. So its first and last point, their number, the least and the greatest value
are those of all points; the points themselves are thinned where they are more than `MAX_POINTS`.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from mlengine.training.eventfiles import Scalar

__all__ = ["MAX_POINTS", "MOST_KEPT", "Curve", "Series", "Total", "ordered"]

MAX_POINTS = 10_000
"""Points of a series that an answer holds at most; more are thinned evenly."""

MOST_KEPT = 32_768
"""Newest points that a curve can still put in order; of a step that comes again within them the
newer value counts, of one from before them both do."""


class Total(NamedTuple):
    """What sums up all points of a series.

    Attributes:
        points: How many there are.
        least: The least finite value; None if no value is finite.
        greatest: The greatest finite value.
        has_repeats: Steps from before the newest `MOST_KEPT` points came again, and count twice.
    """

    points: int
    least: float | None
    greatest: float | None
    has_repeats: bool = False

    @classmethod
    def of(cls, values: Iterable[float]) -> Total:
        """Sum up values."""
        found = list(values)
        finite = [value for value in found if math.isfinite(value)]
        return cls(len(found), min(finite, default=None), max(finite, default=None))

    def plus(self, more: Total) -> Total:
        """Return the total of both."""
        least = [v for v in (self.least, more.least) if v is not None]
        greatest = [v for v in (self.greatest, more.greatest) if v is not None]
        return Total(
            self.points + more.points,
            min(least, default=None),
            max(greatest, default=None),
            self.has_repeats or more.has_repeats,
        )


class Series(NamedTuple):
    """One metric of one run, by step.

    Attributes:
        tag: Its name.
        run: Whose it is.
        source: What told of it.
        points: All, or evenly many of them with the first and the last.
        thinned_from: What sums up all points; None if `points` are all.
    """

    tag: str
    run: str
    source: str
    points: Sequence[Scalar]
    thinned_from: Total | None = None

    @property
    def last(self) -> Scalar:
        """The newest value; a series has at least one."""
        return self.points[-1]

    @property
    def total(self) -> Total:
        """What sums up all points."""
        return self.thinned_from or Total.of(point.value for point in self.points)


class Curve:
    """Takes points one by one, in whatever order of steps.

    Args:
        is_whole: Keep every point, however many: their reader has a budget.
    """

    def __init__(self, *, is_whole: bool = False) -> None:
        self._is_whole = is_whole
        self._newest = _Points()
        self._sample = _Points()
        self._every = 1  # of the points before the newest, which ones the sample has
        self._before = Total(0, None, None)
        self._ends: list[tuple[int, float, float]] = []  # the first and the last of those before

    @property
    def kept(self) -> int:
        """How many points it holds in memory."""
        return len(self._newest.steps) + len(self._sample.steps)

    def add(self, step: int, value: float, time_s: float) -> None:
        """Take a point; of points with the same time the later one is the newer."""
        self._newest.add(step, value, time_s)
        if len(self._newest.steps) >= MOST_KEPT and not self._is_whole:
            self._sum_up()

    def ends_with(self, step: int, value: float, time_s: float) -> bool:
        """Tell whether this point was the last to be added."""
        return bool(self._newest.steps) and self._newest.at(-1) == (step, value, time_s)

    def series(self, tag: str, run: str, source: str) -> Series:
        """Return what came so far; there must have been a point."""
        newest = self._newest.picked(order(self._newest.steps, self._newest.times))
        if not self._before.points:
            if self._is_whole or len(newest.steps) <= MAX_POINTS:
                return Series(tag, run, source, newest.scalars(tag))
            return Series(tag, run, source, _thinned(newest).scalars(tag), Total.of(newest.values))
        total = self._before.plus(Total.of(newest.values)._replace(has_repeats=self._repeats()))
        points = _Points()
        points.extend(self._sample)
        points.extend(self._sampled(newest))
        points.add(*newest.at(-1))
        for end in self._ends if total.has_repeats else ():  # else they are in the two anyway
            points.add(*end)
        points = points.picked(order(points.steps, points.times))
        return Series(tag, run, source, _thinned(points).scalars(tag), total)

    def _sum_up(self) -> None:
        """Put the newest points in order, and sum up the first half of them."""
        newest = self._newest.picked(order(self._newest.steps, self._newest.times))
        half = len(newest.steps) - MOST_KEPT // 2
        if half <= 0:
            self._newest = newest
            return
        repeats = self._repeats()
        first = newest.picked(range(half))
        self._newest = newest.picked(range(half, len(newest.steps)))
        self._sample.extend(self._sampled(first))
        while len(self._sample.steps) > 2 * MAX_POINTS:
            self._sample = self._sample.picked(range(0, len(self._sample.steps), 2))
            self._every *= 2
        self._before = self._before.plus(Total.of(first.values)._replace(has_repeats=repeats))
        ends = sorted([*self._ends, first.at(0), first.at(-1)], key=lambda end: (end[0], end[2]))
        self._ends = [ends[0], ends[-1]]

    def _sampled(self, points: _Points) -> _Points:
        """Return those of the points behind the ones that are summed up that a sample has."""
        skipped = -self._before.points % self._every
        return points.picked(range(skipped, len(points.steps), self._every))

    def _repeats(self) -> bool:
        """Tell whether a step came again that is summed up already; without steps none does."""
        if not self._ends:
            return False
        last, least = self._ends[-1][0], min(self._newest.steps)
        return least <= last and not least == last == 0


class _Points:
    """Steps, values and times: 24 bytes a point."""

    def __init__(self) -> None:
        self.steps, self.values, self.times = array("q"), array("d"), array("d")

    def __iter__(self) -> Iterator[tuple[int, float, float]]:
        return zip(self.steps, self.values, self.times, strict=True)

    def add(self, step: int, value: float, time_s: float) -> None:
        self.steps.append(step)
        self.values.append(value)
        self.times.append(time_s)

    def extend(self, other: _Points) -> None:
        self.steps += other.steps
        self.values += other.values
        self.times += other.times

    def at(self, place: int) -> tuple[int, float, float]:
        return self.steps[place], self.values[place], self.times[place]

    def picked(self, places: Sequence[int]) -> _Points:
        found = _Points()
        if isinstance(places, range):  # much the quicker way, and the usual one
            part = slice(places.start, places.stop, places.step)
            found.steps, found.values = self.steps[part], self.values[part]
            found.times = self.times[part]
        else:
            found.steps.extend(self.steps[place] for place in places)
            found.values.extend(self.values[place] for place in places)
            found.times.extend(self.times[place] for place in places)
        return found

    def scalars(self, tag: str) -> list[Scalar]:
        return [Scalar(tag, *point) for point in self]


def ordered(points: Iterable[Scalar]) -> list[Scalar]:
    """Sort by step; of a step that was run again, after a restart, the newest value counts.

    What was printed at once has one time: of such values the later in `points` is the newer. A
    series that never leaves step 0 is one whose trainer gives no steps: it is kept whole, equal
    values too.
    """
    found = list(points)
    return [found[i] for i in order([p.step for p in found], [p.time_s for p in found])]


def order(steps: Sequence[int], times: Sequence[float]) -> Sequence[int]:
    """Return the places of the points that count, in order; see `ordered`."""
    if all(before < after for before, after in pairwise(steps)):
        return range(len(steps))
    places = sorted(range(len(steps)), key=lambda i: (steps[i], times[i]))
    if steps[places[0]] == steps[places[-1]] == 0:
        return places
    newest = {steps[place]: place for place in places}
    return list(newest.values())


def _thinned(points: _Points) -> _Points:
    """Keep the first, the last and evenly many between."""
    count = len(points.steps)
    if count <= MAX_POINTS:
        return points
    every = (count - 1) / (MAX_POINTS - 1)
    return points.picked([round(i * every) for i in range(MAX_POINTS)])
