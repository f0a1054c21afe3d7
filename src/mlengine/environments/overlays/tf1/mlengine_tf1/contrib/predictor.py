"""`tf.contrib.predictor`: a SavedModel or an estimator's latest checkpoint as a function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from . import names_from

__all__ = ["Predictor", "from_estimator", "from_saved_model"]

__path__: list[str] = []
__getattr__ = names_from("predictor")

v1 = tf.compat.v1
DEFAULT = "serving_default"


class Predictor:
    """A session with tensors to feed and to fetch by name."""

    def __init__(
        self, session: Any, feed_tensors: Mapping[str, Any], fetch_tensors: Mapping[str, Any]
    ) -> None:
        self.session = session
        self.graph = session.graph
        self.feed_tensors = dict(feed_tensors)
        self.fetch_tensors = dict(fetch_tensors)

    def __call__(self, input_dict: Mapping[str, Any]) -> dict[str, Any]:
        unknown = sorted(set(input_dict) - set(self.feed_tensors))
        if unknown:
            raise ValueError(
                f"Got unexpected keys in input_dict: {unknown}; "
                f"expected: {sorted(self.feed_tensors)}"
            )
        feed = {self.feed_tensors[name]: value for name, value in input_dict.items()}
        outputs: dict[str, Any] = self.session.run(self.fetch_tensors, feed_dict=feed)
        return outputs


def from_saved_model(
    export_dir: str,
    signature_def_key: str | None = None,
    signature_def: Any = None,
    input_names: Mapping[str, str] | None = None,
    output_names: Mapping[str, str] | None = None,
    tags: str | Sequence[str] | None = None,
    graph: Any = None,
    config: Any = None,
) -> Predictor:
    """Load a SavedModel and return it as a function of a dictionary."""
    wanted = tags.split(",") if isinstance(tags, str) else tags or ["serve"]
    with (graph or tf.Graph()).as_default():
        session = v1.Session(config=config)
        loaded = v1.saved_model.load(session, wanted, str(export_dir))
        signature = signature_def or loaded.signature_def[signature_def_key or DEFAULT]
        feeds = input_names or {key: info.name for key, info in signature.inputs.items()}
        fetches = output_names or {key: info.name for key, info in signature.outputs.items()}
        tensor = session.graph.get_tensor_by_name
        return Predictor(
            session,
            {key: tensor(name) for key, name in feeds.items()},
            {key: tensor(name) for key, name in fetches.items()},
        )


def from_estimator(
    estimator: Any,
    serving_input_receiver_fn: Callable[[], Any],
    output_key: str | None = None,
    graph: Any = None,
    config: Any = None,
) -> Predictor:
    """Return the predictions of an estimator's latest checkpoint as a function."""
    with (graph or tf.Graph()).as_default():
        receiver = serving_input_receiver_fn()
        spec = estimator._call_model_fn(receiver.features, None, "infer", estimator.config)
        session = v1.Session(config=config)
        session.run(v1.tables_initializer())
        v1.train.Saver().restore(session, estimator.latest_checkpoint())
        fetches = _outputs(spec.export_outputs[output_key]) if output_key else spec.predictions
        return Predictor(session, receiver.receiver_tensors, fetches)


def _outputs(output: Any) -> Mapping[str, Any]:
    """Return the named tensors of an exported output, whichever kind it is."""
    if hasattr(output, "outputs"):
        found: Mapping[str, Any] = output.outputs
        return found
    named = {"classes": output.classes, "scores": output.scores}
    return {name: tensor for name, tensor in named.items() if tensor is not None}
