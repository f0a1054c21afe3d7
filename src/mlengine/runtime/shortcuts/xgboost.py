"""XGBoost past its wrapper: one call of the library's C function on an array that lies ready.

`Booster.inplace_predict` looks for twenty kinds of tables before that call, and an `XGBClassifier`
sets up a context around it; together they cost what forty rows cost.
"""

from __future__ import annotations

import ctypes
import json
import math
from typing import Any

import numpy as np

from mlengine.runtime.shortcuts.kernel import Kernel, NoKernel

__all__ = ["kernel"]


def kernel(model: Any) -> Kernel:
    """Return the kernel of a `Booster`, an `XGBClassifier` or an `XGBRegressor`.

    Raises:
        NoKernel: Of another class, of several labels, or of another XGBoost than this was made for.
    """
    name = type(model).__name__
    if name == "Booster":
        call = _Call(model, missing=math.nan, iterations=(0, 0))
        return Kernel(name, call.width, call.tables, rowwise=True)
    if name not in ("XGBClassifier", "XGBRegressor", "XGBRFClassifier", "XGBRFRegressor"):
        raise NoKernel(f"{name} has no direct way")
    iterations = model._get_iteration_range(None)
    call = _Call(model.get_booster(), missing=model.missing, iterations=iterations)
    if name.endswith("Regressor"):
        return Kernel(name, call.width, call.tables, rowwise=True)
    if model.objective not in ("binary:logistic", "multi:softprob"):
        raise NoKernel(f"{name} with the objective {model.objective} has no direct way")

    def indexes(table: np.ndarray) -> Any:
        chances = call.tables(table)
        if chances.ndim == 3:
            return np.argmax(chances, axis=-1)
        return (chances > 0.5).astype(np.intp)

    # Its answers are the numbers of the classes, whatever the classes are.
    return Kernel(name, call.width, indexes, labels=range(int(model.n_classes_)), rowwise=True)


class _Call:
    """The C function with everything but the rows filled in."""

    def __init__(self, booster: Any, *, missing: float, iterations: tuple[int, int]) -> None:
        try:
            from xgboost.core import _LIB, c_bst_ulong

            self._function = _LIB.XGBoosterPredictFromDense
            self._handle = booster.handle
        except (ImportError, AttributeError) as error:
            raise NoKernel(f"this XGBoost is built otherwise: {error}") from error
        self._booster = booster  # owns the handle
        self.width = int(booster.num_features())
        self._options = json.dumps({
            "type": 0, "training": False, "iteration_begin": int(iterations[0]),
            "iteration_end": int(iterations[1]), "missing": float(missing), "strict_shape": False,
            "cache_id": 0,
        }).encode()  # fmt: skip
        self._shape = ctypes.POINTER(c_bst_ulong)()
        self._dimensions = c_bst_ulong()
        self._predictions = ctypes.POINTER(ctypes.c_float)()

    def tables(self, table: np.ndarray) -> np.ndarray:
        """Predict a stack of one table of doubles."""
        rows = table.reshape(-1, self.width).astype(np.float32)
        about = b'{"data":[%d,true],"shape":[%d,%d],"typestr":"<f4","version":3,"strides":null}' % (
            rows.ctypes.data,
            len(rows),
            self.width,
        )
        status = self._function(
            self._handle, about, self._options, None, ctypes.byref(self._shape),
            ctypes.byref(self._dimensions), ctypes.byref(self._predictions),
        )  # fmt: skip
        if status != 0:
            raise RuntimeError("XGBoost refused the rows")
        shape = tuple(self._shape[: self._dimensions.value])
        # The library writes the next answer to the same place.
        found = np.ctypeslib.as_array(self._predictions, shape).copy()
        return found[np.newaxis]
