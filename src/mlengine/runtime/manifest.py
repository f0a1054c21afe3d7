"""What a version's model consisted of when it was deployed, and whether it still does.

    models/<uid>/artifact/       the model directory
                 manifest.json   {"digest": …, "source": …, "files": [[name, bytes, sha256], …],
                                  "packages": …}

Whoever loads the model reads each of its files once before, so that a disk that forgets and a hand
that changes are named, and nobody gets predictions of half of one model and half of another. What
was read lies in memory when the model is loaded.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from mlengine.runtime.prediction_error import PredictionError, load_error

__all__ = ["check_files", "manifest_of"]

_CHUNK_BYTES = 1 << 20


def manifest_of(directory: Path) -> Path:
    """Return where the manifest of a model directory lies, whether there is one or not."""
    return directory.parent / "manifest.json"


def check_files(directory: Path) -> None:
    """Compare a deployed model with its manifest; a directory without one is nobody's version.

    Files beyond those are not looked at: the compiler's, or what a model's code has left behind.

    Raises:
        PredictionError: Class 0: a file is missing or holds something else.
    """
    manifest = manifest_of(directory)
    if not manifest.is_file():
        return
    try:
        said = json.loads(manifest.read_bytes())
        rows = {name: (size, digest) for name, size, digest in said["files"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _changed(f"{manifest.name} cannot be read: {error}") from None
    if "packages" not in said:
        return  # of an engine that wrote packages among the files
    for name, expected in sorted(rows.items()):
        try:
            found = _facts(directory / name, most=expected[0])
        except OSError as error:
            raise _changed(f"'{name}' cannot be read: {error.strerror}") from None
        if found != expected:
            raise _changed(f"'{name}' has other contents than were deployed")


def _facts(path: Path, *, most: int) -> tuple[int, str]:
    """Return size and digest of a file; of one that is too long, as far as is needed to tell."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while size <= most and (chunk := file.read(_CHUNK_BYTES)):
            digest.update(chunk)
            size += len(chunk)
    return size, digest.hexdigest()


def _changed(what: str) -> PredictionError:
    return load_error(
        f"The engine's copy of this version's model has changed: {what}. "
        "Check the disk, and create the version again"
    )
