"""What a worker and a batch job do with a model before its first row: load, rehearse, look for a
direct way. Both do the same, so that a file is answered as its rows would be online.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mlengine.runtime import process
from mlengine.runtime.compiled import FOLDER
from mlengine.runtime.frameworks import Model, load
from mlengine.runtime.manifest import check_files
from mlengine.runtime.prediction_error import PredictionError, load_error
from mlengine.runtime.rehearsal import rehearse
from mlengine.runtime.shortcuts import Shortcut, open_shortcut

if TYPE_CHECKING:
    from mlengine.runtime.compiled.model import About as CompiledForm

__all__ = ["Opened", "load_model", "open_model"]

_ON_GPUS = "TENSORFLOW"  # a Keras model says so, too


class Opened(NamedTuple):
    """A model that may be asked.

    Attributes:
        model: As loaded; it has answered its golden rows as its trainer did.
        shortcut: Its direct way, if it has one.
        about: What it says of itself, and ``way``: which way it answers and why.
    """

    model: Model
    shortcut: Shortcut | None
    about: dict[str, Any]


def open_model(spec: Mapping[str, Any]) -> Opened:
    """Open the model of a specification, see `load_model`.

    Raises:
        PredictionError: It cannot be loaded, or (class 0) its files are not those that were
            deployed, or a golden row comes out otherwise.
    """
    directory = Path(spec["artifact"])
    check_files(directory)
    given = list(spec.get("notes", ()))
    if (directory / FOLDER).is_dir() and not spec.get("prediction_class"):
        try:
            return _open_compiled(directory / FOLDER, spec, given)
        except Exception as error:  # whatever is wrong with it, the original is there
            why = error.detail if isinstance(error, PredictionError) else repr(error)
            given.append(f"The compiled form is not used: {why}")
    model = load_model(spec)
    if not spec.get("prediction_class"):  # what its own code computes on is its affair
        _check_gpus(model, spec.get("gpus") or ())
    golden, notes = rehearse(model, directory, signature_name=_own_signature(model))
    shortcut, way = open_shortcut(model, [row.instance for row in golden])
    said = model.describe()
    warnings = [*given, *said["warnings"], *notes]
    return Opened(model, shortcut, {**said, "warnings": warnings, "way": way})


def _check_gpus(model: Model, gpus: Sequence[str]) -> None:
    """Refuse to leave GPUs idle: a model that computes on CPUs beside them is a mistake.

    Raises:
        PredictionError: Class 0: its library has no use for them, or finds too few.
    """
    if not gpus:
        return
    framework = model.describe()["framework"]
    if framework != _ON_GPUS:
        raise load_error(f"{framework} models are served on CPUs: leave the version's GPUs out.")
    import tensorflow as tf

    found = len(tf.config.list_physical_devices("GPU"))
    if found < len(gpus):
        raise load_error(
            f"The version has {len(gpus)} GPU{'s' * (len(gpus) > 1)} (of this machine's: "
            f"{', '.join(gpus)}), and TensorFlow {tf.__version__} finds {found} of them. It needs "
            "a build for GPUs, as tensorflow[and-cuda] is, in the engine's own environment, and a "
            "driver that it fits (nvidia-smi); the named runtimes have a build for CPUs."
        )


def _own_signature(model: Model) -> str:
    """Return the signature that golden rows are of, whichever a job asks; empty: its only one."""
    own = getattr(model, "own_signature", None)
    return str(own()) if callable(own) else ""


def _open_compiled(directory: Path, spec: Mapping[str, Any], given: list[str]) -> Opened:
    """Open what the compiler wrote, in the original's stead: it answers the rows that lie there."""
    # Late: only a version that was compiled has arrays at all.
    from mlengine.runtime.compiled.model import load_compiled, read_about

    form = read_about(directory)
    if form.table is not None:
        return _open_rows(directory, form, spec, given)
    model = load_compiled(directory, signature_name=spec.get("signature_name") or "")
    golden, _notes = rehearse(model, directory, signature_name=form.default)
    shortcut: Shortcut | None = None
    beside = model.beside
    way = f"up to {beside.calls} callers side by side" if beside else "each caller alone"
    own = model.default_signature()
    # Files of pictures are not plain JSON.
    if not any(part.decoding for part in form.parts if part.signature.name == own):
        shortcut, way = open_shortcut(model, [row.instance for row in golden])
    said = model.describe()
    about = {**said, "warnings": [*given, *said["warnings"]], "way": f"{model.about.way}; {way}"}
    return Opened(model, shortcut, about)


def _open_rows(
    directory: Path, form: CompiledForm, spec: Mapping[str, Any], given: list[str]
) -> Opened:
    """Open the arithmetic of a table model; the model itself waits for who needs it."""
    from mlengine.runtime.compiled.rows import open_rows

    original, shortcut = open_rows(directory, form, lambda: load_model(spec))
    if spec.get("explanation"):
        original.model()  # whoever wants an explanation is not to wait for a library
    said = original.describe()
    warnings = [*given, *said["warnings"]]
    return Opened(original, shortcut, {**said, "warnings": warnings, "way": form.way})


def load_model(spec: Mapping[str, Any]) -> Model:
    """Load the model of a specification, or have its routine do so.

    Args:
        spec: ``artifact``, its directory; and, each of which may be missing, ``framework``,
            ``signature_name``, ``artifact_uri``, ``prediction_class``, ``package_uris``, and
            ``version_request``: the version as user code finds it in its environment.

    Raises:
        PredictionError: Class 0, or 4 when the routine is to blame.
    """
    directory = Path(spec["artifact"])
    process.give_thread_pools_locks()  # before any code of the user's
    if spec.get("version_request"):
        os.environ["create_version_request"] = spec["version_request"]  # noqa: SIM112 - its name
    if spec.get("prediction_class"):
        # Late: only a version with a routine pays for finding one.
        from mlengine.runtime import routine

        packages = spec.get("package_uris") or ()
        return routine.load(directory, spec["prediction_class"], packages=packages)
    return load(
        directory,
        framework=spec.get("framework") or "",
        signature_name=spec.get("signature_name") or "",
        where=spec.get("artifact_uri") or "",
    )
