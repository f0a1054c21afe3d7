"""The straight way from a baseline to an instance, and a TensorFlow model's gradients along it."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlengine.runtime.explain.arrays import ArrayCase, ArraySubject, Differentiable
from mlengine.runtime.prediction_error import PredictionError, output_error, run_error

__all__ = ["Way", "gradients"]


class Way:
    """One way, and what was added up along it.

    Args:
        subject: Whose inputs are explained.
        case: Where it ends.
        baseline: Number of the baseline where it begins.
    """

    def __init__(self, subject: ArraySubject, case: ArrayCase, baseline: int) -> None:
        self._case = case
        names = [one.tensor for one in subject.inputs]
        self._begins = {name: case.baseline(name, baseline).astype(float) for name in names}
        self._lengths = {name: case.values[name] - self._begins[name] for name in names}
        self._totals = {name: np.zeros(case.values[name].shape) for name in names}

    def arrays(self, where: np.ndarray) -> dict[str, np.ndarray]:
        """Return the rows that stand at these points, 0 … 1."""
        made = self._case.held(len(where))
        for name, begin in self._begins.items():
            share = where.reshape(-1, *[1] * begin.ndim)
            made[name] = (begin + share * self._lengths[name]).astype(self._case.values[name].dtype)
        return made

    def take(self, gradients: dict[str, np.ndarray], weights: np.ndarray) -> None:
        """Add the gradients at some points, each with its weight."""
        for name, total in self._totals.items():
            total += np.tensordot(weights, gradients[name].astype(float), axes=1)

    def values(self) -> np.ndarray:
        """Return what each element of the explained inputs has added to the score.

        Raises:
            PredictionError: Class 3: a gradient was not finite.
        """
        parts = [np.ravel(self._lengths[name] * total) for name, total in self._totals.items()]
        values = np.concatenate(parts)
        if not np.isfinite(values).all():
            raise output_error("a gradient is NaN or infinite, which JSON cannot carry")
        return values


def gradients(
    subject: ArraySubject, arrays: dict[str, np.ndarray], output: str, labels: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the gradient of each row's score for its label, for each explained input.

    Args:
        subject: Its model is `Differentiable`.
        arrays: Every input.
        output: The output whose score is meant.
        labels: One column of the output for each row.

    Raises:
        PredictionError: Class 2: the model fails, or has no gradient at all.
    """
    import tensorflow as tf

    model, explained = subject.model, [one.tensor for one in subject.inputs]
    assert isinstance(model, Differentiable)
    inputs: dict[str, Any] = {name: tf.constant(array) for name, array in arrays.items()}
    try:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            for name in explained:
                tape.watch(inputs[name])
            outputs = model.tensors(inputs, signature_name=subject.signature.name)
            scores = tf.reshape(outputs[output], [len(labels), -1])
            picked = tf.gather(scores, labels, axis=1, batch_dims=1)
        found = tape.gradient(picked, [inputs[name] for name in explained])
    except (PredictionError, MemoryError):
        raise
    except Exception as error:  # an operation without a gradient says so with a LookupError
        raise run_error(f"no gradient can be taken: {error}") from error
    if all(one is None for one in found):
        raise run_error(
            f"the output {output!r} has no gradient with respect to {', '.join(explained)}; "
            "use sampledShapleyAttribution"
        )
    return {
        # An input that the score does not read has none, which is a gradient of zero.
        name: np.zeros_like(arrays[name]) if one is None else np.asarray(tf.convert_to_tensor(one))
        for name, one in zip(explained, found, strict=True)
    }
