"""``explanation_metadata.json``: which inputs are explained, against what, and of which output.

    {"inputs":  {"age": {"input_tensor_name": "age", "input_baselines": [38]}},
     "outputs": {"probability": {"output_tensor_name": "dense_1"}},
     "framework": "tensorflow"}

It lies beside the model, as for the service. The keys of ``inputs`` and ``outputs`` are the names
that answers use; ``input_tensor_name`` and ``output_tensor_name`` say what the model calls them,
and may be left out where that is the same. An input that is not named keeps its value. Whatever
else the file says is honoured or refused by name, when the version is created.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

from mlengine.runtime.prediction_error import load_error
from mlengine.runtime.strictjson import StrictJsonError, loads

__all__ = ["FILE", "Input", "Metadata", "find_name", "read_metadata"]

FILE = "explanation_metadata.json"

_MAX_BYTES = 64 << 20
_MODALITIES = ("numeric", "categorical", "image", "text")
_INPUT_KEYS = frozenset({"input_tensor_name", "input_baselines", "encoding", "modality"})


class Input(NamedTuple):
    """An input that is explained: what answers and what the model call it; no baselines: ours."""

    name: str
    tensor: str
    baselines: list[Any]


class Metadata(NamedTuple):
    """What the file says; without one, nothing."""

    inputs: list[Input] = []
    output_name: str = ""
    output_tensor: str = ""


def read_metadata(directory: Path) -> Metadata:
    """Read the file beside a model, if there is one.

    Raises:
        PredictionError: Class 0: it cannot be read, or says what cannot be honoured.
    """
    try:
        data = (directory / FILE).read_bytes()
    except FileNotFoundError:
        return Metadata()
    except OSError as error:
        raise load_error(f"{FILE} cannot be read: {error.strerror}") from error
    if len(data) > _MAX_BYTES:
        raise load_error(f"{FILE} has {len(data)} bytes; at most {_MAX_BYTES} are read")
    try:
        value = loads(data)
    except StrictJsonError as error:
        raise load_error(f"{FILE}: {error}") from None
    value = _object(value, "the file", {"inputs", "outputs", "framework", "tags"})
    inputs = _object(value.get("inputs", {}), "'inputs'", None)
    made = [_input(name, said) for name, said in inputs.items()]
    tensors = [one.tensor for one in made]
    for tensor in tensors:
        if tensors.count(tensor) > 1:
            raise load_error(f"{FILE}: two inputs are called {tensor!r} by the model")
    return Metadata(made, *_output(_object(value.get("outputs", {}), "'outputs'", None)))


def find_name(tensor: str, known: Collection[str], what: str) -> str:
    """Return what a model calls the tensor of this name: ``serving_default_x:0`` is its ``x``.

    Raises:
        PredictionError: Class 0: it has none of that name.
    """
    for name in (tensor, tensor.partition(":")[0]):
        for candidate in (name, name.removeprefix("serving_default_")):
            if candidate in known:
                return candidate
    raise load_error(
        f"{FILE}: the model has no {what} {tensor!r}. It has: {', '.join(sorted(known)) or 'none'}."
    )


def _input(name: str, said: Any) -> Input:
    said = _object(said, f"the input {name!r}", _INPUT_KEYS)
    tensor = said.get("input_tensor_name", name)
    baselines = said.get("input_baselines", [])
    if not isinstance(tensor, str) or not tensor:
        raise load_error(f"{FILE}: 'input_tensor_name' of the input {name!r} is no name")
    if not isinstance(baselines, list):
        raise load_error(f"{FILE}: 'input_baselines' of the input {name!r} is no list of baselines")
    encoding, modality = said.get("encoding", "identity"), said.get("modality", "numeric")
    if str(encoding).lower() != "identity":
        raise load_error(
            f"{FILE}: the encoding {encoding!r} of the input {name!r} is not supported; "
            "features are explained as the model takes them: 'identity'"
        )
    if str(modality).lower() not in _MODALITIES:
        raise load_error(
            f"{FILE}: the modality {modality!r} of the input {name!r} is none of "
            f"{', '.join(_MODALITIES)}"
        )
    return Input(name, tensor, baselines)


def _output(outputs: dict[str, Any]) -> tuple[str, str]:
    if len(outputs) > 1:
        raise load_error(f"{FILE}: {len(outputs)} outputs are named; one can be explained")
    for name, said in outputs.items():
        tensor = _object(said, f"the output {name!r}", {"output_tensor_name"}).get(
            "output_tensor_name", name
        )
        if not isinstance(tensor, str) or not tensor:
            raise load_error(f"{FILE}: 'output_tensor_name' of the output {name!r} is no name")
        return name, tensor
    return "", ""


def _object(value: Any, what: str, known: Collection[str] | None) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise load_error(f"{FILE}: {what} is no object")
    if known is not None and (unknown := sorted(set(value) - set(known))):
        raise load_error(
            f"{FILE}: {what} says {unknown[0]!r}, which is not supported. "
            f"Known are: {', '.join(sorted(known))}."
        )
    return value
