"""Fits the classifier, on one replica or on many, by the same steps.

    every batch ──▶ a share for each replica ──▶ gradients, summed over all ──▶ the same update

With one replica the share is the whole batch, so a distributed run computes what a run alone
computes, only faster (Keras' own ``fit`` cannot do this over several machines yet). Which replicas
there are, TensorFlow reads from ``TF_CONFIG``.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

from trainer.model import Columns

__all__ = ["Replicas", "fit", "predict"]

_PREDICT_ROWS = 4096


class Replicas:
    """Who takes part in this run, and which of them this process is.

    Attributes:
        strategy: Build the model in its scope.
        count: How many share the work.
        index: Which of them this is; 0 is the chief, who alone reports and exports.
    """

    def __init__(self) -> None:
        config = json.loads(os.environ.get("TF_CONFIG") or "{}")
        cluster, task = config.get("cluster", {}), config.get("task", {})
        chiefs, workers = (len(cluster.get(role, [])) for role in ("chief", "worker"))
        self.count = max(chiefs + workers, 1)
        self.index = int(task.get("index", 0))
        if task.get("type") == "worker":
            self.index += chiefs
        self.strategy: tf.distribute.Strategy = tf.distribute.get_strategy()
        if self.count > 1:
            self.strategy = tf.distribute.MultiWorkerMirroredStrategy()

    @property
    def chief(self) -> bool:
        return self.index == 0


def fit(
    classifier: keras.Model,
    optimizer: keras.Optimizer,
    columns: Columns,
    targets: np.ndarray,
    *,
    replicas: Replicas,
    batch_size: int,
    epochs: int,
    seed: int,
) -> list[float]:
    """Train; print the mean loss and the rows a second of every epoch, and return the losses.

    Args:
        columns: By name, each of shape ``(rows,)``; the same on every replica.
        targets: 0 or 1, shape ``(rows,)``.
        batch_size: Rows of one update, over all replicas together.
    """
    with replicas.strategy.scope():
        optimizer.build(classifier.trainable_variables)

    def step(batch: Columns, target: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            probability = tf.squeeze(classifier(batch, training=True), -1)
            # A share counts as much as it has rows: the sum over replicas is the batch's mean.
            loss = tf.reduce_sum(_cross_entropy(target, probability)) / rows
        variables = classifier.trainable_variables
        # Dense: what an embedding gives is sparse, and gathering that costs far more than summing.
        gradients = [tf.convert_to_tensor(g) for g in tape.gradient(loss, variables)]
        optimizer.apply(gradients, variables)
        return loss

    @tf.function
    def update(batch: Columns, target: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        # Which rows are whose is settled already, so each process feeds its own share.
        share = replicas.strategy.run(step, (batch, target, rows))
        return replicas.strategy.reduce(tf.distribute.ReduceOp.SUM, share, axis=None)

    losses = []
    for epoch in range(epochs):
        order = np.random.default_rng([seed, epoch]).permutation(len(targets))
        began, total = time.perf_counter(), 0.0
        for rows in _batches(order, batch_size):
            mine = np.array_split(rows, replicas.count)[replicas.index]
            batch = {name: tf.constant(values[mine]) for name, values in columns.items()}
            target = tf.constant(targets[mine])
            loss = update(batch, target, tf.constant(float(len(rows))))
            total += float(loss) * len(rows)
        losses.append(total / len(targets))
        speed = len(targets) / (time.perf_counter() - began)
        print(f"epoch {epoch + 1}/{epochs} loss {losses[-1]:.6f} rows/s {speed:.0f}", flush=True)
    return losses


def predict(classifier: keras.Model, columns: Columns) -> np.ndarray:
    """Return the probability of every row, shape ``(rows,)``; each replica answers for itself."""
    rows = len(next(iter(columns.values())))
    parts = [
        classifier({n: tf.constant(v[part]) for n, v in columns.items()}, training=False).numpy()
        for part in _batches(np.arange(rows), _PREDICT_ROWS)
    ]
    return np.concatenate(parts).squeeze(-1)


def _batches(rows: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _cross_entropy(target: tf.Tensor, probability: tf.Tensor) -> tf.Tensor:
    safe = tf.clip_by_value(probability, 1e-7, 1.0 - 1e-7)
    return -(target * tf.math.log(safe) + (1.0 - target) * tf.math.log(1.0 - safe))
