"""Where the acquisition is highest: many candidates, then climbing, then steps on the grid.

Candidates are spread over the whole space and around the best points so far, changed in some of
their parameters only (Regis & Shoemaker, 2013): in many dimensions the next good point differs
from a good one in few. From the best candidates L-BFGS climbs along what is continuous, all at
once; what came out is put on the grid, and neighbours there and other categories are tried until
none is better.

When trial after trial has brought nothing, every other one is sought in a box around the best
point only, smaller each time: a trust region (Eriksson et al., NeurIPS 2019) that follows from the
history alone. A model of the whole space, wrong somewhere, would be led there for ever.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mlengine.tuning.search.bayesian.descent import descend
from mlengine.tuning.search.bayesian.features import Features

__all__ = ["Box", "Worth", "candidates", "climb", "nearby", "reach_after"]

Array = NDArray[np.float64]

_STEPS = (0.3, 0.1, 0.03, 0.01)
_CHANGED = 6.0  # how many parameters of a good point a candidate changes, on average, at most
_ROUNDS = 4
_CLIMB = 30
_PATIENCE = 6  # trials without a better one, before the search goes local
_REACH, _SHRINK, _BOXES = 0.3, 0.7, 10

Box = tuple[Array, Array]
"""Least and greatest place of each parameter."""


class Worth(Protocol):
    """What is to be as high as possible."""

    def __call__(self, rows: Array) -> Array: ...
    def slopes(self, rows: Array) -> tuple[Array, Array]:
        """Return the worth of rows and its gradient by their numeric columns."""
        ...


def candidates(
    features: Features, around: Array, wide: int, near: int, source: np.random.Generator
) -> tuple[Array, Box]:
    """Return allowed rows, `wide` anywhere and `near` around those of `around`, and the space."""
    found = [features.draw(wide, source)]
    if len(around) and near:
        rows = around[source.integers(len(around), size=near)]
        fresh = features.draw(near, source)
        width = rows.shape[1]
        changed = source.random(rows.shape) < min(1.0, _CHANGED / width)
        changed[np.arange(near), source.integers(width, size=near)] = True
        step = np.array(_STEPS)[source.integers(len(_STEPS), size=near)][:, None]
        moved = rows.copy()
        numeric = features.numeric
        noise = source.standard_normal((near, len(numeric)))
        moved[:, numeric] = _reflected(rows[:, numeric] + step * noise)
        other = [i for i in range(width) if i not in set(numeric)]
        moved[:, other] = fresh[:, other]
        found.append(features.snapped(np.where(changed, moved, rows)))
    width = len(features.space)
    return np.vstack(found), (np.zeros(width), np.ones(width))


def reach_after(stale: int) -> float | None:
    """Return how far from the best point to look, `stale` trials after it; None: everywhere."""
    waited = stale - _PATIENCE
    if waited <= 0 or waited % 2 == 0:
        return None
    return float(_REACH * _SHRINK ** (waited // 2 % _BOXES))


def nearby(
    features: Features, centre: Array, reach: float, count: int, source: np.random.Generator
) -> tuple[Array, Box]:
    """Return allowed rows in a box around `centre`, and the box."""
    width = len(centre)
    low, high = np.zeros(width), np.ones(width)
    numeric = features.numeric
    low[numeric] = np.maximum(0.0, centre[numeric] - reach)
    high[numeric] = np.minimum(1.0, centre[numeric] + reach)
    changed = source.random((count, width)) < min(1.0, 2.0 * _CHANGED / width)
    fresh = features.draw(count, source)
    fresh[:, numeric] = low[numeric] + fresh[:, numeric] * (high - low)[numeric]
    other = [i for i in range(width) if i not in set(numeric)]
    changed[:, other] &= source.random((count, len(other))) < 1.0 / max(1, len(other))
    return features.snapped(np.where(changed, fresh, centre)), (low, high)


def climb(features: Features, worth: Worth, starts: Array, box: Box) -> Array:
    """Return what is reached from `starts`, best first; all rows are allowed, and in the box."""
    reached = np.vstack([_ascended(features, worth, starts, box), starts])
    values = worth(reached)
    best = reached[int(values.argmax())]
    top = float(values.max())
    for _ in range(_ROUNDS):
        around = features.steps(best)
        if not len(around):
            break
        near = worth(around)
        if not near.max() > top:
            break
        best, top = around[int(near.argmax())], float(near.max())
        if features.free.any():
            higher = _ascended(features, worth, best[None, :], box)
            value = float(worth(higher)[0])
            if value > top:
                best, top = higher[0], value
        reached, values = np.vstack([reached, best]), np.append(values, top)
    order = np.argsort(-values, kind="stable")
    return reached[order]


def _ascended(features: Features, worth: Worth, starts: Array, box: Box) -> Array:
    numeric = features.numeric
    if not numeric or not len(starts):
        return starts
    rows = starts.copy()

    def downhill(places: Array, which: NDArray[np.intp]) -> tuple[Array, Array]:
        moved = rows[which]
        moved[:, numeric] = places
        value, slope = worth.slopes(moved)
        return -value, -slope

    rows[:, numeric] = descend(
        downhill, rows[:, numeric], box[0][numeric], box[1][numeric], steps=_CLIMB, enough=1e-3
    )[0]
    return features.snapped(rows)


def _reflected(places: Array) -> Array:
    places = np.abs(places)
    return np.clip(np.where(places > 1.0, 2.0 - places, places), 0.0, 1.0)
