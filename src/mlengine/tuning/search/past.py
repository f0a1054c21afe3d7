"""What a history says to any search: which points are taken, and how to find one that is not."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

from mlengine.core.errors import InvalidArgument
from mlengine.tuning.problem import Point, Problem, Tried
from mlengine.tuning.space import Key, Space

__all__ = ["Past"]

_DRAWS = 64  # of an unused point, before the space is listed instead


class Past:
    """A history in its space.

    Args:
        problem: Its parameters are checked here.
        history: In any order; it is kept in that of the trials' numbers. Those up to 0 are another
            study's: they take no point, for what they measured is only near to what one is worth
            here.

    Raises:
        InvalidArgument: The problem's parameters or metrics make no sense.
    """

    def __init__(self, problem: Problem, history: Sequence[Tried]) -> None:
        if not problem.metrics:
            raise InvalidArgument("There are no metrics.", "Name at least one to optimise.")
        self.problem = problem
        self.space = Space(problem.parameters)
        self.trials = sorted(history, key=lambda tried: tried.number)
        self._points = [tried.point for tried in self.trials if tried.number > 0]
        size = self.space.size
        self._size = math.inf if size is None else size
        self._taken: set[Key] = set()
        if size is not None:
            inside = filter(self.space.contains, self._points)
            self._taken = {self.space.key(point) for point in inside}

    @property
    def exhausted(self) -> bool:
        """Whether the space is finite and every point of it is taken."""
        return len(self._taken) >= self._size

    def source(self, purpose: str) -> random.Random:
        """Return a source of randomness that follows from seed, history and `purpose` alone."""
        last = self.trials[-1].number if self.trials else 0
        return random.Random(f"{self.problem.seed}/{last}/{len(self.trials)}/{purpose}")

    def take(self, point: Point) -> None:
        """Count `point` as taken."""
        self._points.append(point)
        if self._size != math.inf:
            self._taken.add(self.space.key(point))

    def is_taken(self, point: Point) -> bool:
        # To look through the points once costs less than to make a key of each, and where there
        # are infinitely many hardly anybody asks twice.
        if self._size == math.inf:
            return point in self._points
        return self.space.key(point) in self._taken

    def unused(self, draw: Callable[[], Point]) -> Point:
        """Return a point that is not taken: from `draw`, or the first that the space lists.

        The space must not be exhausted. Where floats run out (a DOUBLE of a few distinct values)
        a point may be given twice.
        """
        for _ in range(_DRAWS):
            point = draw()
            if not self.is_taken(point):
                return point
        if self._size == math.inf:
            return point
        return next(point for point in self.space.points() if not self.is_taken(point))


def finite(tried: Tried, metrics: int) -> bool:
    """Whether a trial ended with a number for every metric; NaN and infinity are none."""
    values = tried.values
    return (
        not tried.infeasible
        and values is not None
        and len(values) == metrics
        and all(math.isfinite(value) for value in values)
    )
