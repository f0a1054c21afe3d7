"""TensorFlow SavedModels, asked through their signatures."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mlengine.runtime.frameworks import Description, Model, library
from mlengine.runtime.frameworks.signatures import Signature, TensorModel
from mlengine.runtime.frameworks.tensors import TensorSpec, in_batches, is_raw_text
from mlengine.runtime.prediction_error import input_error, load_error, run_error

__all__ = ["SavedModel", "brief", "load"]

_DEFAULT_SIGNATURE = "serving_default"
# Where a node was made, which is where its model was loaded: a heading, indented frames with empty
# lines between them, in version 1's words the node's name after them. Then which nodes failed.
_OF_THE_GRAPH = re.compile(
    r"^[ \t]*(?:Detected at .*(?:\n(?:[ \t].*)?)*|<stack traces.*|Node: .*|\[\[.*)", re.MULTILINE
)


def load(directory: Path, *, signature_name: str = "") -> Model:
    """Load the ``serve`` graph of a SavedModel, its custom ops first.

    Raises:
        PredictionError: Class 0: no TensorFlow, unreadable, or nothing to call in it.
    """
    with library("tensorflow"):
        import tensorflow as tf
    try:
        for ops in sorted((directory / "assets.extra").glob("*.so")):
            tf.load_op_library(str(ops))
        loaded = tf.saved_model.load(str(directory), tags=["serve"])
    except MemoryError:
        raise
    except BaseException as error:
        raise load_error(f"The SavedModel cannot be read: {brief(error)}") from error
    if not getattr(loaded, "signatures", None):
        raise load_error("MetaGraph must have at least one signature_def.")
    return SavedModel(loaded, default_signature=signature_name)


class SavedModel:
    """A loaded SavedModel; each of its signatures is a function of named tensors."""

    def __init__(self, loaded: Any, *, default_signature: str = "") -> None:
        self._loaded = loaded  # owns the variables that the signatures read
        self._signatures = dict(loaded.signatures.items())
        self._inputs = {key: _inputs_of(f) for key, f in self._signatures.items()}
        self._default = default_signature
        if default_signature and default_signature not in self._signatures:
            raise load_error(self._unknown(default_signature))

    def predict(
        self, instances: list[Any], /, *, signature_name: Any = None, **kwargs: Any
    ) -> list[Any]:
        if kwargs:
            raise input_error(
                f"The request has the unknown key {sorted(kwargs)[0]!r}; a TensorFlow model takes "
                '"instances" and "signature_name".'
            )
        key = self._choose(signature_name)
        return in_batches(
            instances, self._inputs[key], lambda columns: self.run(columns, signature_name=key)
        )

    def tensors(self, inputs: dict[str, Any], *, signature_name: str = "") -> dict[str, Any]:
        """Return what a signature makes of tensors, as tensors: a gradient tape sees it."""
        outputs: dict[str, Any] = self._signatures[signature_name or self.default_signature()](
            **inputs
        )
        return outputs

    def run(self, columns: dict[str, Any], *, signature_name: str = "") -> dict[str, Any]:
        import tensorflow as tf

        inputs = {name: tf.constant(column) for name, column in columns.items()}
        try:
            outputs = self.tensors(inputs, signature_name=signature_name)
        except tf.errors.OpError as error:
            raise run_error(brief(error)) from error
        # Outputs come in the order of a hash; people read tables, so give them one order.
        return {name: outputs[name].numpy() for name in sorted(outputs)}

    def signatures(self) -> dict[str, Signature]:
        return {
            key: Signature(key, self._inputs[key], _outputs_of(signature))
            for key, signature in self._signatures.items()
        }

    def functions(self) -> dict[str, Any]:
        """Return the concrete function of each signature, by its name."""
        return dict(self._signatures)

    def describe(self) -> Description:
        import tensorflow as tf

        inputs = self._inputs.get(self.default_signature(), [])
        return {
            "framework": "TENSORFLOW",
            "library_version": str(tf.__version__),
            "inputs": [spec.name for spec in inputs],
            "raw_text": is_raw_text(inputs),
            "warnings": [],
        }

    def default_signature(self) -> str:
        return self._default or self.own_signature() or _DEFAULT_SIGNATURE

    def own_signature(self) -> str:
        """Return the default where none was chosen at loading; empty: the model has none."""
        only = next(iter(self._signatures)) if len(self._signatures) == 1 else _DEFAULT_SIGNATURE
        return only if only in self._signatures else ""

    def _choose(self, asked: Any) -> str:
        key = asked or self.default_signature()
        if not isinstance(key, str) or key not in self._signatures:
            raise input_error(self._unknown(key))
        return key

    def _unknown(self, key: Any) -> str:
        return (
            f"No signature found for signature key {key}. "
            f"The model has: {', '.join(sorted(self._signatures))}."
        )


def _inputs_of(signature: Any) -> list[TensorSpec]:
    _, named = signature.structured_input_signature
    return _specs(named)


def _outputs_of(signature: Any) -> list[TensorSpec]:
    return _specs(signature.structured_outputs)


def _specs(named: dict[str, Any]) -> list[TensorSpec]:
    return [
        TensorSpec(
            name,
            spec.dtype.name,
            None if spec.shape.rank is None else tuple(spec.shape.as_list()),
        )
        for name, spec in sorted(named.items())
    ]


def brief(error: BaseException) -> str:
    """Return TensorFlow's message without the graph's own stack, which says nothing to a caller."""
    text = str(getattr(error, "message", error)).split("\n\nCaused by op")[0]
    lines = [line.strip() for line in _OF_THE_GRAPH.sub("", text).splitlines() if line.strip()]
    return " ".join(lines).removeprefix("Graph execution error:").strip() or type(error).__name__


_: type[Model] = SavedModel
_tensors: type[TensorModel] = SavedModel
