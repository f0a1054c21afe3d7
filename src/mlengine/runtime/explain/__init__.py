"""Why a model said so: each feature's share in the distance of a score from that of a baseline.

    request ─▶ queue ─▶ by_shapley | by_gradients ─▶ calls ─▶ rows | arrays ─▶ the model
                         │            └── gradients, way  where, and how much each point counts
                         └── shapley  which rows to ask for, and what their scores mean

Explanations wait in a queue of their own and advance by one call of the model whenever the worker
has answered the predictions that are due (`queue`). What the model calls its inputs, what they are
set back to, and which output is meant, ``explanation_metadata.json`` may say (`metadata`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlengine.runtime.explain.queue import Explanations, Method
from mlengine.runtime.frameworks import Model

__all__ = ["Explanations", "Method", "open_explanations"]

_DEFAULT_MAX_ROWS = 1024
_DEFAULT_TIMEOUT_S = 60.0


def open_explanations(
    model: Model, spec: Mapping[str, Any], *, max_answer_bytes: int
) -> Explanations:
    """Make ready to explain the model of a specification.

    Args:
        model: As loaded.
        spec: A worker's; ``explanation`` is ``{"method", "steps", "timeout_s"}``, or missing.
        max_answer_bytes: Longest body of an answer.

    Raises:
        PredictionError: Class 0: the method does not fit the model, or its metadata do not.
    """
    said = spec.get("explanation") or {}
    if not said:
        return Explanations(None, max_answer_bytes=max_answer_bytes)
    from mlengine.runtime.explain.methods import open_method

    method = open_method(model, said["method"], int(said["steps"]), Path(spec["artifact"]))
    return Explanations(
        method,
        max_rows=spec.get("max_batch_size") or _DEFAULT_MAX_ROWS,
        timeout_s=float(said.get("timeout_s") or _DEFAULT_TIMEOUT_S),
        max_answer_bytes=max_answer_bytes,
    )
