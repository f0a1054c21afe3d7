"""Files of plain numbers: arrays as numpy keeps them, and what is said of them, as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["read_archive", "write_archive"]

_ABOUT = "about"


def write_archive(file: Path, about: Any, arrays: Mapping[str, np.ndarray]) -> None:
    """Keep arrays, and a JSON-able value about them; no array is called ``about``."""
    said = {_ABOUT: np.frombuffer(json.dumps(about).encode(), np.uint8)}
    with file.open("wb") as out:
        np.savez(out, allow_pickle=False, **arrays, **said)


def read_archive(file: Path) -> tuple[Any, dict[str, np.ndarray]]:
    """Return what `write_archive` has kept.

    Raises:
        OSError: There is no such file.
        ValueError: It is no such archive.
    """
    try:
        with np.load(file, allow_pickle=False) as kept:
            arrays = {name: kept[name] for name in kept.files}
        return json.loads(arrays.pop(_ABOUT).tobytes()), arrays
    except OSError:
        raise
    except Exception as error:  # of a damaged archive anything may be raised
        raise ValueError(f"no archive of numbers: {error!r}") from error
