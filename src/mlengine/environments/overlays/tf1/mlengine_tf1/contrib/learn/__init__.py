"""`tf.contrib.learn`: experiments and estimators of 2017, carried by `tf.estimator`.

What trainers call is here under the names and with the arguments that they use; underneath, the
estimators are those of `tf.estimator`, so checkpoints, events and exports are of its making. An
argument that cannot be honoured is refused by name.
"""

from __future__ import annotations

import sys

import tensorflow as tf

from .. import names_from
from . import (
    datasets,
    experiment,
    input_fn_utils,
    learn_runner,
    metric_spec,
    model_fn,
    monitors,
    preprocessing,
    run_config,
    saved_model_export_utils,
)
from .estimator import SKCompat, infer_real_valued_columns_from_input
from .experiment import Experiment
from .input_fn_utils import (
    InputFnOps,
    build_default_serving_input_fn,
    build_parsing_serving_input_fn,
)
from .metric_spec import MetricSpec, PredictionKey
from .model_fn import ModeKeys, ModelFnOps
from .run_config import RunConfig
from .saved_model_export_utils import make_export_strategy

__all__ = [
    "Experiment",
    "InputFnOps",
    "MetricSpec",
    "ModeKeys",
    "ModelFnOps",
    "PredictionKey",
    "RunConfig",
    "SKCompat",
    "build_default_serving_input_fn",
    "build_parsing_serving_input_fn",
    "datasets",
    "experiment",
    "infer_real_valued_columns_from_input",
    "input_fn_utils",
    "learn_runner",
    "make_export_strategy",
    "metric_spec",
    "model_fn",
    "monitors",
    "preprocessing",
    "run_config",
    "saved_model_export_utils",
]

__getattr__ = names_from(
    "learn",
    f"{__name__}.estimator",
    f"{__name__}.canned",
    f"{__name__}.monitors",
    f"{__name__}.datasets",
    "tensorflow.compat.v1.train",
)

python = learn = utils = estimators = io = learn_io = sys.modules[__name__]
"""The folders that these files were in: their names lead to the same things."""

TaskType = run_config.TaskType
numpy_input_fn = tf.compat.v1.estimator.inputs.numpy_input_fn
pandas_input_fn = tf.compat.v1.estimator.inputs.pandas_input_fn
