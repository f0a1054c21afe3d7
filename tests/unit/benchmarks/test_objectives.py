"""The objectives' known optima: reached where books say, and nowhere undercut."""

from __future__ import annotations

import math
import random

import pytest

from benchmarks.tuning.objectives import FAMILIES, Objective, objectives
from mlengine.tuning.problem import Point
from mlengine.tuning.space import Space

EVERY = objectives()
CLOSED = [one for one in EVERY if one.optimum is not None]


def _point(values: list[float]) -> Point:
    return {f"x{i}": value for i, value in enumerate(values)}


_HARTMANN = [0.20168952, 0.15001069, 0.47687398, 0.27533243, 0.31165162, 0.65730054]
WHERE: dict[str, Point] = {
    "branin": _point([math.pi, 2.275]),
    "hartmann6": _point(_HARTMANN),
    "rosenbrock4": _point([1.0] * 4),
    "styblinski6": _point([-2.90353403] * 6),
    "ackley5": _point([0.0] * 5),
    "ackley20": _point([0.0] * 20),
    "griewank8": _point([0.0] * 8),
    "levy4": _point([1.0] * 4),
    "levy20": _point([1.0] * 20),
    "michalewicz5": _point([2.20290552, 1.57079633, 1.28499157, 1.92305847, 1.72046977]),
    "network": {
        "optimizer": "adam", "activation": "relu", "rate": 1e-3, "width": 256, "layers": 1,
        "dropout": 0.3, "batch": 64.0,
    },
    "hartmann6-grid": {
        "a": 0.20522268, "b": 0.14897584, "c": 9, "d": 6, "e": 0.3, "f": 0.65,
    },
    "switchboard": {
        "switch0": "on", "switch1": "off", "switch2": "auto", "switch3": "on", "switch4": "off",
        "switch5": "auto", "left": "b", "right": "c", "x": 0.7, "y": 0.2,
    },
    "pipeline": {"model": "trees", "depth": 5, "rate": 10**-1.2, "prepare": "scale"},
    "jenatton": {"x1": "0", "x2": "0", "x4": 0.0, "r8": 0.0},
    "layers": {"layers": 2.0, "width0": 64, "width1": 32, "skip": "yes", "rate": 10**-2.5},
    "ridge": {"rate": 10**-2.7, "steps": 1585, "decay": 1e-4},
    "cliff": {"rate": 10**-1.50001, "friction": 0.1, "l2": 1e-3},
}  # fmt: skip


@pytest.mark.parametrize("name", WHERE)
def test_the_optimum_is_where_it_is_said_to_be(name: str) -> None:
    (objective,) = (one for one in EVERY if one.name == name)
    Space(objective.parameters).check(WHERE[name])
    assert objective.value(WHERE[name]) == pytest.approx(objective.optimum, abs=1e-4)


@pytest.mark.parametrize("objective", CLOSED, ids=lambda one: one.name)
def test_no_point_is_below_the_optimum(objective: Objective) -> None:
    space, source = Space(objective.parameters), random.Random(5)
    assert objective.optimum is not None
    for _ in range(200):
        assert objective.value(space.sample(source)) >= objective.optimum - 1e-9


def test_noise_is_added_to_what_is_seen_and_not_to_what_is_true() -> None:
    (noisy,) = (one for one in EVERY if one.name == "branin-noisy")
    seen, true = noisy.observe(WHERE["branin"], random.Random(1))
    assert true == pytest.approx(noisy.optimum, abs=1e-6)
    assert seen != true
    assert noisy.observe(WHERE["branin"], random.Random(1)) == (seen, true)


def test_every_family_has_objectives_with_names_of_their_own() -> None:
    assert {one.family for one in EVERY} == set(FAMILIES)
    assert len({one.name for one in EVERY}) == len(EVERY)
