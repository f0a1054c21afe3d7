"""Integers of JSON reach an integer tensor to the last digit, or are refused."""

from __future__ import annotations

import json
from typing import Any, cast

import numpy as np
import pytest

from mlengine.runtime.dialects import Call, nested, openinference
from mlengine.runtime.frameworks import Model
from mlengine.runtime.frameworks.signatures import Signature
from mlengine.runtime.frameworks.tensors import TensorSpec, columns
from mlengine.runtime.prediction_error import PredictionError

BIG = 2**53 + 1  # the first integer that no float holds


def _by_rows(values: list[Any], spec: TensorSpec) -> np.ndarray:
    return columns(values, [spec])[spec.name]


def _by_column(values: list[Any], spec: TensorSpec) -> np.ndarray:
    return nested.read(values, spec.name, spec)


@pytest.mark.parametrize("read", [_by_rows, _by_column])
@pytest.mark.parametrize(("dtype", "values"), [
    ("int64", [1.0, -2]), ("int32", [[1.0], [2.0]]), ("int64", [BIG, 3.0]),
    ("int64", [[-BIG, 1.0], [2, 3]]), ("int64", [float(2**62), -1]), ("uint64", [1, 2**63 + 1]),
    ("uint64", [2**64 - 1, 1.0]),
])  # fmt: skip
def test_whole_numbers_are_what_they_were(read: Any, dtype: str, values: list[Any]) -> None:
    found = read(values, TensorSpec("x", dtype, None))
    assert found.dtype.kind in "iu"
    assert found.tolist() == values


@pytest.mark.parametrize("read", [_by_rows, _by_column])
@pytest.mark.parametrize(("dtype", "values"), [
    ("int64", [1e19]), ("int64", [-1, 2**63]), ("int64", [-1e19, 1]), ("uint64", [-1, 2**63]),
    ("uint64", [1e20]),
])  # fmt: skip
def test_what_has_no_place_is_refused(read: Any, dtype: str, values: list[Any]) -> None:
    with pytest.raises(PredictionError, match=f"'x' has an integer that {dtype} cannot hold"):
        read(values, TensorSpec("x", dtype, None))


class _Echo:
    """Gives back the tensor that it takes."""

    def describe(self) -> dict[str, Any]:
        return {"framework": "ONNX"}

    def signatures(self) -> dict[str, Signature]:
        spec = [TensorSpec("x", "uint64", (None,))]
        return {"s": Signature("s", spec, spec)}

    def default_signature(self) -> str:
        return "s"

    def run(self, columns: dict[str, Any], *, signature_name: str = "") -> dict[str, Any]:
        return columns


@pytest.mark.parametrize("data", [[1, 2**63 + 1], [1, 2**64 - 1], [2**63 - 1, 2**63]])
def test_open_inference_keeps_every_digit(data: list[int]) -> None:
    tensor = {"name": "x", "datatype": "UINT64", "shape": [2], "data": data}
    call = Call("openinference", "infer", body=json.dumps({"inputs": [tensor]}).encode())
    said = openinference.answer(cast("Model", _Echo()), call)
    assert json.loads(said.body)["outputs"][0]["data"] == data


@pytest.mark.parametrize(("datatype", "data"), [
    ("UINT64", [-1, 1]), ("INT64", [-1, 2**63]), ("UINT8", [256, 0]),
    ("UINT8", [-1, 0]),
])  # fmt: skip
def test_open_inference_refuses_what_has_no_place(datatype: str, data: list[int]) -> None:
    tensor = {"name": "x", "datatype": datatype, "shape": [2], "data": data}
    call = Call("openinference", "infer", body=json.dumps({"inputs": [tensor]}).encode())
    with pytest.raises(PredictionError, match=f"number that {datatype} cannot hold"):
        openinference.answer(cast("Model", _Echo()), call)
