"""Keras 3 models in one ``.keras`` file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mlengine.runtime.frameworks import Description, Model, library
from mlengine.runtime.frameworks.signatures import Signature, TensorModel
from mlengine.runtime.frameworks.tensors import TensorSpec, in_batches, is_raw_text
from mlengine.runtime.prediction_error import input_error, load_error, run_error

__all__ = ["KerasModel", "load"]


def load(path: Path) -> Model:
    """Load a ``.keras`` file in safe mode: a Lambda layer, which is code, is refused.

    Raises:
        PredictionError: Class 0: no Keras, unreadable, unsafe, or not built.
    """
    with library("tensorflow"):
        os.environ.setdefault("KERAS_BACKEND", "tensorflow")
        import keras
    try:
        model = keras.saving.load_model(str(path), compile=False, safe_mode=True)
    except MemoryError:
        raise
    except BaseException as error:
        text = str(error)
        remedy = (
            " Layers that hold Python code are not loaded; write the layer as a class of the "
            "trainer package."
            if "safe_mode" in text or "Lambda" in text
            else ""
        )
        raise load_error(f"{path.name} cannot be read as a Keras model: {text}{remedy}") from error
    if not getattr(model, "inputs", None):
        raise load_error(f"{path.name} holds a Keras model that was never built: it has no inputs.")
    return KerasModel(model)


class KerasModel:
    """A built model; inputs and outputs go by the names of its layers."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._inputs = [
            TensorSpec(tensor.name, str(tensor.dtype), tuple(tensor.shape))
            for tensor in model.inputs
        ]
        self._feed = _feeder(model, [spec.name for spec in self._inputs])

    def predict(self, instances: list[Any], /, **kwargs: Any) -> list[Any]:
        kwargs.pop("signature_name", None)  # a .keras file has no signatures
        if kwargs:
            raise input_error(f"The request has the unknown key {sorted(kwargs)[0]!r}.")
        return in_batches(instances, self._inputs, self.run)

    def describe(self) -> Description:
        import keras

        return {
            "framework": "TENSORFLOW",
            "library_version": f"keras {keras.__version__}",
            "inputs": [spec.name for spec in self._inputs],
            "raw_text": is_raw_text(self._inputs),
            "warnings": [],
        }

    def signatures(self) -> dict[str, Signature]:
        named = _named(_outputs(self._model), _output_names(self._model))
        outputs = [
            TensorSpec(name, str(tensor.dtype), tuple(tensor.shape))
            for name, tensor in named.items()
        ]
        return {"": Signature("", self._inputs, outputs)}

    def default_signature(self) -> str:
        return ""

    def run(self, columns: dict[str, Any], *, signature_name: str = "") -> dict[str, Any]:
        try:
            # Unlike model.predict(), this neither batches anew nor writes a progress bar.
            outputs = self._model.predict_on_batch(self._feed(columns))
        except (ValueError, TypeError, RuntimeError) as error:
            raise run_error(f"Exception during Keras prediction: {error}") from error
        return _named(outputs, _output_names(self._model))

    def tensors(self, inputs: dict[str, Any], *, signature_name: str = "") -> dict[str, Any]:
        """Return what the model makes of tensors, as tensors: a gradient tape sees it."""
        outputs = self._model(self._feed(inputs), training=False)
        return _named(outputs, _output_names(self._model))

    def function(self) -> Any:
        """Return the model as one concrete function, of its inputs in the order of their names."""
        import tensorflow as tf

        specs = sorted(self._inputs, key=lambda spec: spec.name)

        @tf.function(input_signature=[tf.TensorSpec(s.shape, s.dtype) for s in specs])  # type: ignore[untyped-decorator]
        def call(*columns: Any) -> dict[str, Any]:
            named = {spec.name: column for spec, column in zip(specs, columns, strict=True)}
            return self.tensors(named)

        return call.get_concrete_function()


def _feeder(model: Any, names: list[str]) -> Any:
    """Return how this model wants its inputs: as an object, a list, or the one tensor."""
    struct = getattr(model, "_inputs_struct", None)
    if isinstance(struct, dict):
        # The keys of the struct are what the model reads; tensors may have other names.
        by_tensor = {key: tensor.name for key, tensor in struct.items()}
        return lambda columns: {key: _tensor(columns[name]) for key, name in by_tensor.items()}
    if len(names) == 1:
        return lambda columns: _tensor(columns[names[0]])
    return lambda columns: [_tensor(columns[name]) for name in names]


def _tensor(column: Any) -> Any:
    if column.dtype != object:
        return column
    import tensorflow as tf

    return tf.constant(column)


def _outputs(model: Any) -> Any:
    """Return the symbolic outputs in the form that `predict_on_batch` gives the real ones."""
    struct = getattr(model, "_outputs_struct", None)
    if isinstance(struct, dict) or len(model.outputs) > 1:
        return struct if isinstance(struct, dict) else list(model.outputs)
    return model.outputs[0]


def _output_names(model: Any) -> list[str]:
    names = getattr(model, "output_names", None)
    if names:
        return list(names)
    layers = getattr(model, "layers", [])
    return [layers[-1].name] if layers else ["output"]


def _named(outputs: Any, names: list[str]) -> dict[str, Any]:
    if isinstance(outputs, dict):
        return dict(outputs)
    if not isinstance(outputs, list | tuple):
        return {names[0]: outputs}
    if len(names) != len(outputs):
        names = [f"output_{index}" for index in range(len(outputs))]
    return dict(zip(names, outputs, strict=True))


_: type[Model] = KerasModel
_tensors: type[TensorModel] = KerasModel
