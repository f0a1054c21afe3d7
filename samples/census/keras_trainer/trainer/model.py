"""A wide-and-deep classifier that takes raw census columns.

    columns ──▶ encoder ──▶ wide: one weight for each word, bucket and cross ──┐
    (words,     (learnt     deep: embeddings and scaled numbers, 100-70-50-25 ─┴──▶ probability
     numbers)   from data)

The wide part remembers which combinations earn well, the deep part generalises to those it
has not met (Cheng et al., "Wide & Deep Learning for Recommender Systems", 2016,
arXiv:1606.07792). The encoder has nothing to train, so it runs once over the data before
training, and travels inside the exported model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from trainer.data import COLUMNS, LABELS, NUMERIC

__all__ = ["Columns", "Network", "build", "export"]

# `fnlwgt` says how many people the row stands for in the survey, nothing about the person:
# it is accepted in a row, and not looked at.
_UNUSED = "fnlwgt"
_WORDS = tuple(name for name in COLUMNS if name not in NUMERIC)
_NUMBERS = tuple(name for name in NUMERIC if name != _UNUSED)
# Most people have none of these, a few have very much.
_LONG_TAILED = ("capital_gain", "capital_loss")
_BUCKETS = {
    "age": [18, 25, 30, 35, 40, 45, 50, 55, 60, 65],
    "hours_per_week": [20, 35, 40, 41, 50, 60],
    "capital_gain": [1, 3_000, 5_000, 7_000, 10_000],
    "capital_loss": [1, 1_500, 1_800, 2_000, 2_300],
}
_CROSSES = (
    ("education", "occupation"),
    ("relationship", "occupation"),
    ("marital_status", "education"),
    ("age", "education"),
    ("age", "relationship"),
    ("native_country", "occupation"),
)
_CROSS_BINS = 1_000
_EMBEDDING_WIDTH = 8

Columns = Mapping[str, np.ndarray]


class Network(NamedTuple):
    """The two halves of the model.

    Attributes:
        encoder: Raw columns, by name, each of shape ``(rows,)``, to integer codes and
            scaled numbers, by name.
        classifier: What the encoder gives, to the probability of the higher income,
            shape ``(rows, 1)``.
    """

    encoder: keras.Model
    classifier: keras.Model


def build(columns: Columns, *, hidden_units: Sequence[int], dropout: float) -> Network:
    """Learn words and scales from the training columns; return the untrained network."""
    encoder, sizes = _build_encoder(columns)
    return Network(encoder, _build_classifier(sizes, hidden_units, dropout=dropout))


def export(network: Network, directory: Path) -> None:
    """Write a SavedModel whose ``serving_default`` takes raw columns by name.

    Inputs: every column of a census row, shape ``(None,)``, float32 or string; space around
    a word is ignored, a word never seen in training is one of its own. Outputs:
    ``probability`` (float32, of the higher income) and ``label`` (string).
    """

    def serve(**columns: tf.Tensor) -> dict[str, tf.Tensor]:
        used = {name: columns[name] for name in (*_WORDS, *_NUMBERS)}
        for name in _WORDS:
            used[name] = tf.strings.strip(used[name])
        probability = tf.squeeze(network.classifier(network.encoder(used)), axis=-1)
        label = tf.where(probability > 0.5, LABELS[1], LABELS[0])
        return {"probability": probability, "label": label}

    signature = {
        name: tf.TensorSpec([None], tf.float32 if name in NUMERIC else tf.string, name=name)
        for name in COLUMNS
    }
    # A module of its own, so that everything the function touches is tracked and saved.
    module = tf.Module()
    module.network = list(network)
    module.serve = tf.function(serve).get_concrete_function(**signature)
    tf.saved_model.save(module, str(directory), signatures={"serving_default": module.serve})


def _build_encoder(columns: Columns) -> tuple[keras.Model, dict[str, int]]:
    """Return the encoder, and how many codes each of its integer outputs can take."""
    inputs = {name: keras.Input((), name=name, dtype="string") for name in _WORDS}
    inputs |= {name: keras.Input((), name=name, dtype="float32") for name in _NUMBERS}
    outputs: dict[str, keras.KerasTensor] = {}
    sizes: dict[str, int] = {}
    for name in _WORDS:
        # Sorted, so that the order of the rows changes no code.
        lookup = keras.layers.StringLookup(vocabulary=np.unique(columns[name]))
        outputs[name], sizes[name] = lookup(inputs[name]), lookup.vocabulary_size()
    known = {name: _filled(inputs[name], columns[name]) for name in _NUMBERS}
    for name, number in known.items():
        outputs[name] = _scaled(number, columns[name], long_tailed=name in _LONG_TAILED)
    for name, bounds in _BUCKETS.items():
        bucket = f"{name}_bucket"
        outputs[bucket] = keras.layers.Discretization(bin_boundaries=bounds)(known[name])
        sizes[bucket] = len(bounds) + 1
    for pair in _CROSSES:
        cross = "_x_".join(pair)
        codes = [outputs[f"{name}_bucket" if name in _BUCKETS else name] for name in pair]
        outputs[cross] = keras.layers.HashedCrossing(_CROSS_BINS)(codes)
        sizes[cross] = _CROSS_BINS
    return keras.Model(inputs, outputs, name="encoder"), sizes


def _filled(number: keras.KerasTensor, values: np.ndarray) -> keras.KerasTensor:
    """Put what most people have in the place of a missing number."""
    return keras.ops.where(keras.ops.isnan(number), float(np.nanmedian(values)), number)


def _scaled(
    number: keras.KerasTensor, values: np.ndarray, *, long_tailed: bool
) -> keras.KerasTensor:
    """Scale to mean 0 and deviation 1."""
    known = values[~np.isnan(values)]
    if long_tailed:
        known, number = np.log1p(known), keras.ops.log1p(number)
    # A column of one value has no deviation to divide by; any positive number will do.
    variance = float(known.var()) or 1.0
    scale = keras.layers.Normalization(axis=None, mean=float(known.mean()), variance=variance)
    return scale(number)


def _build_classifier(
    sizes: Mapping[str, int], hidden_units: Sequence[int], *, dropout: float
) -> keras.Model:
    codes = {name: keras.Input((), name=name, dtype="int64") for name in sizes}
    numbers = {name: keras.Input((), name=name, dtype="float32") for name in _NUMBERS}

    wide = keras.layers.Add(name="wide")(
        [
            keras.layers.Embedding(sizes[name], 1, embeddings_initializer="zeros")(code)
            for name, code in codes.items()
        ]
    )
    deep = keras.layers.Concatenate()(
        [keras.layers.Embedding(sizes[name], _EMBEDDING_WIDTH)(codes[name]) for name in _WORDS]
        + [keras.ops.expand_dims(number, -1) for number in numbers.values()]
    )
    for units in hidden_units:
        deep = keras.layers.Dense(units, activation="relu")(deep)
        deep = keras.layers.Dropout(dropout)(deep)
    deep = keras.layers.Dense(1, name="deep")(deep)
    probability = keras.layers.Activation("sigmoid", name="probability")(wide + deep)
    return keras.Model(codes | numbers, probability, name="wide_and_deep")
