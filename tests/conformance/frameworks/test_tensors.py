"""Every framework answers tensors as it answers rows."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from mlengine.runtime.frameworks import Model, load
from mlengine.runtime.frameworks.signatures import OUTPUT, run, signature_of
from mlengine.runtime.prediction_error import ErrorClass, PredictionError


@pytest.fixture(scope="module")
def model(case: Any) -> Model:
    return load(case.directory, framework=case.framework)


def _name(model: Model) -> str:
    (spec,) = signature_of(model).inputs
    return spec.name


def _rows(outputs: dict[str, np.ndarray]) -> list[Any]:
    """Turn named outputs back into what `Model.predict` returns."""
    lists = {name: [_json(item) for item in array.tolist()] for name, array in outputs.items()}
    if list(lists) == [OUTPUT]:
        return lists[OUTPUT]
    return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]


def _json(item: Any) -> Any:
    return json.loads(item) if isinstance(item, bytes) else item


def test_tensors_give_the_frameworks_own_answers(case: Any, model: Model, rows: Any) -> None:
    assert case.same(_rows(run(model, {_name(model): np.array(rows)})))


def test_the_outputs_are_those_that_were_announced(model: Model, rows: Any) -> None:
    outputs = run(model, {_name(model): np.array(rows, dtype=np.float32)})
    announced = {spec.name: spec for spec in signature_of(model).outputs}
    assert set(outputs) == set(announced)
    for name, array in outputs.items():
        spec = announced[name]
        assert ("string" if array.dtype == object else array.dtype.name) == spec.dtype
        assert spec.shape is None or array.ndim == len(spec.shape)


@pytest.mark.parametrize(
    "array",
    [np.ones((2, 3)), np.ones((2, 5)), np.ones(()), np.ones((1, 2, 4))],
    ids=["narrow", "wide", "no dimension", "a dimension more"],
)
def test_what_does_not_fit_is_the_callers_error(
    case: Any, model: Model, rows: Any, array: np.ndarray
) -> None:
    with pytest.raises(PredictionError) as caught:
        run(model, {_name(model): array})
    assert caught.value.error_class is ErrorClass.INPUTS, str(caught.value)
    assert case.same(_rows(run(model, {_name(model): np.array(rows)})))


def test_a_tensor_of_another_name_is_refused_where_the_model_has_names(
    model: Model, rows: Any
) -> None:
    arrays = {_name(model): np.array(rows), "colour": np.ones(len(rows))}
    with pytest.raises(PredictionError) as caught:
        run(model, arrays)
    assert caught.value.error_class is ErrorClass.INPUTS
