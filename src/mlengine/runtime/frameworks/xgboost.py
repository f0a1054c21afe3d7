"""XGBoost boosters: ``np.array`` → ``DMatrix`` → ``Booster.predict``."""

from __future__ import annotations

import json
import re
import warnings as python_warnings
from pathlib import Path
from typing import Any

from mlengine.runtime.answers import rows_of
from mlengine.runtime.frameworks import Description, Model, library
from mlengine.runtime.frameworks.signatures import OUTPUT, Signature, Signed
from mlengine.runtime.frameworks.tensors import TensorSpec
from mlengine.runtime.instances import columns_problem, kind_of
from mlengine.runtime.prediction_error import PredictionError, input_error, load_error, run_error

__all__ = ["BoosterModel", "booster_of", "load", "wrap"]

_CHANCES = ("binary:logistic", "multi:softprob")
_POSITIONAL = ("self", "data")  # of Booster.predict, which reads over them as keywords
# What `save_model` wrote before XGBoost 2.1, and version 3.1 has ceased to read: parameters of one
# size, then the names of the objective and of the booster, each behind its length in 8 bytes.
_OLD_HEAD = re.compile(rb".{136}[\x01-\x3f]\0{7}[a-z]+:[a-z]+[\x01-\x3f]\0{7}[a-z]+", re.DOTALL)
_FIRST_WITHOUT = (3, 1)
_OLD_RUNTIME = "1.15"  # for workers it has the XGBoost of 2.15
_WHERE = re.compile(r"^\[[\d:]+\] \S+: (?:Check failed: (?:.*? vs\. .*?\) : )?)?")


def load(path: Path) -> Model:
    """Load a file of `Booster.save_model`: UBJSON or JSON, whatever its name ends with.

    Raises:
        PredictionError: Class 0: no XGBoost, or unreadable.
    """
    return BoosterModel(booster_of(path))


def booster_of(path: Path) -> Any:
    """Read a booster from its own format."""
    with library("xgboost"):
        import xgboost
    try:
        with python_warnings.catch_warnings():
            python_warnings.filterwarnings("ignore", message=".*Unknown file format")
            booster = xgboost.Booster()
            booster.load_model(str(path))
            booster.num_features()  # a file cut short may load and know nothing
    except MemoryError:
        raise
    except BaseException as error:
        if _version(xgboost) >= _FIRST_WITHOUT and _is_old(path):
            raise load_error(
                f"{path.name} is in the binary format of XGBoost 0.90 to 2.0, which XGBoost "
                f"{xgboost.__version__} does not read. Give --runtime-version {_OLD_RUNTIME}, "
                "whose XGBoost does."
            ) from None
        raise load_error(f"{path.name} cannot be read as a booster: {_brief(error)}") from error
    return booster


def _version(xgboost: Any) -> tuple[int, ...]:
    return tuple(int(part) for part in xgboost.__version__.split(".")[:2])


def _is_old(path: Path) -> bool:
    with path.open("rb") as file:
        return _OLD_HEAD.match(file.read(256)) is not None


def wrap(model: Any, *, warnings: list[str]) -> Model:
    """Serve what a pickle held: a `Booster`, or one of XGBoost's scikit-learn classes."""
    if type(model).__name__ == "Booster":
        return BoosterModel(model, warnings=warnings)
    from mlengine.runtime.frameworks.sklearn import SklearnModel

    return SklearnModel(model, warnings=warnings)


class BoosterModel:
    """A booster. Rows are lists of numbers; null is a missing value, as in training."""

    joinable = True  # trees compare and add row by row: who stands beside a row changes nothing

    def __init__(self, booster: Any, *, warnings: list[str] | None = None) -> None:
        self._booster = booster
        self._warnings = warnings or []
        self._width = int(booster.num_features())
        self._names: list[str] = list(booster.feature_names or [])
        self._types = booster.feature_types
        booster.set_param({"nthread": 1})  # a few rows at a time: threads would only wait

    @property
    def booster(self) -> Any:
        return self._booster

    def predict(self, instances: list[Any], /, **kwargs: Any) -> list[Any]:
        kwargs.pop("signature_name", None)  # TensorFlow's; clients send it to every model
        if given := kwargs.keys() & _POSITIONAL:
            raise input_error(f"The request has the unknown key {min(given)!r}.")
        import xgboost

        array = self._array(instances)
        try:
            matrix = xgboost.DMatrix(
                array,
                feature_names=self._names or None,
                feature_types=self._types if self._names else None,
                nthread=1,
            )
            output = self._booster.predict(matrix, **kwargs)
        except (PredictionError, MemoryError):
            raise
        except BaseException as error:
            text = _brief(error)
            if "contains `inf`" in text:
                raise input_error("a number is too large for 32 bits") from error
            raise run_error(f"Exception during xgboost prediction: {text}") from error
        return rows_of(output, count=len(instances))

    def scores(self, instances: list[Any]) -> dict[str, Any]:
        """Return what `predict` does; where that is a label, the margins of all labels."""
        objective = json.loads(self._booster.save_config())["learner"]["objective"]["name"]
        if objective == "multi:softmax":
            return {"margin": self.predict(instances, output_margin=True)}
        name = "probability" if objective in _CHANCES else OUTPUT
        return {name: self.predict(instances)}

    def describe(self) -> Description:
        import xgboost

        return {
            "framework": "XGBOOST",
            "library_version": str(xgboost.__version__),
            "inputs": self._names,
            "raw_text": False,
            "warnings": self._warnings,
        }

    def signatures(self) -> dict[str, Signature]:
        inputs = [TensorSpec("input", "float32", (None, self._width))]
        return {"": Signature("", inputs, [TensorSpec(OUTPUT, "float64", None)])}

    def default_signature(self) -> str:
        return ""

    def _array(self, instances: list[Any]) -> Any:
        import numpy as np

        if isinstance(instances[0], dict) and self._names:
            if problem := columns_problem(instances, self._names):
                raise input_error(problem)
            instances = [[row[name] for name in self._names] for row in instances]
        try:
            array = np.array(instances)
        except (ValueError, OverflowError):
            array = None
        if array is None or array.dtype.kind not in "fiub":
            _only_numbers(instances, self._width)
            array = np.array(instances, dtype=np.float64)
        if array.ndim != 2:
            _only_numbers(instances, self._width)
            raise input_error(
                f"the instances have {array.ndim} dimensions, expected rows of {self._width}"
            )
        # XGBoost takes a row that is too short without a word, and guesses.
        if array.shape[1] != self._width:
            raise input_error(f"each instance has {array.shape[1]} values, expected {self._width}")
        return array


def _only_numbers(instances: list[Any], width: int) -> None:
    for index, row in enumerate(instances):
        if not isinstance(row, list):
            raise input_error(
                f"instance {index} is {kind_of(row)}, expected a list of {width} numbers"
            )
        if len(row) != width:
            raise input_error(f"instance {index} has {len(row)} values, expected {width}")
        for position, item in enumerate(row):
            if item is not None and not isinstance(item, int | float):
                raise input_error(
                    f"instance {index} has {kind_of(item)} at position {position}, "
                    "expected a number or null"
                )


def _brief(error: BaseException) -> str:
    """XGBoost's message, without the C++ stack, clock, source file and condition."""
    said = str(error).split("Stack trace:")[0].strip()
    return _WHERE.sub("", said) or said


_: type[Model] = BoosterModel
_signed: type[Signed] = BoosterModel
