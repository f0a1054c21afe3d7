"""A custom prediction routine: a class of the user's own that answers in a framework's place.

    class Predictor:
        def predict(self, instances, **kwargs): ...    # → one JSON-able value for each instance
        @classmethod
        def from_path(cls, model_dir): ...             # what the version's deploymentUri held

It is found by its name, as `pydoc.locate` finds it, in the packages of the version or among the
libraries of its environment. It needs no base class. Of two more methods each is called if it is
there, the one before `predict` and the other after it:

    instances ─▶ preprocess(instances) ─▶ predict(…, **kwargs) ─▶ postprocess(predictions) ─▶ JSON

`kwargs` are the other keys of the request. Whatever the class does wrong is said in its name.
"""

from __future__ import annotations

import inspect
import pydoc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mlengine.runtime.answers import plain
from mlengine.runtime.frameworks import Description, Model
from mlengine.runtime.prediction_error import (
    ErrorClass,
    PredictionError,
    input_error,
    output_error,
    run_error,
)

__all__ = ["FRAMEWORK", "RoutineModel", "load"]

FRAMEWORK = "CUSTOM"
"""What a routine says where a model names its framework."""

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def load(directory: Path, name: str, *, packages: Sequence[str] = ()) -> RoutineModel:
    """Find a routine's class and have it load its model.

    Args:
        directory: The model directory on this machine.
        name: Full name of the class, such as ``trainer.predictor.Predictor``.
        packages: URIs of the version's packages, for the message.

    Raises:
        PredictionError: Class 4: there is no such class, it lacks a method, or it raises.
    """
    cls = _locate(name, packages)
    _check_predict(cls, name)
    try:
        predictor = cls.from_path(str(directory))
    except MemoryError:
        raise
    except BaseException as error:  # it is a program: it may raise anything, exits too
        raise _code_error(f"{name}.from_path: {type(error).__name__}: {error}") from error
    if not callable(getattr(predictor, "predict", None)):
        kind = type(predictor).__name__
        raise _code_error(f"{name}.from_path returned {kind}, which has no predict method.")
    return RoutineModel(predictor, name)


class RoutineModel:
    """An instance of the user's class.

    Requests are never joined: only the class knows whether its rows may share a call.
    """

    raw_as_b64 = True  # a body that is no JSON becomes {"b64": …}, as a client would have sent it

    def __init__(self, predictor: Any, name: str) -> None:
        self._name = name
        self._predict = predictor.predict
        self._keys = _keys_of(predictor.predict)
        self._held = _held_by(predictor.predict)
        self._before = _optional(predictor, "preprocess")
        self._after = _optional(predictor, "postprocess")

    @property
    def takes_keys(self) -> bool:
        """Whether a request may have keys that change what it answers."""
        return self._keys != frozenset()

    def predict(self, instances: list[Any], /, **kwargs: Any) -> list[Any]:
        kwargs = self._taken(kwargs)
        count = len(instances)  # before user code has them: it may edit the list
        rows = self._step(self._before, "preprocess", instances) if self._before else instances
        output = self._predict(rows, **kwargs)
        if self._after:
            output = self._step(self._after, "postprocess", output)
        return _listed(output, count=count)

    def describe(self) -> Description:
        return {
            "framework": FRAMEWORK,
            "library_version": self._name,
            "inputs": [],
            "raw_text": False,
            "warnings": [],
        }

    def _taken(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        if held := sorted(self._held & kwargs.keys()):
            raise input_error(
                f"The request has the key {held[0]!r}, which is the name of an argument that "
                f"{self._name}.predict has already. Send it by another name."
            )
        if self._keys is None:
            return kwargs
        # TensorFlow's; clients send it to every model.
        kwargs = {k: v for k, v in kwargs.items() if k in self._keys or k != "signature_name"}
        if unknown := sorted(set(kwargs) - self._keys):
            raise input_error(
                f"The request has the key {unknown[0]!r}, which {self._name}.predict does not take."
            )
        return kwargs

    def _step(self, method: Callable[[Any], Any], step: str, value: Any) -> Any:
        try:
            return method(value)
        except MemoryError:
            raise
        except BaseException as error:
            raise run_error(f"{step}: {type(error).__name__}: {error}") from error


def _locate(name: str, packages: Sequence[str]) -> Any:
    try:
        found = pydoc.locate(name)
    except pydoc.ErrorDuringImport as error:
        raise _code_error(
            f"{name} cannot be imported: {type(error.value).__name__}: {error.value}"
        ) from error.value
    if found is None:
        raise _code_error(
            f"{name} cannot be found. Please make sure (1) prediction_class is the fully "
            "qualified function name, and (2) it uses the correct package name as provided by "
            f"the package_uris: {list(packages)}"
        )
    if not inspect.isclass(found):
        raise _code_error(f"{name} is a {type(found).__name__}, not a class.")
    for method in ("from_path", "predict"):
        if not callable(getattr(found, method, None)):
            raise _code_error(f"{name} is missing the required {method} method.")
    return found


def _check_predict(cls: Any, name: str) -> None:
    """Refuse a `predict` whose positional arguments are not those of the interface.

    More of them may have defaults: a request gives them by name.
    """
    try:
        parameters = list(inspect.signature(cls.predict).parameters.values())
    except (TypeError, ValueError):  # written in C: it will show when it is called
        return
    given = [p.name for p in parameters if p.kind in _POSITIONAL]
    needed = [p.name for p in parameters if p.kind in _POSITIONAL and p.default is p.empty]
    if isinstance(inspect.getattr_static(cls, "predict"), staticmethod | classmethod):
        given, needed = ["self", *given], ["self", *needed]
    if len(needed) > 2 or given[1:2] != ["instances"]:
        raise _code_error(
            f"{name}.predict must have exactly the positional arguments (self, instances), "
            f"it has ({', '.join(given)}). Give any others a default, such as scale=1."
        )


def _keys_of(predict: Callable[..., Any]) -> frozenset[str] | None:
    """Return what a `predict` takes by name beside its instances; None for anything."""
    try:
        parameters = list(inspect.signature(predict).parameters.values())
    except (TypeError, ValueError):
        return None
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
        return None
    # The first are the instances, whatever the object that from_path returned calls them.
    return frozenset(p.name for p in parameters[1:] if p.kind in _BY_NAME)


def _held_by(predict: Callable[..., Any]) -> frozenset[str]:
    """Return what a `predict` calls its object and its instances: no key can be given so."""
    function = getattr(predict, "__func__", predict)
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return frozenset()
    given = parameters[: 1 if function is predict else 2]
    return frozenset(p.name for p in given if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD)


def _optional(predictor: Any, method: str) -> Callable[[Any], Any] | None:
    found = getattr(predictor, method, None)
    return found if callable(found) else None


def _listed(output: Any, *, count: int) -> list[Any]:
    """Turn what came out into one plain value per instance."""
    if hasattr(output, "tolist"):  # numpy's, PyTorch's and TensorFlow's arrays, pandas' columns
        output = output.tolist()
    if isinstance(output, tuple):
        output = list(output)
    if not isinstance(output, list):
        raise output_error(
            f"predict returned {type(output).__name__}, where a list with one prediction for each "
            "instance belongs"
        )
    if len(output) != count:
        raise output_error(f"predict returned {len(output)} predictions for {count} instances")
    return [plain(item) for item in output]


def _code_error(detail: str) -> PredictionError:
    return PredictionError(ErrorClass.USER_CODE, detail)


_: type[Model] = RoutineModel
