"""What is believed of a metric after some trials, and so what a point is worth trying.

Costs are bent (`outcomes`), a process is fitted to them (`process`), and running trials are taken
for what is expected of them. So are failed ones, but for no less than the median of what was seen,
lest the model promise wonders where nothing works; and they make their surroundings less likely
(`feasibility`). The worst that was seen would be a cliff beside the good points where the best is
next to what fails: the fit, which knows none, would ring.

A fit's time grows with the cube of the trials, so its kernel is learnt from some hundreds, the
better half of them the best ones, and beliefs rest on some hundreds more. Where the best of
thousands lie close together, that is a local model of where the search is at work.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mlengine.tuning.search.bayesian.acquisition import (
    log_improvement,
    log_improvement_slopes,
    log_news,
)
from mlengine.tuning.search.bayesian.feasibility import Feasibility
from mlengine.tuning.search.bayesian.features import Features
from mlengine.tuning.search.bayesian.fit import fit
from mlengine.tuning.search.bayesian.outcomes import Outcomes, scalarised
from mlengine.tuning.search.bayesian.process import Process
from mlengine.tuning.search.past import Past, finite

__all__ = ["Belief"]

Array = NDArray[np.float64]

_FIT_LIMIT, _MODEL_LIMIT = 160, 480
_FIT_WORK = 20 * _FIT_LIMIT**2  # pairs of trials times parameters: with more than 20, fewer trials
_FAILED_LIMIT = _RUNNING_LIMIT = 200
_INCUMBENTS = 5
_MARGIN = 0.005  # deviations of costs of trials apart; a smaller improvement is none


class Belief:
    """A model of the trials of `past`; of several metrics, of one mixture of them.

    Args:
        features: Of the space.
        past: At least two of its trials have ended with values.
        source: Of all randomness.

    Attributes:
        flat: All costs are equal: there is nothing to model.
        incumbents: Rows of the points of which the best is believed, best first.
        size: How many trials it rests on.
        stale: How many trials have ended since the first that was about as good as the best.
        bold: Whether an improvement must be worth mentioning (Lizotte 2008): without that, a search
            that has come to the ground of one valley never looks for another.
    """

    def __init__(self, features: Features, past: Past, source: np.random.Generator) -> None:
        metrics = past.problem.metrics
        ended = [tried for tried in past.trials if finite(tried, len(metrics))]
        table = np.array([tried.values for tried in ended], float)
        every = features.rows([tried.point for tried in ended])
        apart = features.apart(every)
        self._outcomes = [Outcomes(table[:, k], m.goal, apart) for k, m in enumerate(metrics)]
        self.flat = not any(outcomes.bent.any() for outcomes in self._outcomes)
        if self.flat:
            return
        noise = np.zeros(len(ended))
        if len(metrics) == 1:
            costs = self._outcomes[0].bent
            noise = self._outcomes[0].spreads(
                np.array([tried.noise[0] if tried.noise else 0.0 for tried in ended])
            )
        else:
            costs = scalarised(np.column_stack([o.bent for o in self._outcomes]), source)
        chosen = _chosen(costs, _MODEL_LIMIT)
        rows = every[chosen]
        kept, noise = costs[chosen], noise[chosen]
        learnt = _chosen(kept, min(_FIT_LIMIT, math.isqrt(_FIT_WORK // max(1, features.count))))
        shape = fit(features, rows[learnt], kept[learnt], noise[learnt])
        self._process = Process(features, shape, rows, kept, noise)
        self._luck = math.exp(shape.noise)
        failed = [t.point for t in past.trials if not t.pending and not finite(t, len(metrics))]
        self._feasibility: Feasibility | None = None
        if failed:
            bad = features.rows(failed[-_FAILED_LIMIT:])
            good = features.rows([tried.point for tried in ended[-_FAILED_LIMIT:]])
            self._feasibility = Feasibility(features, good, bad)
            told = np.maximum(self._process.believe(bad)[0], np.median(costs))
            self._process = self._process.given(bad, told)
        believed, _ = self._process.believe(rows)
        self._best = float(believed.min())
        self.incumbents = rows[np.argsort(believed, kind="stable")[:_INCUMBENTS]]
        self.size = len(rows)
        self.stale = len(ended) - 1 - int(np.argmax(costs <= costs.min() + _MARGIN))
        self.bold = True

    def expect(self, running: Sequence[Array]) -> None:
        """Take the trials that run at these rows for what is believed of them (kriging believer).

        Nothing near to them looks uncertain any more (Ginsbourger et al., 2010).
        """
        if len(running):
            rows = np.array(running[-_RUNNING_LIMIT:])
            self._process = self._process.given(rows, self._process.believe(rows)[0])

    def __call__(self, rows: Array) -> Array:
        """Return what `rows` are worth."""
        mean, deviation = self._process.believe(rows)
        worth: Array = log_improvement(mean, deviation, self._goal())
        worth += log_news(deviation, self._luck)[0]
        return worth + self._feasibility.log_share(rows) if self._feasibility else worth

    def slopes(self, rows: Array) -> tuple[Array, Array]:
        """Return what `rows` are worth and the gradient of that by their numeric columns."""
        mean, deviation, mean_slope, deviation_slope = self._process.slopes(rows)
        worth = log_improvement(mean, deviation, self._goal())
        by_mean, by_deviation = log_improvement_slopes(mean, deviation, self._goal())
        news, by_news = log_news(deviation, self._luck)
        worth, by_deviation = worth + news, by_deviation + by_news
        slope = by_mean[:, None] * mean_slope + by_deviation[:, None] * deviation_slope
        if self._feasibility:
            likely, likely_slope = self._feasibility.slopes(rows)
            worth, slope = worth + likely, slope + likely_slope
        return worth, slope

    def _goal(self) -> float:
        return self._best - _MARGIN if self.bold else self._best

    def told(self, row: Array) -> tuple[float, float] | None:
        """Return mean and deviation of the metric at `row`, in its units; None of several."""
        if len(self._outcomes) > 1:
            return None
        mean, deviation = self._process.believe(row[None, :])
        return self._outcomes[0].straight(float(mean[0]), float(deviation[0]))


def _chosen(costs: Array, limit: int) -> NDArray[np.intp]:
    """Return the indices of the best trials and of some of each quality below."""
    if len(costs) <= limit:
        return np.arange(len(costs))
    order = np.argsort(costs, kind="stable")
    best, rest = order[: limit // 2], order[limit // 2 :]
    some = rest[np.linspace(0, len(rest) - 1, limit - len(best)).astype(int)]
    return np.sort(np.concatenate([best, some]))
