"""Closed forms over what trainings are really tuned by: types, scales and conditions.

They imitate the shape of a validation loss: a bowl in the logarithm of a rate, a width with
diminishing returns, a choice that shifts everything, parameters that are only there with a choice.
All optima are zero by construction.
"""

from __future__ import annotations

import math

from benchmarks.tuning.objectives import Objective
from benchmarks.tuning.objectives.closed import hartmann6
from mlengine.tuning.problem import Kind, Parameter, Point, Scale, Value

__all__ = ["OBJECTIVES"]


def _double(
    name: str,
    low: float,
    high: float,
    scale: Scale = Scale.LINEAR,
    parent: str = "",
    when: tuple[Value, ...] = (),
) -> Parameter:
    return Parameter(
        name=name, kind=Kind.DOUBLE, low=low, high=high, scale=scale, parent=parent, when=when
    )


def _integer(
    name: str, low: int, high: int, scale: Scale = Scale.LINEAR, parent: str = "",
    when: tuple[Value, ...] = (),
) -> Parameter:  # fmt: skip
    return Parameter(
        name=name, kind=Kind.INTEGER, low=low, high=high, scale=scale, parent=parent, when=when
    )


def _choice(name: str, *values: Value, parent: str = "", when: tuple[Value, ...] = ()) -> Parameter:
    kind = Kind.CATEGORICAL if isinstance(values[0], str) else Kind.DISCRETE
    return Parameter(name=name, kind=kind, values=values, parent=parent, when=when)


def _log10(point: Point, name: str) -> float:
    return math.log10(float(point[name]))


# --- mixed ---


def _network(point: Point) -> float:
    """A rate that suits the optimiser, a width and a depth that trade, a batch that suits both."""
    best = {"sgd": -1.0, "momentum": -2.0, "adam": -3.0, "ftrl": -0.5}[str(point["optimizer"])]
    worse = {"sgd": 0.25, "momentum": 0.1, "adam": 0.0, "ftrl": 0.5}[str(point["optimizer"])]
    off = _log10(point, "rate") - best - 0.3 * (math.log2(float(point["batch"])) - 6)
    size = math.log2(float(point["width"])) + 0.5 * float(point["layers"])
    drop = float(point["dropout"]) - 0.3
    kind = {"relu": 0.0, "tanh": 0.15, "sigmoid": 0.4}[str(point["activation"])]
    return worse + kind + 0.4 * off * off + 0.06 * (size - 8.5) ** 2 + 3 * drop * drop


def _grid_hartmann(point: Point) -> float:
    """Hartmann-6, two of its dimensions whole numbers and two of a few values."""
    x = [
        float(point["a"]), float(point["b"]), int(point["c"]) / 20, int(point["d"]) / 20,
        float(point["e"]), float(point["f"]),
    ]  # fmt: skip
    return hartmann6(x)


def _switchboard(point: Point) -> float:
    """Eight choices that matter unequally, two of them only together, and two rates."""
    total = sum(
        weight * (0.0 if point[f"switch{i}"] == good else 1.0)
        for i, (good, weight) in enumerate(
            (("on", 1.0), ("off", 0.5), ("auto", 0.3), ("on", 0.2), ("off", 0.1), ("auto", 0.05))
        )
    )
    both = (point["left"] == "b") + (point["right"] == "c")
    total += {0: 0.4, 1: 0.6, 2: 0.0}[both]
    return total + (float(point["x"]) - 0.7) ** 2 + abs(float(point["y"]) - 0.2)


_MIXED = (
    Objective(
        "network", "mixed",
        (
            _choice("optimizer", "sgd", "momentum", "adam", "ftrl"),
            _choice("activation", "relu", "tanh", "sigmoid"),
            _double("rate", 1e-5, 1.0, Scale.LOG),
            _integer("width", 8, 512, Scale.LOG),
            _integer("layers", 1, 6),
            _double("dropout", 0.0, 0.8),
            _choice("batch", 16.0, 32.0, 64.0, 128.0, 256.0),
        ),
        _network, 0.0,
    ),
    Objective(
        "hartmann6-grid", "mixed",
        (
            _double("a", 0.0, 1.0), _double("b", 0.0, 1.0), _integer("c", 0, 20),
            _integer("d", 0, 20), _choice("e", 0.1, 0.2, 0.3, 0.5, 0.8),
            _choice("f", 0.05, 0.35, 0.65, 0.95),
        ),
        _grid_hartmann, -3.29193277,
    ),
    Objective(
        "switchboard", "mixed",
        (
            *(_choice(f"switch{i}", "on", "off", "auto") for i in range(6)),
            _choice("left", "a", "b", "c", "d"), _choice("right", "a", "b", "c", "d"),
            _double("x", 0.0, 1.0), _double("y", 0.0, 1.0),
        ),
        _switchboard, 0.0,
    ),
)  # fmt: skip


# --- conditional ---


def _pipeline(point: Point) -> float:
    """Three models with parameters of their own behind one of two preparations."""
    model = point["model"]
    if model == "linear":
        loss = 0.3 + 0.1 * (_log10(point, "l2") + 2) ** 2
    elif model == "kernel":
        c, gamma = _log10(point, "c"), _log10(point, "gamma")
        loss = 0.1 + 0.15 * (c - 1) ** 2 + 0.15 * (gamma + 2 + 0.5 * c) ** 2
    else:
        depth, rate = int(point["depth"]), _log10(point, "rate")
        loss = 0.03 * (depth - 5) ** 2 + 0.3 * (rate + 1.2) ** 2
    if point["prepare"] == "pca":
        part = int(point["components"])
        return loss + {"linear": 0.0, "kernel": 0.0}.get(str(model), 0.2) + 0.002 * (part - 12) ** 2
    return loss + {"linear": 0.2, "kernel": 0.1}.get(str(model), 0.0)


def _jenatton(point: Point) -> float:
    """The tree of Jenatton et al. (ICML 2017): three choices, and one number at each leaf."""
    if point["x1"] == "0":
        leaf, shared = ("x4", "r8") if point["x2"] == "0" else ("x5", "r8")
    else:
        leaf, shared = ("x6", "r9") if point["x3"] == "0" else ("x7", "r9")
    offset = {"x4": 0.0, "x5": 0.1, "x6": 0.2, "x7": 0.3}[leaf]
    return float(point[leaf]) ** 2 + offset + abs(float(point[shared]))


def _layers(point: Point) -> float:
    """Up to three layers, each with a width of its own and, if there are two, a skip."""
    count = int(point["layers"])
    target = {1: (7.0,), 2: (6.0, 5.0), 3: (6.5, 5.5, 4.5)}[count]
    loss = {1: 0.3, 2: 0.0, 3: 0.15}[count]
    for i, best in enumerate(target):
        loss += 0.05 * (math.log2(float(point[f"width{i}"])) - best) ** 2
    if count > 1:
        loss += 0.0 if point["skip"] == "yes" else 0.1
    return loss + 0.2 * (_log10(point, "rate") + 2.5) ** 2


_CONDITIONAL = (
    Objective(
        "pipeline", "conditional",
        (
            _choice("model", "linear", "kernel", "trees"),
            _double("l2", 1e-6, 1e2, Scale.LOG, "model", ("linear",)),
            _double("c", 1e-3, 1e3, Scale.LOG, "model", ("kernel",)),
            _double("gamma", 1e-6, 1e1, Scale.LOG, "model", ("kernel",)),
            _integer("depth", 1, 12, Scale.LINEAR, "model", ("trees",)),
            _double("rate", 1e-3, 1.0, Scale.LOG, "model", ("trees",)),
            _choice("prepare", "scale", "pca"),
            _integer("components", 2, 40, Scale.LINEAR, "prepare", ("pca",)),
        ),
        _pipeline, 0.0,
    ),
    Objective(
        "jenatton", "conditional",
        (
            _choice("x1", "0", "1"),
            _choice("x2", "0", "1", parent="x1", when=("0",)),
            _choice("x3", "0", "1", parent="x1", when=("1",)),
            _double("x4", -1.0, 0.7, Scale.LINEAR, "x2", ("0",)),
            _double("x5", -1.0, 0.7, Scale.LINEAR, "x2", ("1",)),
            _double("x6", -1.0, 0.7, Scale.LINEAR, "x3", ("0",)),
            _double("x7", -1.0, 0.7, Scale.LINEAR, "x3", ("1",)),
            _double("r8", -0.4, 1.0, Scale.LINEAR, "x1", ("0",)),
            _double("r9", -0.4, 1.0, Scale.LINEAR, "x1", ("1",)),
        ),
        _jenatton, 0.0,
    ),
    Objective(
        "layers", "conditional",
        (
            _choice("layers", 1.0, 2.0, 3.0),
            _integer("width0", 4, 512, Scale.LOG),
            _integer("width1", 4, 512, Scale.LOG, "layers", (2.0, 3.0)),
            _integer("width2", 4, 512, Scale.LOG, "layers", (3.0,)),
            _choice("skip", "yes", "no", parent="layers", when=(2.0, 3.0)),
            _double("rate", 1e-5, 1.0, Scale.LOG),
        ),
        _layers, 0.0,
    ),
)  # fmt: skip


# --- logarithmic ---


def _ridge(point: Point) -> float:
    """A narrow valley where rate times steps is right, and a decay that wants to be small."""
    rate, steps, decay = _log10(point, "rate"), _log10(point, "steps"), _log10(point, "decay")
    return 2 * (rate + steps - 0.5) ** 2 + 0.1 * (steps - 3.2) ** 2 + 0.1 * (decay + 4) ** 2


def _cliff(point: Point) -> float:
    """Loss falls with the rate until training diverges; less friction brings the edge nearer."""
    edge = _log10(point, "rate") - _log10(point, "friction")  # of the effective rate
    slow = 0.15 * (-0.5 - edge)
    return (slow if edge <= -0.5 else 2 + 0.2 * edge) + 0.2 * (_log10(point, "l2") + 3.0) ** 2


_LOG = (
    Objective(
        "ridge", "log",
        (
            _double("rate", 1e-6, 1.0, Scale.LOG), _integer("steps", 10, 100_000, Scale.LOG),
            _double("decay", 1e-8, 1.0, Scale.LOG),
        ),
        _ridge, 0.0,
    ),
    Objective(
        "cliff", "log",
        (
            _double("rate", 1e-6, 1.0, Scale.LOG),
            _double("friction", 1e-3, 0.5, Scale.LOG),
            _double("l2", 1e-7, 1.0, Scale.LOG),
        ),
        _cliff, 0.0,
    ),
)  # fmt: skip

OBJECTIVES = (*_MIXED, *_CONDITIONAL, *_LOG)
