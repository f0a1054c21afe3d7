"""Which versions the gateway may answer by itself; how it does: `gateway.desk`."""

from __future__ import annotations

import contextlib
import os

from mlengine.prediction.scaling.fleet import NodeSpec
from mlengine.runtime.compiled import FOLDER, is_numbers

__all__ = ["desk_of"]


def desk_of(spec: NodeSpec) -> str:
    """Return the folder that the gateway may answer a version from; empty: there is none.

    Its model was compiled to plain numbers. Who asked for company in a call, or for less of it, or
    for GPUs, has workers in mind.
    """
    if spec.wants is not None or spec.max_batch_size or spec.batch_deadline_ms or spec.gpus:
        return ""
    folder = spec.artifact / FOLDER
    with contextlib.suppress(OSError):
        return str(folder) if is_numbers(os.listdir(folder)) else ""  # noqa: PTH208
    return ""
