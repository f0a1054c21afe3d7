"""Search by trying every point of a finite space, in the order in which `Space.points` lists them.

Which points are left is read from the history, so a grid that was interrupted goes on where it
was, and a point that somebody tried by hand is not tried again.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlengine.tuning.problem import Problem, Tried
from mlengine.tuning.search import How, Suggestion
from mlengine.tuning.search.past import Past

__all__ = ["GridSearch"]


class GridSearch:
    """INTEGER, CATEGORICAL and DISCRETE only; a DOUBLE is refused with InvalidArgument."""

    def suggest(
        self, problem: Problem, history: Sequence[Tried], count: int = 1
    ) -> list[Suggestion]:
        past = Past(problem, history)
        found: list[Suggestion] = []
        for point in past.space.points():
            if len(found) >= count:
                break
            if not past.is_taken(point):
                found.append(Suggestion(point=point, how=How.GRID))
        return found
