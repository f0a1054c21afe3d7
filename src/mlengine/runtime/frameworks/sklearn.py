"""scikit-learn estimators and pipelines (and what quacks like one: XGBClassifier, LightGBM)."""

from __future__ import annotations

import warnings as python_warnings
from collections.abc import Callable, Hashable
from typing import Any

from mlengine.runtime.answers import rows_of
from mlengine.runtime.frameworks import Description, Model
from mlengine.runtime.frameworks.signatures import OUTPUT, Signature, Signed
from mlengine.runtime.frameworks.tensors import TensorSpec
from mlengine.runtime.instances import columns_problem, rows_problem
from mlengine.runtime.prediction_error import PredictionError, input_error, run_error

__all__ = ["SklearnModel"]

_POSITIONAL = ("self", "X")  # of XGBClassifier.predict, which reads over them as keywords


class SklearnModel:
    """A fitted estimator.

    Instances reach `predict` as the list they are, which is the service's promise to pipelines
    with code of their own. Two exceptions for models that were fitted on a table with column
    names: instances that are objects are put into the order of those columns, and a
    `ColumnTransformer`, which finds columns by name, gets a table again.
    """

    def __init__(self, estimator: Any, *, warnings: list[str] | None = None) -> None:
        self._estimator = estimator
        self._warnings = warnings or []
        names = getattr(estimator, "feature_names_in_", None)
        self._names: list[str] = [] if names is None else [str(name) for name in names]
        width = getattr(estimator, "n_features_in_", None)
        self._width = int(width) if isinstance(width, int) else None
        self._is_xgboost = type(estimator).__module__.startswith("xgboost")  # takes only numbers
        self.joinable = False
        self.lane_of: Callable[[list[Any]], Hashable | None] | None = None
        self._wants_table = bool(self._names) and _selects_columns(estimator)
        _run_on_one_core(estimator)
        # A list has no column names and needs none: its columns are in training order.
        python_warnings.filterwarnings("ignore", message="X does not have valid feature names")

    def join(self, lane_of: Callable[[list[Any]], Hashable | None]) -> None:
        """Let requests share a call from now on: those for whose instances this gives the same."""
        self.joinable, self.lane_of = True, lane_of

    @property
    def estimator(self) -> Any:
        return self._estimator

    @property
    def wants_table(self) -> bool:
        """A part of it finds columns by name."""
        return self._wants_table

    def predict(self, instances: list[Any], /, **kwargs: Any) -> list[Any]:
        kwargs.pop("signature_name", None)  # TensorFlow's; clients send it to every model
        if self._is_xgboost and (given := kwargs.keys() & _POSITIONAL):
            raise input_error(f"The request has the unknown key {min(given)!r}.")
        return rows_of(self._asked("predict", instances, kwargs), count=len(instances))

    def scores(self, instances: list[Any]) -> dict[str, Any]:
        """Return the scores behind a classifier's labels, as far as it knows them."""
        for method, name in (("predict_proba", "probability"), ("decision_function", "decision")):
            if callable(getattr(self._estimator, method, None)):
                return {name: self._asked(method, instances, {})}
        return {OUTPUT: self._asked("predict", instances, {})}

    def _asked(self, method: str, instances: list[Any], kwargs: dict[str, Any]) -> Any:
        rows = self._arrange(instances)
        try:
            return getattr(self._estimator, method)(rows, **kwargs)
        except (PredictionError, MemoryError):
            raise
        except BaseException as error:
            if not kwargs and (problem := self._problem(instances, error)):
                raise input_error(problem) from error
            raise run_error(f"Exception during sklearn prediction: {_brief(error)}") from error

    def describe(self) -> Description:
        cls = type(self._estimator)
        return {
            "framework": "SCIKIT_LEARN",
            "library_version": _version_of(cls.__module__.partition(".")[0]),
            "inputs": self._names,
            "raw_text": False,
            "warnings": self._warnings,
        }

    def signatures(self) -> dict[str, Signature]:
        # A table's columns may be of any type, and a pipeline without a width may read texts.
        known = self._width is not None and not self._wants_table
        inputs = [TensorSpec("input", "float64", (None, self._width))] if known else []
        classes = getattr(getattr(self._estimator, "classes_", None), "dtype", None)
        kinds = {"i": "int64", "u": "int64", "b": "bool", "U": "string", "O": "string"}
        dtype = "float64" if classes is None else kinds.get(classes.kind, "float64")
        return {"": Signature("", inputs, [TensorSpec(OUTPUT, dtype, (None,))])}

    def default_signature(self) -> str:
        return ""

    def _arrange(self, instances: list[Any]) -> Any:
        if not self._names:
            return instances
        if isinstance(instances[0], dict):
            if problem := columns_problem(instances, self._names):
                raise input_error(problem)
            instances = [[row[name] for name in self._names] for row in instances]
        elif self._wants_table and (problem := rows_problem(instances, self._width, numbers=False)):
            raise input_error(problem)
        if not self._wants_table:
            return instances
        import pandas as pd

        return pd.DataFrame(instances, columns=self._names)

    def _problem(self, instances: list[Any], error: BaseException) -> str | None:
        """Tell the caller's mistake from the model's, now that the model has refused."""
        numbers = self._is_xgboost or _complains_of_numbers(error)
        if self._names and isinstance(instances[0], dict):
            problem = columns_problem(instances, self._names)
        elif self._width is None and not numbers:
            return None  # a pipeline over texts, or objects, of which we know nothing
        else:
            problem = rows_problem(instances, self._width, numbers=numbers)
        return problem or (_brief(error) if numbers else None)


def _brief(error: BaseException) -> str:
    return str(error).split("Stack trace:")[0].strip()  # XGBoost adds its C++ stack


def _complains_of_numbers(error: BaseException) -> bool:
    text = str(error)
    return isinstance(error, ValueError | TypeError) and any(
        clue in text
        for clue in (
            "could not convert string",
            "dtype='numeric'",
            "contains NaN",
            "contains infinity",
            "must be a string or a real number",
            "setting an array element with a sequence",
            "unknown categories",
            "'NoneType' and",
            "'float' and 'NoneType'",
            "Expected 2D array",
            "expects X to",
            "are expected",
            "is expecting",
        )
    )


def _selects_columns(estimator: Any) -> bool:
    params = estimator.get_params(deep=True).values() if hasattr(estimator, "get_params") else ()
    return any(type(part).__name__ == "ColumnTransformer" for part in (estimator, *params))


def _run_on_one_core(estimator: Any) -> None:
    """Threads cost more than they bring for the few rows of a request."""
    try:
        params = estimator.get_params(deep=True)
        jobs = {key: 1 for key in params if key.rpartition("__")[2] == "n_jobs" and params[key]}
        if jobs:
            estimator.set_params(**jobs)
    except Exception:
        return  # an estimator with parameters of its own making: it runs as it was trained


def _version_of(module: str) -> str:
    import importlib

    return str(getattr(importlib.import_module(module), "__version__", ""))


_: type[Model] = SklearnModel
_signed: type[Signed] = SklearnModel
