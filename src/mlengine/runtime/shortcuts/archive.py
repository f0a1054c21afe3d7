"""Files of plain numbers: arrays as numpy keeps them, and what is said of them, as JSON."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["read_archive", "write_archive"]

_ABOUT = "about"


def write_archive(file: Path, about: Any, arrays: Mapping[str, np.ndarray]) -> None:
    """Keep arrays, and a JSON-able value about them; no array is called ``about``."""
    members = {**arrays, _ABOUT: np.frombuffer(json.dumps(about).encode(), np.uint8)}
    # As `numpy.savez` does, which older releases cannot be told to refuse objects.
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in members.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as out:
                np.lib.format.write_array(out, np.asanyarray(array), allow_pickle=False)


def read_archive(file: Path) -> tuple[Any, dict[str, np.ndarray]]:
    """Return what `write_archive` has kept.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no such archive.
    """
    try:
        with np.load(file, allow_pickle=False) as kept:
            arrays = {name: kept[name] for name in kept.files}
        return json.loads(arrays.pop(_ABOUT).tobytes()), arrays
    except FileNotFoundError:
        raise
    except Exception as error:  # of a damaged archive anything may be raised
        raise ValueError(f"no archive of numbers: {error!r}") from error
