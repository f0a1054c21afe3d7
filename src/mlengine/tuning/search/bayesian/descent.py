"""Descent in a box: L-BFGS from many starts at once, each row a search of its own.

Directions come from the last steps and the changes of slope along them (Nocedal, Mathematics of
Computation 1980); what stands at a bound and would leave it is held, and every step is put back
into the box (Bertsekas, SIAM J. Control Optim. 1982). Rows share the calls of the objective, not
the path, so formulas for whole arrays serve all of them at once. What is asked for here ends after
some tens of steps, and a general optimiser's care around each costs more than the step itself.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["Objective", "descend"]

Array = NDArray[np.float64]
Objective = Callable[[Array, NDArray[np.intp]], tuple[Array, Array]]
"""Values and gradients of some rows; the second argument says from which starts they come."""

_MEMORY = 8
_SUFFICIENT = 1e-4  # of the promised decrease (Armijo)
_SHORTENED = 8  # times a step is made shorter, before its row is taken for finished
_LONGEST = 0.5  # first step, as a share of the box


def descend(
    objective: Objective,
    starts: Array,
    low: Array,
    high: Array,
    *,
    steps: int,
    enough: float,
) -> tuple[Array, Array]:
    """Return where each start leads, and the value there.

    Args:
        starts: A row each, within the box.
        low: Lower bound of each column.
        high: Upper bound.
        steps: How many, at most.
        enough: A row ends when a step's decrease is smaller than this, twice in a row.
    """
    at = np.clip(starts, low, high)
    everyone = np.arange(len(at))
    value, slope = objective(at, everyone)
    value = np.where(np.isfinite(value), value, np.inf)
    memory = _Memory(at.shape)
    idle = np.zeros(len(at), int)
    live = everyone[np.isfinite(value)]
    for _ in range(steps):
        if not len(live):
            break
        way = _way(memory, at, slope, low, high, live)
        promised = (way * slope[live]).sum(1)
        live, way, promised = live[promised < 0], way[promised < 0], promised[promised < 0]
        if not len(live):
            break
        found, found_value, found_slope, moved = _stepped(
            objective, at[live], value[live], way, slope[live], (low, high), live
        )
        memory.learn(live[moved], (found - at[live])[moved], (found_slope - slope[live])[moved])
        straight = memory.fresh[live].copy()
        memory.forget(live[~moved])  # where it leads astray, straight down is tried next
        gain = value[live] - found_value
        at[live], value[live], slope[live] = found, found_value, found_slope
        idle[live] = np.where(moved, np.where(gain < enough, idle[live] + 1, 0), idle[live])
        live = live[(moved | ~straight) & (idle[live] < 2)]
    return at, value


class _Memory:
    """The last steps of every row, and the changes of slope along them."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._steps = np.zeros((_MEMORY, *shape))
        self._turns = np.zeros((_MEMORY, *shape))
        self._weights = np.zeros((_MEMORY, shape[0]))  # 0: nothing is remembered there
        self.scale = np.ones(shape[0])
        self.fresh = np.ones(shape[0], bool)

    def learn(self, rows: NDArray[np.intp], steps: Array, turns: Array) -> None:
        """Remember a step of some rows; one that is curved downwards says to know nothing more."""
        curved = (steps * turns).sum(1)
        square = (turns * turns).sum(1)
        good = curved > 1e-10 * np.maximum(square, 1e-300)
        self.forget(rows[~good])
        rows, steps, turns, curved = rows[good], steps[good], turns[good], curved[good]
        for kept in (self._steps, self._turns, self._weights):
            kept[:-1, rows] = kept[1:, rows]
        self._steps[-1, rows], self._turns[-1, rows] = steps, turns
        self._weights[-1, rows] = 1.0 / curved
        self.scale[rows] = curved / square[good]
        self.fresh[rows] = False

    def forget(self, rows: NDArray[np.intp]) -> None:
        """Know nothing of some rows any more."""
        self._weights[:, rows] = 0.0
        self.scale[rows] = 1.0
        self.fresh[rows] = True

    def direction(self, rows: NDArray[np.intp], slope: Array) -> Array:
        """Return minus the slope times what is known of the inverse of the curvature."""
        steps, turns, weights = self._steps[:, rows], self._turns[:, rows], self._weights[:, rows]
        left = slope.copy()
        shares = np.zeros_like(weights)
        for k in range(_MEMORY - 1, -1, -1):
            shares[k] = weights[k] * (steps[k] * left).sum(1)
            left -= shares[k][:, None] * turns[k]
        left *= self.scale[rows][:, None]
        for k in range(_MEMORY):
            back = weights[k] * (turns[k] * left).sum(1)
            left += (shares[k] - back)[:, None] * steps[k]
        return -left


def _way(
    memory: _Memory, at: Array, slope: Array, low: Array, high: Array, live: NDArray[np.intp]
) -> Array:
    """Return the directions of the rows `live`; 0 where a bound is in the way."""
    place, down = at[live], slope[live]
    held = ((place <= low) & (down > 0)) | ((place >= high) & (down < 0))
    down = np.where(held, 0.0, down)
    way = np.where(held, 0.0, memory.direction(live, down))
    uphill = (way * down).sum(1) >= 0
    way[uphill] = -down[uphill]
    first = memory.fresh[live] | uphill
    longest = np.abs(way[first] / (high - low)).max(1, initial=1e-300)
    way[first] *= np.minimum(1.0, _LONGEST / longest)[:, None]
    return way


def _stepped(
    objective: Objective,
    at: Array,
    value: Array,
    way: Array,
    slope: Array,
    box: tuple[Array, Array],
    names: NDArray[np.intp],
) -> tuple[Array, Array, Array, NDArray[np.bool_]]:
    """Return places, values and slopes after a step along `way`, and which rows made one."""
    found, found_value, found_slope = at.copy(), value.copy(), slope.copy()
    moved = np.zeros(len(at), bool)
    left = np.arange(len(at))
    share = np.ones(len(at))
    for _ in range(_SHORTENED):
        tried = np.clip(at[left] + share[left, None] * way[left], *box)
        tried_value, tried_slope = objective(tried, names[left])
        promised = ((tried - at[left]) * slope[left]).sum(1)
        good = tried_value <= value[left] + _SUFFICIENT * promised
        good &= np.isfinite(tried_value) & (promised < 0)
        rows = left[good]
        found[rows], found_value[rows] = tried[good], tried_value[good]
        found_slope[rows], moved[rows] = tried_slope[good], True
        bad = ~good
        curve = tried_value[bad] - value[left[bad]] - promised[bad]
        with np.errstate(all="ignore"):  # the lowest of the parabola through what is known
            lowest = -0.5 * promised[bad] / curve
        lowest = np.where(np.isfinite(lowest), lowest, 0.1)
        left = left[bad]
        share[left] *= np.clip(lowest, 0.1, 0.5)
        if not len(left):
            break
    return found, found_value, found_slope, moved
