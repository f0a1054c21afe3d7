"""TensorFlow Serving's REST API: rows and columns, classify, regress, metadata.

    {"instances": [row, …]}            → {"predictions": [row, …]}
    {"inputs": tensor or {name: …}}    → {"outputs": tensor or {name: …}}
    {"examples": [{feature: …}, …]}    → {"results": […]}

Where a model has one output, its values stand bare, as there; with several, under their names.
"""

from __future__ import annotations

from typing import Any

from mlengine.runtime.answers import plain
from mlengine.runtime.dialects import Call, CallError, Reply
from mlengine.runtime.frameworks import Model, ask
from mlengine.runtime.frameworks.signatures import (
    OUTPUT,
    Signature,
    TensorModel,
    run,
    signature_of,
    signatures_of,
)
from mlengine.runtime.instances import kind_of
from mlengine.runtime.prediction_error import output_error
from mlengine.runtime.strictjson import StrictJsonError, dumps, loads

__all__ = ["answer"]

_KEYS = {
    "predict": {"signature_name", "instances", "inputs"},
    "classify": {"signature_name", "context", "examples"},
    "regress": {"signature_name", "context", "examples"},
}
_TYPES = {
    "float32": "DT_FLOAT", "float64": "DT_DOUBLE", "float16": "DT_HALF", "bfloat16": "DT_BFLOAT16",
    "string": "DT_STRING", "bool": "DT_BOOL",
}  # fmt: skip


def answer(model: Model, call: Call) -> Reply:
    """Answer one request.

    Raises:
        CallError: The body is none of the API.
        PredictionError: As `ask`.
    """
    if call.operation == "metadata":
        return _json(_metadata(model, call))
    asked = _read(call)
    name = asked.get("signature_name") or ""
    if not isinstance(name, str):
        raise CallError(f'"signature_name" is {kind_of(name)}, expected a string')
    if call.operation != "predict":
        from mlengine.runtime.dialects import tfexamples

        return _json({"results": tfexamples.results(model, call.operation, name, asked)})
    if ("instances" in asked) == ("inputs" in asked):
        raise CallError('the request needs "instances" (rows) or "inputs" (columns), one of them')
    if "instances" in asked:
        return _json({"predictions": _rows(model, name, asked["instances"])})
    return _json({"outputs": _columns(model, name, asked["inputs"])})


def _read(call: Call) -> dict[str, Any]:
    try:
        asked = loads(bytes(call.body))
    except StrictJsonError as error:
        raise CallError(f"JSON Parse error: {error}") from None
    if not isinstance(asked, dict):
        raise CallError(f"the request is {kind_of(asked)}, expected an object")
    if unknown := sorted(set(asked) - _KEYS[call.operation]):
        raise CallError(f"the request has the unknown key {unknown[0]!r}")
    return asked


def _rows(model: Model, name: str, instances: Any) -> list[Any]:
    if not isinstance(instances, list) or not instances:
        raise CallError(f'"instances" is {kind_of(instances)}, expected a list of at least one')
    predictions = ask(model, instances, {"signature_name": name} if name else {})
    if isinstance(model, TensorModel) and len(predictions[0]) == 1:
        return [next(iter(row.values())) for row in predictions]
    return predictions


def _columns(model: Model, name: str, inputs: Any) -> Any:
    from mlengine.runtime.dialects import nested

    signature = signature_of(model, name)
    specs = {spec.name: spec for spec in signature.inputs}
    if isinstance(inputs, dict) and set(inputs) != {"b64"}:
        named = inputs
    else:
        if len(specs) > 1:
            raise CallError(f'the model has the inputs {list(specs)}: "inputs" must name them')
        named = {next(iter(specs), "inputs"): inputs}
    arrays = {key: nested.read(value, key, specs.get(key)) for key, value in named.items()}
    outputs = run(model, arrays, name)
    written = {key: nested.write(array, key) for key, array in outputs.items()}
    return next(iter(written.values())) if len(written) == 1 else written


def _json(value: Any) -> Reply:
    try:
        return Reply(200, dumps(plain(value)))
    except StrictJsonError as error:
        raise output_error(str(error)) from None


def _metadata(model: Model, call: Call) -> dict[str, Any]:
    signatures = signatures_of(model)
    described = {key or "serving_default": _describe(found) for key, found in signatures.items()}
    return {
        "model_spec": {"name": call.model, "signature_name": "", "version": call.version},
        "metadata": {"signature_def": {"signature_def": described}},
    }


def _describe(signature: Signature) -> dict[str, Any]:
    key = signature.name or "serving_default"
    return {
        "inputs": {s.name: _tensor(s, f"{key}_{s.name}:0") for s in signature.inputs},
        "outputs": {s.name: _tensor(s, f"{s.name or OUTPUT}:0") for s in signature.outputs},
        "method_name": "tensorflow/serving/predict",
    }


def _tensor(spec: Any, name: str) -> dict[str, Any]:
    dims = [{"size": str(-1 if n is None else n), "name": ""} for n in spec.shape or ()]
    return {
        "dtype": _TYPES.get(spec.dtype, f"DT_{spec.dtype.upper()}"),
        "tensor_shape": {"dim": dims, "unknown_rank": spec.shape is None},
        "name": name,
    }
