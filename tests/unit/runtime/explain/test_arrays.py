"""Models asked with arrays: what their signature tells before anybody asks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mlengine.runtime.explain.metadata import FILE
from mlengine.runtime.explain.methods import open_method
from mlengine.runtime.frameworks.signatures import Signature
from mlengine.runtime.frameworks.tensors import TensorSpec
from mlengine.runtime.golden import save_golden
from mlengine.runtime.prediction_error import PredictionError


class Arrays:
    """A model of one input and these outputs: name, type, shape."""

    def __init__(self, *outputs: tuple[str, str, tuple[int | None, ...] | None]) -> None:
        specs = [TensorSpec(*one) for one in outputs]
        self._signature = Signature("", [TensorSpec("x", "float32", (None, 2))], specs)

    def signatures(self) -> dict[str, Signature]:
        return {"": self._signature}

    def default_signature(self) -> str:
        return ""

    def describe(self) -> dict[str, Any]:
        return {"framework": "test", "inputs": ["x"]}

    def run(self, columns: dict[str, Any], *, signature_name: str = "") -> dict[str, Any]:
        raise AssertionError("nothing was asked")


class Tensors(Arrays):
    """One of TensorFlow's."""

    def tensors(self, inputs: dict[str, Any], *, signature_name: str = "") -> dict[str, Any]:
        raise AssertionError("nothing was asked")


ROWS, MANY = (None,), (None, 3)
TWO = [("mean", "float32", ROWS), ("spread", "bfloat16", MANY)]
FITS = {
    "one output": (Tensors(TWO[0]), ""),
    "one that is named": (Tensors(*TWO), "spread"),
    "scores beside a label": (Tensors(TWO[0], ("label", "int64", ROWS)), ""),
    "a named label": (Tensors(TWO[0], ("label", "int64", ROWS)), "label"),
    "an output that may have no row for each instance": (Tensors(*TWO, ("k", "float32", ())), ""),
    "an output of any shape": (Tensors(*TWO, ("k", "float32", None)), ""),
    "maps of ONNX, which are told as texts": (Arrays(("p", "string", ROWS)), "p"),
}
REFUSED = {
    "several": (Tensors(*TWO), "", "several outputs: mean, spread. Name one in 'outputs'"),
    "several of ONNX": (Arrays(*TWO), "", "several outputs: mean, spread"),
    "several labels": (Arrays(("a", "int64", ROWS), ("b", "bool", ROWS)), "", "outputs: a, b"),
    "no number": (Tensors(("p", "string", ROWS)), "", "predictions are no numbers"),
    "a text that is named": (Tensors(TWO[0], ("p", "string", ROWS)), "p", "no numbers as 'p'"),
}


def opened(folder: Path, model: Arrays, output: str) -> None:
    outputs: dict[str, Any] = {output: {}} if output else {}
    (folder / FILE).write_text(json.dumps({"outputs": outputs}))
    names = ["sampled-shapley"] + ["integrated-gradients"] * isinstance(model, Tensors)
    for name in names:
        open_method(model, name, 5, folder)  # type: ignore[arg-type]


@pytest.mark.parametrize(("model", "output"), FITS.values(), ids=FITS)
def test_what_may_be_explained_is_opened(tmp_path: Path, model: Arrays, output: str) -> None:
    opened(tmp_path, model, output)


@pytest.mark.parametrize(("model", "output", "problem"), REFUSED.values(), ids=REFUSED)
def test_outputs_that_cannot_be_chosen_from_are_refused_at_once(
    tmp_path: Path, model: Arrays, output: str, problem: str
) -> None:
    with pytest.raises(PredictionError, match=problem) as caught:
        opened(tmp_path, model, output)
    assert caught.value.error_class.code == 0


@pytest.mark.parametrize("method", ["sampled-shapley", "integrated-gradients"])
def test_a_golden_row_is_tried_by_either_method(tmp_path: Path, method: str) -> None:
    save_golden(tmp_path, [[0.5, 1.5]], [2.0])
    with pytest.raises(PredictionError, match=r"golden row 1 cannot be .*: nothing was asked"):
        open_method(Tensors(TWO[0]), method, 5, tmp_path)  # type: ignore[arg-type]
