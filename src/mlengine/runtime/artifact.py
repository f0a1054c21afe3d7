"""What kind of model a directory holds, judged by its file names alone.

A pickle tells its framework only when it is loaded (`frameworks` looks at the class's module):
scikit-learn and XGBoost share the names ``model.joblib`` and ``model.pkl``.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable
from pathlib import PurePosixPath
from typing import NamedTuple

from mlengine.runtime.prediction_error import load_error

__all__ = ["PICKLES", "Artifact", "Kind", "detect"]


class Kind(enum.Enum):
    """A way in which a model is written to disk."""

    PICKLE = "pickle"
    BOOSTER = "booster"
    SAVED_MODEL = "saved_model"
    KERAS = "keras"
    ONNX = "onnx"


class Artifact(NamedTuple):
    """The file that makes a directory a model; `file` is its name in that directory."""

    kind: Kind
    file: str


_PICKLES = ("model.joblib", "model.pkl")  # in the order in which they are looked for
PICKLES = frozenset(_PICKLES)
"""Models whose loading runs code, wherever a directory is asked for its model."""

_BOOSTERS = ("model.bst", "model.ubj")
_SAVED_MODELS = ("saved_model.pb", "saved_model.pbtxt")
_BOOSTER_JSON = "model.json"  # many tools write one beside their model, so it counts last

_BY_NAME = {
    **dict.fromkeys(_PICKLES, Kind.PICKLE),
    **dict.fromkeys(_BOOSTERS, Kind.BOOSTER),
    **dict.fromkeys(_SAVED_MODELS, Kind.SAVED_MODEL),
    "model.keras": Kind.KERAS,
    "model.onnx": Kind.ONNX,
}
_BY_SUFFIX = {".keras": Kind.KERAS, ".onnx": Kind.ONNX}

_KINDS_OF = {
    "": frozenset(Kind),
    "SCIKIT_LEARN": frozenset({Kind.PICKLE}),
    "XGBOOST": frozenset({Kind.PICKLE, Kind.BOOSTER}),
    "TENSORFLOW": frozenset({Kind.SAVED_MODEL, Kind.KERAS}),
    # The old service had no words for these two.
    "KERAS": frozenset({Kind.KERAS}),
    "ONNX": frozenset({Kind.ONNX}),
}
_LOOKED_FOR = (
    "saved_model.pb, saved_model.pbtxt, model.keras, model.joblib, model.pkl, model.bst, "
    "model.ubj, model.json, model.onnx"
)


def detect(file_names: Iterable[str], framework: str = "", *, where: str) -> Artifact:
    """Find the model among the files of a directory.

    Args:
        file_names: Paths relative to the directory, with ``/``; files only.
        framework: ``SCIKIT_LEARN``, ``XGBOOST``, ``TENSORFLOW``, ``KERAS``, ``ONNX``; empty or
            ``FRAMEWORK_UNSPECIFIED`` for any.
        where: The directory, as the user named it; for messages.

    Raises:
        PredictionError: Class 0: no model file, several, or an unknown framework.

    Example:
        >>> detect(["model.joblib", "notes.txt"], where="gs://b/census")
        Artifact(kind=<Kind.PICKLE: 'pickle'>, file='model.joblib')
    """
    names = list(file_names)
    asked = "" if framework == "FRAMEWORK_UNSPECIFIED" else framework
    if asked not in _KINDS_OF:
        known = ", ".join(name for name in _KINDS_OF if name)
        raise load_error(f"The framework {framework!r} is not known. Use one of: {known}.")
    found = [a for a in _candidates(names) if a.kind in _KINDS_OF[asked]]
    if not found:
        raise load_error(_missing(asked, names, where))
    if len(found) > 1 and not asked:
        listed = ", ".join(sorted(a.file for a in found))
        raise load_error(
            f"Multiple model files are found in the model_path: {where} ({listed}). "
            "Keep one of them, or name the framework of the version."
        )
    return found[0] if asked != "XGBOOST" else min(found, key=lambda a: a.kind is not Kind.BOOSTER)


def _candidates(names: list[str]) -> list[Artifact]:
    top = {name for name in names if "/" not in name}
    found = [Artifact(kind, name) for name, kind in _BY_NAME.items() if name in top]
    for suffix, kind in _BY_SUFFIX.items():
        others = [name for name in top if name.endswith(suffix)]
        if len(others) == 1 and not any(a.kind is kind for a in found):
            found.append(Artifact(kind, others[0]))
    if not found and _BOOSTER_JSON in top:
        found.append(Artifact(Kind.BOOSTER, _BOOSTER_JSON))
    return found


def _missing(framework: str, names: Collection[str], where: str) -> str:
    problem = {
        "": f"Could not find a model file in {where}: looked for {_LOOKED_FOR}",
        "SCIKIT_LEARN": f"Could not find either model.joblib or model.pkl in {where}",
        "XGBOOST": f"Could not find any of model.bst, model.joblib, model.pkl, model.ubj or "
        f"model.json in {where}",
        # The service's own words, which tools look for; what is said after them is ours.
        "TENSORFLOW": f"With v1 endpoint, the model directory {where} is expected to contain "
        "exactly one of the following: 'saved_model.pb' file or 'saved_model.pbtxt' file. Please "
        "use SavedModel. A model.keras will do, too",
        "KERAS": f"Could not find model.keras, nor one other *.keras, in {where}",
        "ONNX": f"Could not find model.onnx, nor one other *.onnx, in {where}",
    }[framework]
    return f"{problem}. {_what_is_there(names)}"


def _what_is_there(names: Collection[str]) -> str:
    if not names:
        return "The directory is empty."
    for name in sorted(names):
        path = PurePosixPath(name)
        if path.name in _BY_NAME and path.parent != PurePosixPath("."):
            # The usual slip: an exporter made a numbered directory, and its parent was given.
            return f"It has {name}: name the directory {path.parent}/ itself instead."
    shown = sorted(names)[:10]
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return f"Found: {', '.join(shown)}{more}."
