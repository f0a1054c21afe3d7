"""Which version of a library saved a model, as far as its files tell."""

from __future__ import annotations

import contextlib
import json
import mmap
import re
from pathlib import Path

from mlengine.runtime.golden import LIBRARIES_FILE

__all__ = ["saved_by"]

# What every scikit-learn estimator pickles of itself, in all protocols: its key, then its value.
_SKLEARN_MARK = re.compile(
    rb"_sklearn_version[^.]{1,10}?(\d+\.\d+(?:\.\d+)?(?:(?:rc|\.dev|\.post)\d+)?)", re.DOTALL
)


def saved_by(pickle: Path, library: str = "sklearn") -> str:
    """Return the version of a library that a pickled model was saved by; empty if unknown.

    What its trainer noted beside the model goes before what the pickle says itself.

    Args:
        pickle: Its file.
        library: The name that it is imported by; only scikit-learn's pickles say it themselves.
    """
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        noted = json.loads((pickle.parent / LIBRARIES_FILE).read_text())
        return str(noted["libraries"][library])
    if library != "sklearn":
        return ""
    with contextlib.suppress(OSError, ValueError), pickle.open("rb") as file:  # it may be empty
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            found = _SKLEARN_MARK.search(data)
            return found[1].decode("ascii", "replace") if found else ""
    return ""
