"""`tf.contrib.saved_model`: a Keras model as a SavedModel, and back."""

from __future__ import annotations

import json
from typing import Any

import tensorflow as tf

from . import names_from

__all__ = [
    "export_saved_model",
    "load_from_saved_model",
    "load_keras_model",
    "save_keras_model",
]

__path__: list[str] = []
__getattr__ = names_from("saved_model", "tensorflow.compat.v1.saved_model")

v1 = tf.compat.v1

DESCRIPTION = "assets.extra/keras.json"
"""In an export: the model's configuration, and its variables in the order of its weights."""


def export_saved_model(
    model: Any,
    saved_model_path: str,
    custom_objects: Any = None,
    as_text: bool | None = None,
    input_signature: Any = None,
    serving_only: bool = False,
) -> None:
    """Export a sequential or functional Keras model, as it predicts, into this folder.

    Raises:
        ValueError: `input_signature` was given, for which there is no graph to change.
    """
    if input_signature is not None:
        raise ValueError("export_saved_model(input_signature=) is not in the TensorFlow 1 overlay")
    values = model.get_weights()
    with tf.Graph().as_default(), v1.Session() as session:
        v1.keras.backend.set_learning_phase(0)
        clone = type(model).from_config(model.get_config(), custom_objects=custom_objects)
        clone.set_weights(values)
        _write(session, clone, saved_model_path, bool(as_text))
        names = [variable.op.name for variable in clone.weights]
    description = f"{saved_model_path}/{DESCRIPTION}"
    tf.io.gfile.makedirs(description.rpartition("/")[0])
    with tf.io.gfile.GFile(description, "w") as file:
        json.dump({"model": model.to_json(), "weights": names}, file)


def load_from_saved_model(saved_model_path: str | bytes, custom_objects: Any = None) -> Any:
    """Load a Keras model that was exported by this module.

    Raises:
        ValueError: Another program exported it.
    """
    path = saved_model_path.decode() if isinstance(saved_model_path, bytes) else saved_model_path
    if not tf.io.gfile.exists(f"{path}/{DESCRIPTION}"):
        raise ValueError(f"{path} has no {DESCRIPTION}: it was not exported by the TensorFlow 1 "
                         f"overlay. Load it by tf.saved_model.loader")  # fmt: skip
    with tf.io.gfile.GFile(f"{path}/{DESCRIPTION}") as file:
        described = json.load(file)
    reader = tf.train.load_checkpoint(f"{path}/variables/variables")
    model = v1.keras.models.model_from_json(described["model"], custom_objects=custom_objects)
    model.set_weights([reader.get_tensor(name) for name in described["weights"]])
    return model


save_keras_model = export_saved_model
load_keras_model = load_from_saved_model


def _write(session: Any, model: Any, folder: str, as_text: bool) -> None:
    inputs = dict(zip(model.input_names, model.inputs))
    outputs = dict(zip(model.output_names, model.outputs))
    builder = v1.saved_model.Builder(folder)
    builder.add_meta_graph_and_variables(
        session,
        [v1.saved_model.tag_constants.SERVING],
        signature_def_map={
            "serving_default": v1.saved_model.predict_signature_def(inputs, outputs)
        },
        main_op=v1.tables_initializer(),
        strip_default_attrs=True,
    )
    builder.save(as_text)
