"""Shapley values of one instance: which features to set back to the baseline, and what follows.

A coalition is a row of booleans, one a player (a feature): true where the instance's own value
stands, false where the baseline's does. `masks` says which coalitions the model must be asked for,
`attribute` turns their scores into values. The first row is the baseline, the last the instance.

    Exact    every coalition, where these are no more than the paths would ask for: no error
    Sampled  the features enter one by one, in orders drawn by lot; each order goes both ways

Either way the values add up to the difference of the two scores: every order's steps do. Pure: no
model, no clock; the same seed draws the same orders.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import numpy as np

__all__ = ["Coalitions", "Exact", "Sampled", "Values", "coalitions"]

_BITS = 62  # a coalition's number must fit into an int64


class Values(NamedTuple):
    """One value for each player, and how far the worst of them may be off, in units of a score."""

    values: np.ndarray
    error: float


class Coalitions(Protocol):
    """Which coalitions are asked for, and what their scores mean."""

    rows: int

    def masks(self, begin: int, end: int) -> np.ndarray: ...
    def attribute(self, scores: np.ndarray) -> Values: ...


def coalitions(players: int, *, paths: int, seed: int) -> Coalitions:
    """Choose the way that asks for fewer coalitions.

    Args:
        players: How many features.
        paths: How many orders may be drawn.
        seed: Of the draw.

    Example:
        >>> type(coalitions(8, paths=50, seed=1)).__name__
        'Exact'
        >>> coalitions(30, paths=50, seed=1).rows
        1452
    """
    if players <= _BITS and 2**players <= 2 + paths * max(players - 1, 0):
        return Exact(players)
    return Exact(players) if players < 2 else Sampled(players, paths=paths, seed=seed)


class Exact:
    """Every coalition: Shapley's own sum."""

    def __init__(self, players: int) -> None:
        self._players = players
        self.rows = 2**players

    def masks(self, begin: int, end: int) -> np.ndarray:
        """Return coalitions by their row numbers, whose bits are the players."""
        numbers = np.arange(begin, end, dtype=np.int64)
        return np.asarray((numbers[:, None] >> np.arange(self._players)) & 1, dtype=bool)

    def attribute(self, scores: np.ndarray) -> Values:
        """Return the values that the scores of all rows make."""
        n = self._players
        numbers = np.arange(self.rows)
        sizes = np.array([number.bit_count() for number in range(self.rows)])
        weights = np.array([1 / (n * math.comb(n - 1, size)) for size in range(n)])
        values = np.zeros(n)
        for player in range(n):
            without = numbers[(numbers >> player) & 1 == 0]
            gains = scores[without | (1 << player)] - scores[without]
            values[player] = np.dot(weights[sizes[without]], gains)
        return Values(values, abs(float(values.sum() - (scores[-1] - scores[0]))))


class Sampled:
    """Orders drawn by lot, each followed by its reverse, which halves what the draw gets wrong.

    Args:
        players: How many features; at least two.
        paths: How many orders.
        seed: Of the draw.
    """

    def __init__(self, players: int, *, paths: int, seed: int) -> None:
        drawn = np.random.default_rng(seed)
        forward = [drawn.permutation(players) for _ in range((paths + 1) // 2)]
        orders = [order for one in forward for order in (one, one[::-1])][:paths]
        self._orders = np.array(orders)
        # rank[path, player]: how many players enter before this one.
        self._ranks = np.argsort(self._orders, axis=1).astype(np.int32)
        self._players = players
        self.rows = 2 + paths * (players - 1)

    def masks(self, begin: int, end: int) -> np.ndarray:
        """Return coalitions by their row numbers; only those asked for are ever made."""
        numbers = np.arange(begin, end)
        path, entered = np.divmod(numbers - 1, self._players - 1)
        path = np.minimum(path, len(self._ranks) - 1)
        masks = np.asarray(self._ranks[path] < (entered + 1)[:, None])
        masks[numbers == 0] = False
        masks[numbers == self.rows - 1] = True
        return masks

    def attribute(self, scores: np.ndarray) -> Values:
        """Return the mean of what each player added on all paths, and its standard error."""
        paths, n = self._orders.shape
        along = np.empty((paths, n + 1))
        along[:, 0], along[:, n] = scores[0], scores[-1]
        along[:, 1:n] = scores[1:-1].reshape(paths, n - 1)
        added = np.empty((paths, n))
        np.put_along_axis(added, self._orders, np.diff(along, axis=1), axis=1)
        values = added.mean(axis=0)
        # An order and its reverse are no two draws, but one.
        draws = [added[at : at + 2].mean(axis=0) for at in range(0, paths, 2)]
        if len(draws) < 2:
            return Values(values, float(np.abs(values).max()))  # one draw says nothing of others
        spread = np.std(draws, axis=0, ddof=1) / math.sqrt(len(draws))
        missing = abs(float(values.sum() - (scores[-1] - scores[0])))
        return Values(values, max(float(spread.max()), missing))
