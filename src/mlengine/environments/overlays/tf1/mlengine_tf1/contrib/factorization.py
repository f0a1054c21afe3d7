"""`tf.contrib.factorization`: clustering; its matrix factorization needs kernels that are gone."""

from __future__ import annotations

import tensorflow as tf

from . import names_from

__all__ = ["KMeansClustering"]

__path__: list[str] = []
__getattr__ = names_from("factorization")

KMeansClustering = tf.compat.v1.estimator.experimental.KMeans
