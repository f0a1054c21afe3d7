"""Which way a version is explained, chosen by its name."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mlengine.runtime.explain.arrays import ArraySubject, Differentiable
from mlengine.runtime.explain.by_gradients import explain_by_gradients
from mlengine.runtime.explain.by_shapley import explain_by_shapley, rehearse_by_shapley
from mlengine.runtime.explain.calls import Pace, Steps, in_groups
from mlengine.runtime.explain.metadata import read_metadata
from mlengine.runtime.explain.outputs import NoNumbers
from mlengine.runtime.explain.queue import Method
from mlengine.runtime.explain.rows import RowSubject
from mlengine.runtime.explain.subject import Subject
from mlengine.runtime.frameworks import Model
from mlengine.runtime.frameworks.signatures import TensorModel
from mlengine.runtime.instances import RequestError
from mlengine.runtime.prediction_error import ErrorClass, PredictionError, load_error
from mlengine.runtime.rehearsal import GoldenRow, read_rows
from mlengine.runtime.routine import RoutineModel

__all__ = ["open_method"]

_MOST_TRIED = 8
"""Golden rows that are tried: a model may be slow, and rows of more forms are seldom."""

_WITHOUT_KEYS = (
    "Golden rows are asked without keys, so requests that have the right ones may be explained."
)


def open_method(model: Model, name: str, steps: int, directory: Path) -> Method:
    """Open the method of this name for a model.

    Args:
        model: As loaded.
        name: ``sampled-shapley`` or ``integrated-gradients``.
        steps: Its paths, or its points.
        directory: The model's, where metadata and golden rows may lie.

    Raises:
        PredictionError: Class 0: the method does not fit the model, or its metadata do not, or no
            golden row can be explained. A routine that takes keys may answer with numbers for some
            of these only, and golden rows have none: that is a warning in the version's log.
    """
    metadata = read_metadata(directory)
    rows = read_rows(directory)
    golden = [row.instance for row in rows]
    if name == "integrated-gradients":
        if not isinstance(model, Differentiable):
            raise load_error(
                "Integrated gradients need a TensorFlow or Keras model, and this one is of "
                f"{model.describe()['framework']}. Use sampledShapleyAttribution."
            )
        smooth = ArraySubject(model, metadata, golden, gradients=True)
        _rehearse(rows, lambda one: explain_by_gradients(smooth, [one], 1, Pace(1)))

        def by_gradients(instances: list[Any], keys: dict[str, Any], pace: Pace) -> Steps:
            _refuse(keys)
            return in_groups(instances, lambda few: explain_by_gradients(smooth, few, steps, pace))

        return by_gradients
    if name != "sampled-shapley":
        raise load_error(f"The explanation method {name!r} is not known.")
    subject: ArraySubject | RowSubject
    if isinstance(model, TensorModel):
        subject = ArraySubject(model, metadata, golden)
    else:
        subject = RowSubject(model, metadata, golden)
    try:
        _rehearse(rows, lambda one: rehearse_by_shapley(_for_a_request(subject, {}), one, steps))
    except NoNumbers as error:
        if not (isinstance(model, RoutineModel) and model.takes_keys):
            raise
        print(f"WARNING: {error.detail}. {_WITHOUT_KEYS}", file=sys.stderr)

    def by_shapley(instances: list[Any], keys: dict[str, Any], pace: Pace) -> Steps:
        if not isinstance(model, RoutineModel):
            _refuse(keys)
            keys = {}
        asked = _for_a_request(subject, keys)
        return in_groups(instances, lambda few: explain_by_shapley(asked, few, steps, pace))

    return by_shapley


def _for_a_request(subject: ArraySubject | RowSubject, keys: dict[str, Any]) -> Subject:
    return subject.asked_with(keys) if isinstance(subject, RowSubject) else subject


def _rehearse(rows: Sequence[GoldenRow], explain: Callable[[Any], Steps]) -> None:
    """Try to explain a golden row; one will do, for not all need be of one form.

    Raises:
        NoNumbers: None can be explained, and the first because the model gives no numbers.
        PredictionError: Class 0: none can be explained; as the first would be refused.
    """
    refused: PredictionError | None = None
    for row in rows[:_MOST_TRIED]:
        try:
            for _call in explain(row.instance):
                pass
        except PredictionError as error:
            text = f"golden row {row.line} cannot be explained: {error.detail}"
            kind = NoNumbers if isinstance(error, NoNumbers) else PredictionError
            refused = refused or kind(ErrorClass.LOAD, text)
        else:
            return
    if refused:
        raise refused


def _refuse(keys: dict[str, Any]) -> None:
    """Refuse what a request says beside its instances: only a routine takes keys of its own."""
    if unknown := sorted(set(keys) - {"signature_name"}):
        raise RequestError(
            f'The request has the unknown key "{unknown[0]}"; an explanation takes "instances".'
        )
    if keys.get("signature_name"):
        raise RequestError('Explanations are of the default signature: leave out "signature_name".')
