"""Bodies of the other dialects, damaged: each gets an answer, and none is the end of a worker."""

from __future__ import annotations

import json
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlengine.runtime.dialects import Call, answer, tfexamples
from mlengine.runtime.frameworks import Model
from mlengine.runtime.frameworks.signatures import Signature
from mlengine.runtime.frameworks.tensors import TensorSpec
from mlengine.runtime.prediction_error import PredictionError

Json = Any
ODD: list[Json] = [
    None, True, -1, 2**63 - 1, 2**64 - 1, 1.5, 1e308, "", "np", "base64", "é", [], {}, ["np"],
    [[]], [2**63 - 1, 0], [0], {"b64": "aGk="}, {"b64": 1}, [1, [2]],
]  # fmt: skip
TENSOR = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}
SEEDS: list[tuple[str, str, Json]] = [
    ("openinference", "infer", {
        "id": "1", "inputs": [TENSOR], "parameters": {"content_type": "np"},
        "outputs": [{"name": "x", "parameters": {"binary_data": True}}],
    }),
    ("openinference", "infer", {"inputs": [
        {"name": "x", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}},
    ]}),
    ("openinference", "infer", {"inputs": [
        {"name": "x", "datatype": "BYTES", "shape": [1], "data": ["aGk="],
         "parameters": {"content_type": "base64"}},
    ]}),
    ("tfserving", "predict", {"signature_name": "s", "instances": [[1, 2], [3, 4]]}),
    ("tfserving", "predict", {"inputs": {"x": [[1.5, 2], [3, 4]]}}),
    ("tfserving", "predict", {"inputs": [["a", "b"]]}),
    ("tfserving", "classify", {"context": {"a": 1}, "examples": [{"b": [1.5]}]}),
    ("ml_v1", "predict", {"instances": [1]}),
]  # fmt: skip


class _Tensors:
    """Gives back the tensor that it takes."""

    def __init__(self, dtype: str = "float32") -> None:
        self.spec = [TensorSpec("x", dtype, (None, 2))]

    def describe(self) -> dict[str, Any]:
        return {"framework": "ONNX", "inputs": ["x"]}

    def signatures(self) -> dict[str, Signature]:
        return {"s": Signature("s", self.spec, self.spec)}

    def default_signature(self) -> str:
        return "s"

    def run(self, columns: dict[str, Any], *, signature_name: str = "") -> dict[str, Any]:
        return columns

    def predict(self, instances: list[Any], **_kwargs: Any) -> list[Any]:
        return [{"x": row} for row in instances]


class _Rows:
    """A table model."""

    def describe(self) -> dict[str, Any]:
        return {"framework": "SCIKIT_LEARN", "inputs": []}

    def predict(self, instances: list[Any], **_kwargs: Any) -> list[Any]:
        return list(instances)


MODELS = [cast("Model", made) for made in (_Tensors(), _Tensors("string"), _Rows())]


def places(value: Json, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where each value stands in a body, the body itself included."""
    below: list[tuple[Any, Json]] = []
    if isinstance(value, dict | list):
        below = list(value.items() if isinstance(value, dict) else enumerate(value))
    return [path, *(place for key, inner in below for place in places(inner, (*path, key)))]


def damaged(value: Json, path: tuple[Any, ...], odd: Json) -> Json:
    """Return a body in which something odd stands at one place."""
    if not path:
        return odd
    made = value.copy()
    made[path[0]] = damaged(value[path[0]], path[1:], odd)
    return made


@st.composite
def calls(draw: st.DrawFn) -> Call:
    dialect, operation, value = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(1, 3))):
        value = damaged(value, draw(st.sampled_from(places(value))), draw(st.sampled_from(ODD)))
    text = json.dumps(value).encode()
    json_bytes = draw(st.sampled_from([-1, len(text), 0, 1 << 60]))
    tail = draw(st.sampled_from([b"", b"12345678", b"\xff"]))
    return Call(dialect, operation, "m", "v1", "application/json", json_bytes, text + tail)


@given(calls(), st.sampled_from(MODELS))
@settings(max_examples=600, derandomize=True, deadline=None, database=None)
def test_each_is_answered_and_none_by_a_mistake_of_ours(call: Call, model: Model) -> None:
    reply = answer(model, call, max_answer_bytes=1 << 20)
    assert reply.status in (200, 400), (call, reply)


NAMED: dict[str, tuple[str, Json]] = {
    "a datatype that is a list": ("has the datatype []", {"inputs": [{**TENSOR, "datatype": []}]}),
    "a content type that is a list": (
        "content_type ['np']", {"inputs": [TENSOR], "parameters": {"content_type": ["np"]}}),
    "a size beyond all integers": ("has the shape", {"inputs": [
        {"name": "x", "datatype": "FP32", "shape": [2**63 - 1, 0],
         "parameters": {"binary_data_size": 0}}]}),
    "sizes that only a zero makes small": ("has the shape", {"inputs": [
        {"name": "x", "datatype": "FP32", "shape": [1 << 31, 1 << 31, 1 << 31, 0], "data": []}]}),
}  # fmt: skip


@pytest.mark.parametrize("case", NAMED)
def test_what_open_inference_cannot_mean_is_named(case: str) -> None:
    text, body = NAMED[case]
    call = Call("openinference", "infer", body=json.dumps(body).encode())
    reply = answer(MODELS[0], call, max_answer_bytes=1 << 20)
    assert reply.status == 400
    assert text in json.loads(reply.body)["error"]


def test_texts_deeper_than_a_tensor_are_named() -> None:
    body = b'{"inputs": ' + b"[" * 70 + b'"a"' + b"]" * 70 + b"}"
    reply = answer(MODELS[1], Call("tfserving", "predict", body=body), max_answer_bytes=1 << 20)
    assert reply.status == 400
    assert "has 70 dimensions, at most 32 are read" in json.loads(reply.body)["error"]


@pytest.mark.parametrize(("operation", "outputs"), [
    ("classify", {"scores": np.zeros(2)}),
    ("classify", {"scores": np.zeros((2, 3)), "classes": np.zeros((2, 2))}),
    ("classify", {"scores": np.zeros((1, 3))}),
    ("regress", {"outputs": np.zeros((2, 2))}),
    ("regress", {"outputs": np.zeros(())}),
])  # fmt: skip
def test_a_signature_with_outputs_of_another_shape_is_named(
    monkeypatch: pytest.MonkeyPatch, operation: str, outputs: dict[str, Any]
) -> None:
    class Fixed(_Tensors):
        def signatures(self) -> dict[str, Signature]:
            found = [TensorSpec(name, "float32", None) for name in outputs]
            return {"s": Signature("s", [TensorSpec("x", "string", (None,))], found)}

        def run(self, columns: dict[str, Any], *, signature_name: str = "") -> dict[str, Any]:
            return outputs

    monkeypatch.setattr(tfexamples, "_example", lambda *_: b"")
    asked = {"examples": [{}, {}]}
    with pytest.raises(PredictionError, match=r"the outputs have the shapes .* for 2 examples"):
        tfexamples.results(cast("Model", Fixed()), operation, "", asked)


def test_what_nobody_thought_of_is_one_callers_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("deep inside /home/ann/place.py")

    monkeypatch.setattr("mlengine.runtime.dialects._ask", broken)
    reply = answer(MODELS[0], Call("tfserving", "predict"), max_answer_bytes=100)
    assert reply.status == 500
    said = json.loads(reply.body)["error"]
    assert "KeyError: 'deep inside …/place.py'" in said
    assert "Traceback" in capsys.readouterr().err
