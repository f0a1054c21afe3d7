"""Search by a model: Bayesian optimisation with a Gaussian process (Jones et al., 1998).

A few points of a Sobol sequence come first, the middle of the space before them. Then a process is
fitted to what was measured, from nothing each time: the history alone decides, so a study can be
replayed and any process can go on with it. The point that promises the most improvement is tried
next; several at once are chosen one after the other, each as if those before it ran already.

    features              a space as columns of numbers
    outcomes              values bent until they are about normal
    kernel, process, fit  the Gaussian process
    descent               the way down, of fits and climbs
    feasibility           where trials fail
    acquisition           what a belief is worth
    belief                all of these, of one history
    maximiser             where the worth is highest

When there is nothing to model (all values are equal, all trials failed), points are those of the
sequence, and so are those of a call for many beyond its first 64; `Suggestion.why` says so.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mlengine.tuning.problem import Point, Problem, Tried
from mlengine.tuning.search import How, Suggestion
from mlengine.tuning.search.bayesian.belief import Belief
from mlengine.tuning.search.bayesian.features import Features
from mlengine.tuning.search.bayesian.maximiser import candidates, climb, nearby, reach_after
from mlengine.tuning.search.past import Past, finite
from mlengine.tuning.search.sobol import Sobol

__all__ = ["BayesianSearch"]

Array = NDArray[np.float64]

_LEAST_DESIGN, _MOST_DESIGN = 4, 9
_WIDE, _NEAR, _STARTS = 600, 600, 5  # candidates anywhere, near to good points, climbed from
_LARGE = 200  # a model of more trials is asked of half as many candidates
_MODELLED = 64  # points of one call; each costs more than the one before it
_POLISHED = 0.1  # in a box smaller than this, the least improvement counts


class BayesianSearch:
    """The default search."""

    def suggest(
        self, problem: Problem, history: Sequence[Tried], count: int = 1
    ) -> list[Suggestion]:
        past = Past(problem, history)
        why = self._lacking(past)
        if not why:
            try:
                with np.errstate(all="ignore"):
                    found = self._modelled(past, min(count, _MODELLED))
                if found is not None and count > _MODELLED:
                    why = f"beyond the first {_MODELLED} that are asked for at once"
                    found += self._even(past, count - len(found), why)
                if found is not None:
                    return found
                why = "all values are equal"
            except (ArithmeticError, np.linalg.LinAlgError) as error:
                why = f"the model failed: {error}"
        return self._even(past, count, why)

    def _lacking(self, past: Past) -> str:
        """Return why there is no model yet; empty: there is."""
        design = min(max(_LEAST_DESIGN, len(past.space) + 1), _MOST_DESIGN)
        if len(past.trials) < design:
            return f"a model needs {design} trials, there are {len(past.trials)}"
        ended = sum(finite(tried, len(past.problem.metrics)) for tried in past.trials)
        if ended < 2:
            return f"{ended} of {len(past.trials)} trials have a value"
        return ""

    def _even(self, past: Past, count: int, why: str) -> list[Suggestion]:
        """Return points that fill the space evenly, its middle first."""
        sequence = Sobol(len(past.space), past.problem.seed)
        index = len(past.trials)

        def draw() -> Point:
            nonlocal index
            index += 1
            return past.space.centre() if index == 1 else past.space.at(sequence.point(index - 2))

        found: list[Suggestion] = []
        while len(found) < count and not past.exhausted:
            point = past.unused(draw)
            past.take(point)
            found.append(Suggestion(point=point, how=How.INITIAL, why=why))
        return found

    def _modelled(self, past: Past, count: int) -> list[Suggestion] | None:
        """Return points that promise improvement; None if all values are equal."""
        source = np.random.default_rng(past.source("bayesian").getrandbits(64))
        features = Features(past.space)
        found: list[Suggestion] = []
        belief: Belief | None = None
        running = [features.rows([tried.point])[0] for tried in past.trials if tried.pending]
        while len(found) < count and not past.exhausted:
            if belief is None or len(past.problem.metrics) > 1:  # other weights for each
                belief = Belief(features, past, source)
                if belief.flat:
                    return None
                belief.expect(running)
            row, suggestion = self._best(past, features, belief, source, len(found))
            past.take(suggestion.point)
            found.append(suggestion)
            running.append(row)
            belief.expect([row])
        return found

    def _best(
        self,
        past: Past,
        features: Features,
        belief: Belief,
        source: np.random.Generator,
        order: int,
    ) -> tuple[Array, Suggestion]:
        """Return the row and point of the highest worth that is not taken; `order` in its call."""
        reach = reach_after(belief.stale + order)
        found = self._proposed(past, features, belief, source, reach)
        if found is None and reach is not None:  # near to the best point all are taken
            found = self._proposed(past, features, belief, source, None)
        if found is not None:
            return found
        drawn = past.source("drawn")
        point = past.unused(lambda: past.space.sample(drawn))
        why = "every point that the model proposed is taken"
        return features.rows([point])[0], Suggestion(point=point, how=How.RANDOM, why=why)

    def _proposed(
        self,
        past: Past,
        features: Features,
        belief: Belief,
        source: np.random.Generator,
        reach: float | None,
    ) -> tuple[Array, Suggestion] | None:
        """Return what the model wants within a reach of the best point; None if all is taken."""
        belief.bold = reach is None or reach >= _POLISHED
        part = 2 if belief.size > _LARGE else 1
        if reach is None:
            pool, box = candidates(
                features, belief.incumbents, _WIDE // part, _NEAR // part, source
            )
        else:
            pool, box = nearby(features, belief.incumbents[0], reach, _WIDE // part, source)
        worth = belief(pool)
        ranked = pool[np.argsort(-worth, kind="stable")]
        top = climb(features, belief, ranked[:_STARTS], box)
        for row in np.vstack([top, ranked]):
            point = past.space.nearest(row.tolist())
            if not past.is_taken(point):
                told = belief.told(row)
                mean, spread = told or (None, None)
                why = f"within {reach:.2g} of the best point" if reach else ""
                return row, Suggestion(
                    point=point, how=How.MODEL, mean=mean, spread=spread, why=why
                )
        return None
