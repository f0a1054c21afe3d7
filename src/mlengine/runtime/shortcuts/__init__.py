"""Seam: answer many plain requests with one call of a model's own arithmetic.

A library's `predict` spends most of its time on checks that the worker has already made. A shortcut
goes from the bytes of many requests to the bytes of their answers without them. It is taken only
where a check when the model is loaded has shown that it gives what the library's call gives, on the
golden rows and on random ones; whatever it does not understand goes the general way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from mlengine.runtime.frameworks import Model
    from mlengine.runtime.shortcuts.kernel import Kernel
    from mlengine.runtime.shortcuts.recipe import Recipe

__all__ = ["Opening", "Shortcut", "kernel_of", "open_shortcut", "recipe_of"]

# How many rows the check asks alone: a model that sleeps is to wake soon. Where rows do not touch
# each other a few will do, for all of them are compared in company.
_SINGLES_OF_PRODUCTS = 48
_SINGLES_OF_TREES = 8
_SINGLES_OF_TENSORS = 16


class Shortcut(Protocol):
    """Contract, held by ``tests/conformance/shortcuts`` for every sibling:

    1. `read` returns what a body asks for, in a form of the shortcut's own, or None where the body
       is anything but the plain case: another key, a value of another type, a row of another
       width, JSON that is not strict. It never raises.
    2. `count` is the number of instances in what `read` returned.
    3. `answer` takes what `read` returned for several requests and returns the JSON body of each
       answer, in their order: the very bytes of the general way (`tensors` says what of floats).
       None stands for a request that is to go the general way, an answer that JSON cannot carry,
       say. It never raises but `MemoryError`.
    """

    def read(self, body: bytes) -> Any | None: ...
    def count(self, asked: Any) -> int: ...
    def answer(self, asked: Sequence[Any]) -> list[bytes | None]: ...


class Opening(NamedTuple):
    """A model's shortcut, if it has one, and a line that says which way it answers and why."""

    shortcut: Shortcut | None
    way: str


def open_shortcut(model: Model, golden: Sequence[Any] = ()) -> Opening:
    """Look for a shortcut and prove it. Never raises but `MemoryError`.

    Args:
        model: As loaded.
        golden: Instances that came with the model; none will do.
    """
    try:
        found = _open(model, golden)
    except MemoryError:
        raise
    except ModuleNotFoundError as error:
        return Opening(None, f"general: {error.name} is not installed in this environment")
    except Exception as error:  # a library of another version may lack anything
        found = Opening(None, f"general: {str(error) or type(error).__name__}")
    return found if found.shortcut is not None else _joined(model, golden, found.way)


def _open(model: Model, golden: Sequence[Any]) -> Opening:
    from mlengine.runtime.frameworks.signatures import TensorModel

    if isinstance(model, TensorModel):
        return _open_tensors(model, golden)
    from mlengine.runtime.shortcuts import proof
    from mlengine.runtime.shortcuts.rows import Rows

    kernel = kernel_of(model)
    shortcut = Rows(kernel, model.describe()["inputs"])
    singles = _SINGLES_OF_TREES if kernel.rowwise else _SINGLES_OF_PRODUCTS
    drawn = proof.drawn_rows(kernel)
    found = proof.prove(model, shortcut, drawn, golden=golden, singles=singles)
    if found.problem:
        return Opening(None, f"general: the direct way of {kernel.name} differs: {found.problem}")
    return Opening(shortcut, f"direct: {kernel.name}, equal on {len(drawn)} rows")


def _joined(model: Model, golden: Sequence[Any], way: str) -> Opening:
    """Let callers of a scikit-learn model share its calls, if that changes nothing for them."""
    from mlengine.runtime.frameworks.sklearn import SklearnModel

    if not isinstance(model, SklearnModel):
        return Opening(None, way)
    from mlengine.runtime.shortcuts.joining import joining_problem, lane_of

    try:
        problem = joining_problem(model, golden)
    except MemoryError:
        raise
    except Exception as error:
        problem = str(error) or type(error).__name__
    if problem:
        return Opening(None, f"{way}; each caller alone: {problem}")
    names = model.describe()["inputs"]
    model.join(lambda instances: lane_of(instances, names))
    return Opening(None, f"{way}; callers together")


def _open_tensors(model: Any, golden: Sequence[Any]) -> Opening:
    from mlengine.runtime.shortcuts import proof
    from mlengine.runtime.shortcuts.tensors import TOLERANCE, Tensors

    for together in (True, False):
        shortcut = Tensors(model, together=together)
        found = proof.prove(
            model, shortcut, proof.drawn_values(shortcut.inputs), golden=golden,
            singles=_SINGLES_OF_TENSORS, tolerance=TOLERANCE if together else 0.0,
        )  # fmt: skip
        if not found.problem:
            company = "callers together" if together else "each caller alone"
            return Opening(
                shortcut, f"direct: tensors, {company}, floats within {found.largest:.1g}"
            )
    return Opening(None, f"general: the direct way of tensors differs: {found.problem}")


def kernel_of(model: Model) -> Kernel:
    """Return a table model's own arithmetic.

    Raises:
        NoKernel: It has none; the text says why.
    """
    from mlengine.runtime.shortcuts import sklearn, xgboost

    estimator, is_boosted = _estimator_of(model)
    return xgboost.kernel(estimator) if is_boosted else sklearn.kernel(estimator)


def recipe_of(model: Model) -> Recipe:
    """Return a table model's arithmetic in plain numbers.

    Raises:
        NoKernel: It has none; the text says why.
    """
    from mlengine.runtime.shortcuts import sklearn, xgboost

    estimator, is_boosted = _estimator_of(model)
    return xgboost.recipe_of(estimator) if is_boosted else sklearn.recipe_of(estimator)


def _estimator_of(model: Model) -> tuple[Any, bool]:
    """Return the library's object, and whether it is XGBoost's."""
    from mlengine.runtime.frameworks.sklearn import SklearnModel
    from mlengine.runtime.frameworks.xgboost import BoosterModel
    from mlengine.runtime.shortcuts.kernel import NoKernel

    if isinstance(model, BoosterModel):
        return model.booster, True
    if not isinstance(model, SklearnModel):
        raise NoKernel(f"{type(model).__name__} has no direct way")
    if model.wants_table:
        raise NoKernel("the model selects columns of a table")
    return model.estimator, type(model.estimator).__module__.startswith("xgboost")
