"""Seam: load a model directory and ask it. One framework is one sibling file.

Heavy libraries are imported by the sibling that needs them, when it needs them: a worker that
serves scikit-learn never pays for TensorFlow, and need not have it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypedDict

from mlengine.runtime.artifact import Artifact, Kind, detect
from mlengine.runtime.prediction_error import PredictionError, load_error, output_error, run_error

__all__ = ["Beside", "Description", "Model", "ask", "library", "load"]

_MAX_FILES = 10_000


class Description(TypedDict):
    """What a loaded model says of itself.

    `inputs` are names of named inputs or columns, empty when rows have none. `raw_text` is True
    for a model with one string input: a line of a batch file is then the instance itself.
    """

    framework: str
    library_version: str
    inputs: list[str]
    raw_text: bool
    warnings: list[str]


class Model(Protocol):
    """Contract, held by ``tests/conformance/frameworks`` for every sibling:

    1. `predict` returns one JSON-able value per instance, in the order of the instances.
    2. The values are those that the framework itself gives for the same rows.
    3. Instances that do not fit the model raise `PredictionError` of class 1, whose text names
       what was expected and what came; a failure inside the model is class 2; an answer that
       JSON cannot carry is class 3.
    4. A keyword argument that the framework does not take is an error, never ignored; all but
       ``signature_name``, which is TensorFlow's.
    5. A failed call leaves the model as it was: the next good request is answered.
    6. `describe` is cheap and never raises.
    7. A model with a true `joinable` gives a row the same prediction in any company, so requests of
       several callers may be one call; if it has a `lane_of`, only those for whose instances this
       gives the same, and none for which it gives None.
    8. A model with a `beside` gives the same predictions there (but for rounding), with a core a
       call, and may be asked there by several threads at once.
    """

    def predict(self, instances: list[Any], /, **kwargs: Any) -> list[Any]: ...
    def describe(self) -> Description: ...


class Beside(NamedTuple):
    """A model that takes so many calls at a time, each of one core."""

    model: Model
    calls: int


def load(
    directory: Path, *, framework: str = "", signature_name: str = "", where: str = ""
) -> Model:
    """Load the model that a directory holds.

    Args:
        directory: The model directory on this machine.
        framework: ``SCIKIT_LEARN``, ``XGBOOST``, ``TENSORFLOW``, ``KERAS`` or ``ONNX``; empty to
            find out.
        signature_name: TensorFlow's signature when a request names none.
        where: What messages call the directory; default: its path.

    Raises:
        PredictionError: Class 0. The cause, if any, is its ``__cause__``.
    """
    where = where or str(directory)
    if not directory.is_dir():
        raise load_error(f"The model directory {where} does not exist.")
    artifact = detect(_files_of(directory), framework, where=where)
    try:
        return _open(directory, artifact, framework, signature_name)
    except (PredictionError, MemoryError):
        raise
    except BaseException as error:  # a model file is a program: it may raise anything, exits too
        raise load_error(f"{artifact.file}: {type(error).__name__}: {error}") from error


def ask(model: Model, instances: list[Any], kwargs: Mapping[str, Any]) -> list[Any]:
    """Predict, with every failure as a `PredictionError`.

    Only `MemoryError` passes through: the state of the process is then unknown.
    """
    if not instances:
        return []
    count = len(instances)  # before the model has them: it may edit the list
    try:
        predictions = model.predict(instances, **kwargs)
    except (PredictionError, MemoryError):
        raise
    except BaseException as error:  # a model that calls sys.exit() must not end its worker
        raise run_error(f"{type(error).__name__}: {error}") from error
    if len(predictions) != count:
        raise output_error(
            f"the model returned {len(predictions)} predictions for {count} instances"
        )
    return predictions


@contextlib.contextmanager
def library(extra: str) -> Iterator[None]:
    """Name the extra to install when a library imported inside is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise load_error(
            f"The library {error.name!r} is not installed in this environment. "
            f"Install it: pip install 'mlengine[{extra}]'"
        ) from error


def _open(directory: Path, artifact: Artifact, framework: str, signature_name: str) -> Model:
    path = directory / artifact.file
    if artifact.kind is Kind.PICKLE:
        from mlengine.runtime.frameworks import pickles

        return pickles.load(path, framework=framework)
    if artifact.kind is Kind.BOOSTER:
        from mlengine.runtime.frameworks import xgboost

        return xgboost.load(path)
    if artifact.kind is Kind.SAVED_MODEL:
        from mlengine.runtime.frameworks import tensorflow

        return tensorflow.load(directory, signature_name=signature_name)
    if artifact.kind is Kind.KERAS:
        from mlengine.runtime.frameworks import keras

        return keras.load(path)
    from mlengine.runtime.frameworks import onnx

    return onnx.load(path)


def _files_of(directory: Path) -> list[str]:
    names: list[str] = []
    for folder, _, files in os.walk(directory):
        base = Path(folder).relative_to(directory)
        names += [(base / file).as_posix() for file in files]
        if len(names) > _MAX_FILES:
            break
    return sorted(names)
