"""A space as columns of numbers: where points lie, and which places a point can have.

A row holds a place for each parameter: numeric ones in [0, 1], a category as its index. What is
not active counts as the middle, so that points of one branch differ by its own parameters only and
branches by the parent's value. For the kernel, a category of k values becomes k columns, any two
values one apart, with one length: nothing is said of their order.

Integers and discrete values stay on their grid: a model is asked there only, not between (Garrido-
Merchán & Hernández-Lobato, Neurocomputing 2020).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mlengine.tuning.axis import Axis
from mlengine.tuning.problem import Kind, Scale, Value
from mlengine.tuning.space import Space

__all__ = ["Features"]

Array = NDArray[np.float64]

_APART = 0.1  # root mean square over all parameters, of ranges that are 1 wide
_MOST_APART = 200


class Features:
    """The columns of `space`.

    Attributes:
        numeric: Indices of its numeric parameters, those of one value left out; in order.
        free: Of these, by position, whether it is a DOUBLE.
        choices: Indices of its categories of more than one value.
        groups: Of each embedded column, which length is its.
        count: How many lengths there are.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        axes = list(enumerate(space.axes))
        self.numeric = [
            i for i, axis in axes if axis.kind is not Kind.CATEGORICAL and axis.count != 1
        ]
        self.choices = [i for i, axis in axes if axis.kind is Kind.CATEGORICAL and axis.count != 1]
        self.free = np.array([space.axes[i].kind is Kind.DOUBLE for i in self.numeric], bool)
        groups = list(range(len(self.numeric)))
        for order, i in enumerate(self.choices):
            groups += [len(self.numeric) + order] * (space.axes[i].count or 0)
        self.count = len(self.numeric) + len(self.choices)
        self.groups = np.array(groups, int)
        self._places = {
            i: np.array([axis.place(value) for value in axis.parameter.values])
            for i, axis in axes
            if axis.kind is Kind.DISCRETE
        }
        self._when = {
            i: np.array([_number(space.axes[parent], value) for value in axis.parameter.when])
            for i, axis in axes
            if (parent := space.parent(i)) is not None
        }

    def rows(self, points: Sequence[Mapping[str, Value]]) -> Array:
        """Return the rows of points, which may lie outside of the space."""
        rows = np.array([self.space.places(point) for point in points], float)
        return self._filled(rows.reshape(len(points), len(self.space)))

    def draw(self, count: int, source: np.random.Generator) -> Array:
        """Return rows drawn uniformly, as `Space.sample` would."""
        shares = source.random((count, len(self.space)))
        for i, axis in enumerate(self.space.axes):
            if axis.kind is Kind.CATEGORICAL:
                shares[:, i] = np.floor(shares[:, i] * len(axis.parameter.values))
            elif axis.kind is Kind.DISCRETE:
                places = self._places[i]
                shares[:, i] = places[(shares[:, i] * len(places)).astype(int)]
        return self.snapped(shares)

    def snapped(self, rows: Array) -> Array:
        """Return the allowed rows nearest to `rows`."""
        rows, values = rows.copy(), {}
        for i, axis in enumerate(self.space.axes):
            column = rows[:, i]
            if axis.kind is Kind.CATEGORICAL:
                values[i] = column.copy()
            elif axis.count == 1:
                rows[:, i], values[i] = 0.5, np.full(len(rows), float(next(axis.values())))
            else:
                rows[:, i], values[i] = self._nearest(i, np.clip(column, 0.0, 1.0))
            parent = self.space.parent(i)
            if parent is not None:
                dormant = ~np.isin(values[parent], self._when[i])
                rows[dormant, i] = -1.0 if axis.kind is Kind.CATEGORICAL else 0.5
                values[i][dormant] = math.nan
        return rows

    def apart(self, rows: Array) -> NDArray[np.bool_]:
        """Tell which rows are far from all that were told so before them, some hundreds at most."""
        numeric, choices = rows[:, self.numeric], rows[:, self.choices]
        found: list[int] = []
        for i in range(len(rows)):
            off = numeric[found] - numeric[i]
            squares = (off * off).sum(1) + (choices[found] != choices[i]).sum(1)
            if not (squares < _APART**2 * rows.shape[1]).any():
                found.append(i)
                if len(found) >= _MOST_APART:
                    break
        mask = np.zeros(len(rows), dtype=bool)
        mask[found] = True
        return mask

    def embed(self, rows: Array) -> Array:
        """Return the kernel's columns of `rows`: numeric places, then categories spread out."""
        blocks = [rows[:, self.numeric]]
        for i in self.choices:
            values = np.arange(self.space.axes[i].count or 0)
            blocks.append((rows[:, i, None] == values) / math.sqrt(2.0))
        return np.hstack(blocks)

    def steps(self, row: Array) -> Array:
        """Return the neighbours of a row: one category changed, or one grid step taken."""
        found: list[tuple[int, float]] = []
        for i in self.choices:
            for value in range(self.space.axes[i].count or 0):
                if value != row[i]:
                    found.append((i, float(value)))
        for i, free in zip(self.numeric, self.free, strict=True):
            if not free:
                found += [(i, place) for place in self._beside(i, row[i])]
        rows = np.repeat(row[None, :], len(found), axis=0)
        for k, (i, place) in enumerate(found):
            rows[k, i] = place
        rows = self.snapped(rows)
        changed: Array = rows[(rows != self.snapped(row[None, :])).any(1)]  # of what is active
        return changed

    def _beside(self, index: int, place: float) -> list[float]:
        axis = self.space.axes[index]
        if axis.kind is Kind.DISCRETE:
            places = self._places[index]
            at = int(np.abs(places - place).argmin())
            return [float(places[k]) for k in (at - 1, at + 1) if 0 <= k < len(places)]
        value = int(axis.nearest(float(place)))
        return [axis.place(near) for near in (value - 1, value + 1) if axis.holds(near)]

    def _nearest(self, index: int, places: Array) -> tuple[Array, Array]:
        """Return the nearest allowed places, and the values there as numbers."""
        axis = self.space.axes[index]
        if axis.kind is Kind.DOUBLE:
            return places, places
        if axis.kind is Kind.DISCRETE:
            known = self._places[index]
            at = np.clip(np.searchsorted(known, places), 1, len(known) - 1)
            at = at - (places - known[at - 1] <= known[at] - places)
            return known[at], np.array(axis.parameter.values, float)[at]
        low, high = axis.parameter.low, axis.parameter.high
        start, end, scale = low - 0.5, high + 0.5, axis.parameter.scale
        ratio = math.log(end / start) if scale is not Scale.LINEAR else 0.0
        if scale is Scale.LINEAR:
            value = start + places * (end - start)
        elif scale is Scale.LOG:
            value = start * np.exp(places * ratio)
        else:
            value = end + start - start * np.exp((1.0 - places) * ratio)
        value = np.clip(np.floor(value + 0.5), low, high)
        if scale is Scale.LINEAR:
            return (value - start) / (end - start), value
        if scale is Scale.LOG:
            return np.log(value / start) / ratio, value
        return 1.0 - np.log((end - value + start) / start) / ratio, value

    def _filled(self, rows: Array) -> Array:
        for i, axis in enumerate(self.space.axes):
            lacking = np.isnan(rows[:, i])
            rows[lacking, i] = -1.0 if axis.kind is Kind.CATEGORICAL else 0.5
        return rows


def _number(axis: Axis, value: Value) -> float:
    return axis.place(value) if axis.kind is Kind.CATEGORICAL else float(value)
