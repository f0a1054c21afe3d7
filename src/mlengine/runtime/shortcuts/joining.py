"""Which scikit-learn models may answer the rows of several callers in one call.

Pipelines over texts and numbers have no arithmetic of their own here, and most of a call's time is
spent before the first row is looked at. Where every part does to a row what it does to that row
alone, to the last bit, callers may share the call: encoders and scalers do, trees do; products of
matrices do not. The parts are known by their classes, the library's own, and what follows from that
is tried at each load: golden rows, and rows mixed of their columns, alone and in company.

Rows share a call only with rows of the same types. An integer becomes a float beside a float, and a
number a text beside a text: the caller would get what he would not have got alone.
"""

from __future__ import annotations

import random
from collections.abc import Hashable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from mlengine.runtime.frameworks import Model, ask
from mlengine.runtime.prediction_error import PredictionError
from mlengine.runtime.strictjson import StrictJsonError, dumps

__all__ = ["foreign_part", "joining_problem", "lane_of"]

_SEED = 20_262
_ROWS = 6  # of each kind, asked alone at some milliseconds each: who sleeps is to wake soon
_COMPANIES = (5, 12)
_EXACT = 2**53
_ROWWISE = frozenset({
    "Binarizer", "ColumnTransformer", "FeatureUnion", "KBinsDiscretizer", "MaxAbsScaler",
    "MinMaxScaler", "OneHotEncoder", "OrdinalEncoder", "Pipeline", "QuantileTransformer",
    "RobustScaler", "SimpleImputer", "StandardScaler", "TargetEncoder",
    # What ends a pipeline: trees compare and add, row by row.
    "DecisionTreeClassifier", "DecisionTreeRegressor", "ExtraTreeClassifier", "ExtraTreeRegressor",
    "ExtraTreesClassifier", "ExtraTreesRegressor", "GradientBoostingClassifier",
    "GradientBoostingRegressor", "HistGradientBoostingClassifier", "HistGradientBoostingRegressor",
    "RandomForestClassifier", "RandomForestRegressor",
})  # fmt: skip
_PLAIN = frozenset({int, float, str, bool})


def joining_problem(model: Any, golden: Sequence[Any]) -> str:
    """Return why callers of a `SklearnModel` may not share a call; empty: they may.

    Args:
        model: As loaded.
        golden: Instances that came with it.
    """
    if part := foreign_part(model.estimator):
        return f"{part} may look at other rows"
    names = model.describe()["inputs"]
    rows = [*golden[:_ROWS], *_mixed(golden)]
    lane = lane_of(golden[:1], names) if golden else None
    rows = [row for row in rows if lane_of([row], names) == lane] if lane is not None else []
    alone = [(row, answer) for row in rows if (answer := _answer(model, [row])) is not None]
    if len(alone) < 2:
        return "golden rows beside the model would let callers share a call"
    for size in _COMPANIES:
        for start in range(0, len(alone), size):
            some = alone[start : start + size]
            if _answer(model, [row for row, _ in some]) != b",".join(one for _, one in some):
                return "rows come out otherwise in company"
    return ""


def foreign_part(estimator: Any) -> str:
    """Return the first part of an estimator that is not known to keep rows apart; empty: none."""
    for part in _parts(estimator):
        name = type(part).__name__
        own = type(part).__module__.startswith("sklearn.")
        if own and name == "FunctionTransformer":
            if not _is_elementwise(part.func):
                return f"FunctionTransformer of {getattr(part.func, '__name__', 'a function')}"
        elif not own or name not in _ROWWISE:
            return name
    return ""


def lane_of(instances: Sequence[Any], names: Sequence[str]) -> Hashable | None:
    """Return the types of the columns of rows, of which all are alike; None: they go alone.

    Example:
        >>> lane_of([[1, "a"], [2, "b"]], []) == lane_of([[7, ""]], [])
        True
        >>> lane_of([[1, "a"], [2.5, "b"]], []) is None
        True
    """
    found: Hashable | None = None
    for row in instances:
        if isinstance(row, dict):
            if len(row) != len(names) or not all(name in row for name in names):
                return None
            values: list[Any] = [row[name] for name in names]
        elif isinstance(row, list):
            values = row
        else:
            return None
        types = tuple(map(type, values))
        if not _PLAIN.issuperset(types):
            return None
        if any(not -_EXACT < value < _EXACT for value in values if not isinstance(value, str)):
            return None
        lane = (type(row), types)
        if found is not None and found != lane:
            return None
        found = lane
    return found


def _answer(model: Model, rows: list[Any]) -> bytes | None:
    try:
        return b",".join(map(dumps, ask(model, rows, {})))
    except (PredictionError, StrictJsonError):
        return None


def _mixed(golden: Sequence[Any]) -> list[Any]:
    """Make rows of which each column is one of a golden row."""
    chance = random.Random(_SEED)
    rows: list[Any] = []
    for _ in range(_ROWS if len(golden) > 1 else 0):
        first = chance.choice(golden)
        if isinstance(first, dict):
            rows.append({key: chance.choice(golden).get(key) for key in first})
        elif isinstance(first, list):
            sources = [chance.choice(golden) for _ in first]
            rows.append([source[i] for i, source in enumerate(sources) if i < len(source)])
    return rows


def _parts(estimator: Any) -> Iterator[Any]:
    """Give an estimator and all that was fitted within it."""
    yield estimator
    name = type(estimator).__name__
    inner: list[Any] = []
    if name == "Pipeline":
        inner = [part for _, part in estimator.steps]
    elif name == "ColumnTransformer":
        inner = [part for _, part, _ in estimator.transformers_]
    elif name == "FeatureUnion":
        inner = [part for _, part in estimator.transformer_list]
    for part in inner:
        if part is not None and part not in ("passthrough", "drop"):
            yield from _parts(part)


def _is_elementwise(function: Any) -> bool:
    if function is None or isinstance(function, np.ufunc):
        return True
    if isinstance(function, partial):
        return not function.args and function.func in (np.array, np.asarray)
    return function in (np.array, np.asarray)
