"""Closed forms over DOUBLEs (Surjanovic and Bingham, Virtual Library of Simulation Experiments).

Boxes are not centred on the optimum, so that trying the centre first wins nothing. Optima that
have no closed form were found by many starts of a local search and checked by `tests/unit`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from benchmarks.tuning.objectives import Objective
from mlengine.tuning.problem import Kind, Parameter, Point

__all__ = ["OBJECTIVES", "hartmann6"]

Vector = Sequence[float]

_ALPHA = (1.0, 1.2, 3.0, 3.2)
_A6 = (
    (10, 3, 17, 3.5, 1.7, 8),
    (0.05, 10, 17, 0.1, 8, 14),
    (3, 3.5, 1.7, 10, 17, 8),
    (17, 8, 0.05, 10, 0.1, 14),
)
_P6 = (
    (0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886),
    (0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991),
    (0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650),
    (0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381),
)


def _branin(x: Vector) -> float:
    a = x[1] - 5.1 / (4 * math.pi**2) * x[0] ** 2 + 5 / math.pi * x[0] - 6
    return a * a + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x[0]) + 10


def hartmann6(x: Vector) -> float:
    """Return the value of the six-dimensional Hartmann function on the unit cube."""
    return -sum(
        alpha * math.exp(-sum(a * (v - p) ** 2 for a, v, p in zip(row, x, places, strict=True)))
        for alpha, row, places in zip(_ALPHA, _A6, _P6, strict=True)
    )


def _ackley(x: Vector) -> float:
    root = math.sqrt(sum(v * v for v in x) / len(x))
    waves = sum(math.cos(2 * math.pi * v) for v in x) / len(x)
    return -20 * math.exp(-0.2 * root) - math.exp(waves) + 20 + math.e


def _rosenbrock(x: Vector) -> float:
    return sum(100 * (x[i + 1] - x[i] ** 2) ** 2 + (1 - x[i]) ** 2 for i in range(len(x) - 1))


def _levy(x: Vector) -> float:
    w = [1 + (v - 1) / 4 for v in x]
    middle = sum((v - 1) ** 2 * (1 + 10 * math.sin(math.pi * v + 1) ** 2) for v in w[:-1])
    end = (w[-1] - 1) ** 2 * (1 + math.sin(2 * math.pi * w[-1]) ** 2)
    return math.sin(math.pi * w[0]) ** 2 + middle + end


def _styblinski(x: Vector) -> float:
    return sum(v**4 - 16 * v**2 + 5 * v for v in x) / 2


def _michalewicz(x: Vector) -> float:
    return -sum(math.sin(v) * math.sin(i * v * v / math.pi) ** 20 for i, v in enumerate(x, start=1))


def _griewank(x: Vector) -> float:
    product = math.prod(math.cos(v / math.sqrt(i)) for i, v in enumerate(x, start=1))
    return sum(v * v for v in x) / 4000 - product + 1


def _hidden_hartmann(x: Vector) -> float:
    """Six of twenty matter."""
    return hartmann6([x[i] for i in (1, 4, 8, 11, 15, 18)])


def _make(
    name: str,
    family: str,
    function: Callable[[Vector], float],
    bounds: Sequence[tuple[float, float]],
    optimum: float,
    noise: float = 0.0,
) -> Objective:
    names = [f"x{i}" for i in range(len(bounds))]
    parameters = tuple(
        Parameter(name=each, kind=Kind.DOUBLE, low=low, high=high)
        for each, (low, high) in zip(names, bounds, strict=True)
    )

    def value(point: Point) -> float:
        return function([float(point[each]) for each in names])

    return Objective(name, family, parameters, value, optimum, noise)


def _skewed(size: int, reach: float) -> list[tuple[float, float]]:
    """Boxes around nought that hold it at a place of their own in each dimension."""
    return [(-reach * (0.5 + 0.2 * (i % 5)), reach * (1.3 - 0.2 * (i % 5))) for i in range(size)]


_UNIT6 = [(0.0, 1.0)] * 6
_BRANIN = [(-5.0, 10.0), (0.0, 15.0)]

OBJECTIVES = (
    _make("branin", "smooth", _branin, _BRANIN, 0.39788736),
    _make("hartmann6", "smooth", hartmann6, _UNIT6, -3.32236801),
    _make("rosenbrock4", "smooth", _rosenbrock, [(-5.0, 10.0)] * 4, 0.0),
    _make("styblinski6", "smooth", _styblinski, [(-5.0, 5.0)] * 6, -39.16616570 * 6),
    _make("ackley5", "rugged", _ackley, _skewed(5, 30.0), 0.0),
    _make("levy4", "rugged", _levy, [(-10.0, 7.0), (-6.0, 10.0)] * 2, 0.0),
    _make("michalewicz5", "rugged", _michalewicz, [(0.0, math.pi)] * 5, -4.68765818),
    _make("griewank8", "rugged", _griewank, _skewed(8, 100.0), 0.0),
    _make("ackley20", "20 dimensions", _ackley, _skewed(20, 10.0), 0.0),
    _make("levy20", "20 dimensions", _levy, [(-10.0, 7.0), (-6.0, 10.0)] * 10, 0.0),
    _make("hartmann6of20", "20 dimensions", _hidden_hartmann, [(0.0, 1.0)] * 20, -3.32236801),
    _make("branin-noisy", "noisy", _branin, _BRANIN, 0.39788736, noise=5.0),
    _make("hartmann6-noisy", "noisy", hartmann6, _UNIT6, -3.32236801, noise=0.3),
    _make("levy4-noisy", "noisy", _levy, [(-10.0, 7.0), (-6.0, 10.0)] * 2, 0.0, noise=3.0),
)
