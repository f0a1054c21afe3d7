"""Search by drawing points uniformly, each independent of all others."""

from __future__ import annotations

from collections.abc import Sequence

from mlengine.tuning.problem import Problem, Tried
from mlengine.tuning.search import How, Suggestion
from mlengine.tuning.search.past import Past

__all__ = ["RandomSearch"]


class RandomSearch:
    """Every parameter uniformly on its scale (Bergstra & Bengio, JMLR 2012).

    A point is not drawn twice, and a finite space ends when all of it was tried.
    """

    def suggest(
        self, problem: Problem, history: Sequence[Tried], count: int = 1
    ) -> list[Suggestion]:
        past = Past(problem, history)
        source = past.source("random")
        found: list[Suggestion] = []
        while len(found) < count and not past.exhausted:
            point = past.unused(lambda: past.space.sample(source))
            past.take(point)
            found.append(Suggestion(point=point, how=How.RANDOM))
        return found
