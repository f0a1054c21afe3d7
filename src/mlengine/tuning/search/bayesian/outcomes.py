"""Values as a model likes them: lower is better, about normal, no outlier in sight.

A metric's bad tail says little of where the best is and would rule a model that took it as it
is: a diverged training is 1e9 times worse than a sound one. So what is much worse than the median
is pulled in, and the rest is made as normal as a power makes it (Yeo & Johnson, Biometrika 2000;
as HEBO does, Cowen-Rivers et al., JAIR 2022). A penalty that several trials carry is no value at
all, and might be the median itself: the others are judged without it.

A search's trials crowd where the best was found. Bent until those are normal, the dents of one
valley's floor would be all that is left of a metric: no other valley would be looked for, and every
trial polish the floor. So the bend is learnt from trials that lie apart and the best of all.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mlengine.tuning.problem import Goal

__all__ = ["Outcomes", "scalarised"]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

_POWERS = np.linspace(-1.0, 3.0, 41)
POWER_PULL = 2.0
_REACH = 3.0  # bad values farther from the median than this many spreads are pulled in
_FARTHEST = 1e15  # spreads; beside what is farther the others would all be one
_LEAST_JUDGES = 4  # different values that the bend is learnt from
_BEYOND = 100.0  # times all that the others differ by: what lies there is no value but a penalty


class Outcomes:
    """One metric's values and how they were bent.

    Args:
        values: Finite, in the metric's units.
        goal: Which way is better.
        apart: Whose trials lie apart from each other; None: all do.

    Attributes:
        bent: The same, lower is better; of those that lie apart, of mean 0 and variance 1.
    """

    def __init__(self, values: Array, goal: Goal, apart: Mask | None = None) -> None:
        self._sign = -1.0 if goal is Goal.MAXIMIZE else 1.0
        costs = self._sign * values
        sound = ~_penalised(costs)
        costs[sound] = _bounded(costs[sound])
        if not sound.all():
            worst = costs[sound].max()
            costs[~sound] = worst + (worst - costs[sound].min())
        self._largest = max(float(np.abs(costs).max(initial=0.0)), 1e-300)
        costs = costs / self._largest
        self._costs = costs
        judges = _judges(costs, apart)
        tamed = costs.copy()
        tamed[sound] = _tamed(costs[sound], judges[sound])
        if not sound.all():
            tamed[~sound] = tamed[sound].max() + _REACH
        self.bent = _normal(tamed, judges)

    def spreads(self, errors: Array) -> Array:
        """Return the variances, in bent units, of values with these standard errors."""
        errors = np.where(np.isfinite(errors), errors, 0.0)
        if not errors.any():
            return np.zeros(len(errors))
        return (errors / self._largest * self._slope()) ** 2

    def straight(self, mean: float, deviation: float) -> tuple[float, float]:
        """Return a belief about a bent value in the metric's units: mean and deviation."""
        at = self._unbend(np.array([mean - deviation, mean, mean + deviation]))
        return (
            float(self._sign * at[1] * self._largest),
            float(abs(at[2] - at[0]) / 2.0 * self._largest),
        )

    def _slope(self) -> Array:
        order = np.argsort(self._costs, kind="stable")
        x, y = self._costs[order], self.bent[order]
        x, first = np.unique(x, return_index=True)
        if len(x) < 2:
            return np.zeros(len(self._costs))
        return np.interp(self._costs, x, np.gradient(y[first], x))

    def _unbend(self, bent: Array) -> Array:
        y, first = np.unique(self.bent, return_index=True)
        x = self._costs[first]
        if len(y) < 2:
            return np.full(len(bent), x[0] if len(x) else 0.0)
        slope = (x[-1] - x[0]) / (y[-1] - y[0])
        beyond = np.minimum(bent - y[0], 0.0) + np.maximum(bent - y[-1], 0.0)
        found: Array = np.interp(bent, y, x) + slope * beyond
        return found


def scalarised(columns: Array, source: np.random.Generator) -> Array:
    """Return one cost of several, each bent: ParEGO's (Knowles, IEEE TEC 2006).

    The weights are drawn anew for every suggestion, so that the whole front is walked along.
    """
    weights = source.dirichlet(np.ones(columns.shape[1]))
    low, high = columns.min(0), columns.max(0)
    unit = (columns - low) / np.where(high > low, high - low, 1.0)
    weighed = unit * weights
    return _standard(weighed.max(1) + 0.05 * weighed.sum(1))


def _penalised(costs: Array) -> Mask:
    """Tell who carries a penalty: the worst value, of several trials, far beyond all others."""
    worst: Mask = costs == costs.max(initial=-np.inf)
    others = costs[~worst]
    if not len(others) or worst.sum() < 2:
        return np.zeros(len(costs), dtype=bool)
    best, last = float(others.min()) / 2, float(others.max()) / 2  # halves, as in `_bounded`
    return worst & (float(costs.max()) / 2 - last > _BEYOND * (last - best) > 0.0)


def _bounded(costs: Array) -> Array:
    """Take what is worse beyond measure, such as the largest float as a penalty, for just bad."""
    if not len(costs):
        return costs
    middle = float(np.sort(costs)[(len(costs) - 1) // 2])
    good = middle / 2 - costs[costs <= middle] / 2  # halves: none of it may become infinite
    spread = max(float(np.quantile(good, 0.9)), 0.1 * float((good / len(good)).sum()))
    if spread <= 0.0:  # half of them are the best
        bad = np.sort(costs[costs > middle])
        spread = float(bad[(len(bad) - 1) // 2]) / 2 - middle / 2 if len(bad) else 0.0
    bounded: Array = np.minimum(costs, middle + 2.0 * _FARTHEST * spread)
    return bounded


def _judges(costs: Array, apart: Mask | None) -> Mask:
    """Tell from which costs the bend is learnt: all, unless enough of those apart differ."""
    everyone = np.ones(len(costs), dtype=bool)
    if apart is None:
        return everyone
    judges = apart.copy()
    judges[int(costs.argmin())] = True  # nothing lies far beyond what they span
    return judges if len(np.unique(costs[judges])) >= _LEAST_JUDGES else everyone


def _tamed(costs: Array, judges: Mask) -> Array:
    """Pull in what lies far on the bad side, as those that judge lie."""
    judged = costs[judges] if judges.any() else costs
    if not len(judged):
        return costs
    middle = float(np.median(judged))
    good = middle - judged[judged <= middle]
    spread = max(float(np.quantile(good, 0.9)), 0.1 * float(good.mean()))
    if spread <= 0.0:  # half of them are the best
        bad = judged[judged > middle] - middle
        if not len(bad):
            return costs - middle
        spread = float(np.median(bad))
    scaled = (costs - middle) / max(spread, 1e-300)  # so that none becomes infinite
    over = np.maximum(scaled - _REACH, 0.0)
    return np.where(over > 0, _REACH + np.log1p(over), scaled)


def _normal(costs: Array, judges: Mask) -> Array:
    """Return the most normal power of standardised costs: the log likelihood of those that judge
    decides, and their mean and deviation are 0 and 1."""
    if not len(costs):
        return costs
    if not _standard(costs[judges]).any():
        judges = np.ones(len(costs), dtype=bool)
    all_scaled = _standard(costs, judges)
    scaled = all_scaled[judges]
    if not scaled.any():
        return all_scaled
    size = len(scaled)
    log = np.sign(scaled) * np.log1p(np.abs(scaled))
    best, found = -np.inf, 1.0
    for power in _POWERS:
        bent = _yeo_johnson(scaled, float(power))
        variance = float(bent.var())
        if not variance > 0.0:
            continue
        likelihood = -0.5 * size * np.log(variance) + (power - 1.0) * float(log.sum())
        likelihood -= POWER_PULL * (power - 1.0) ** 2  # few values say little: stay near to a line
        if likelihood > best:
            best, found = likelihood, float(power)
    return _standard(_yeo_johnson(all_scaled, found), judges)


def _yeo_johnson(values: Array, power: float) -> Array:
    up, down = np.maximum(values, 0.0), np.maximum(-values, 0.0)
    above = np.log1p(up) if abs(power) < 1e-9 else np.expm1(power * np.log1p(up)) / power
    other = 2.0 - power
    below = np.log1p(down) if abs(other) < 1e-9 else np.expm1(other * np.log1p(down)) / other
    return np.where(values >= 0.0, above, -below)


def _standard(values: Array, judges: Mask | None = None) -> Array:
    judged = values if judges is None else values[judges]
    off = values - judged.mean()
    deviation = float(judged.std())
    if not deviation > 1e-12 * max(1.0, float(np.abs(values).max())):
        return np.zeros(len(values))
    standard: Array = off / deviation
    return standard
