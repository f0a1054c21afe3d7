"""What a worker and a batch job do with a model before its first row: load, rehearse, look for a
direct way. Both do the same, so that a file is answered as its rows would be online.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mlengine.runtime.frameworks import Model, load
from mlengine.runtime.rehearsal import rehearse
from mlengine.runtime.shortcuts import Shortcut, open_shortcut

__all__ = ["Opened", "open_model"]


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
    """Open the model of a specification: ``artifact``, ``framework``, ``signature_name``,
    ``artifact_uri``; all but the first may be missing.

    Raises:
        PredictionError: Class 0: it cannot be loaded, or a golden row comes out otherwise.
    """
    directory = Path(spec["artifact"])
    model = load(
        directory,
        framework=spec.get("framework") or "",
        signature_name=spec.get("signature_name") or "",
        where=spec.get("artifact_uri") or "",
    )
    golden, notes = rehearse(model, directory)
    shortcut, way = open_shortcut(model, [row.instance for row in golden])
    said = model.describe()
    return Opened(model, shortcut, {**said, "warnings": [*said["warnings"], *notes], "way": way})
