"""Small data sets as contrib and the TensorFlow tutorials read them."""

from __future__ import annotations

import csv
import gzip
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

__all__ = [
    "DataSet",
    "Dataset",
    "Datasets",
    "load_csv_with_header",
    "load_csv_without_header",
    "load_dataset",
    "load_iris",
    "read_data_sets",
]

__path__: list[str] = []


class Dataset(NamedTuple):
    """Rows and their targets."""

    data: Any
    target: Any


class Datasets(NamedTuple):
    """Three parts of one data set."""

    train: Any
    validation: Any
    test: Any


class DataSet:
    """Images and labels that are handed out in shuffled batches, epoch after epoch."""

    def __init__(
        self,
        images: Any,
        labels: Any,
        dtype: Any = tf.float32,
        reshape: bool = True,
        seed: int | None = None,
        **_: Any,
    ) -> None:
        if reshape:
            images = images.reshape(len(images), -1)
        if tf.as_dtype(dtype) == tf.float32:
            images = images.astype(np.float32) / 255
        self.images, self.labels = images, labels
        self.num_examples = len(images)
        self.epochs_completed = 0
        self._next = 0
        self._random = np.random.RandomState(seed)
        self._order = np.arange(self.num_examples)

    def next_batch(self, batch_size: int, fake_data: bool = False, shuffle: bool = True) -> Any:
        """Return the next images and labels; a batch goes on into the next epoch."""
        if self._next == 0 and self.epochs_completed == 0 and shuffle:
            self._random.shuffle(self._order)
        chosen = list(self._order[self._next : self._next + batch_size])
        self._next += len(chosen)
        while len(chosen) < batch_size:
            self.epochs_completed += 1
            if shuffle:
                self._random.shuffle(self._order)
            self._next = min(batch_size - len(chosen), self.num_examples)
            chosen.extend(self._order[: self._next])
        return self.images[chosen], self.labels[chosen]


def read_data_sets(
    train_dir: str,
    fake_data: bool = False,
    one_hot: bool = False,
    dtype: Any = tf.float32,
    reshape: bool = True,
    validation_size: int = 5000,
    seed: int | None = None,
    source_url: str = "",
) -> Datasets:
    """Read MNIST's four files from a folder; where they are not, have Keras fetch it."""
    parts = _mnist_files(Path(train_dir)) or tf.keras.datasets.mnist.load_data()
    (images, labels), test = [
        (pixels.reshape(-1, 28, 28, 1), np.eye(10)[digits] if one_hot else digits)
        for pixels, digits in parts
    ]
    cut = validation_size
    rest, held = (images[cut:], labels[cut:]), (images[:cut], labels[:cut])
    made = [DataSet(*pair, dtype=dtype, reshape=reshape, seed=seed) for pair in (rest, held, test)]
    return Datasets(*made)


def load_dataset(name: str, size: str = "small", train_with_fake_data: bool = False) -> Any:
    """Load `iris` or `mnist`.

    Raises:
        ValueError: It is another one.
    """
    if name == "iris":
        return load_iris()
    if name == "mnist":
        return read_data_sets("MNIST-data")
    raise ValueError(f"Name of dataset is not found: {name}; the overlay has iris and mnist")


def load_iris(data_path: str | None = None) -> Dataset:
    """Return Fisher's iris."""
    from sklearn import datasets  # present in every runtime that the overlay serves

    return Dataset(*datasets.load_iris(return_X_y=True))


def load_csv_with_header(
    filename: str, target_dtype: Any, features_dtype: Any, target_column: int = -1
) -> Dataset:
    """Read a CSV file whose first line gives the number of rows and of features."""
    with tf.io.gfile.GFile(filename) as file:
        return _table(list(csv.reader(file))[1:], target_dtype, features_dtype, target_column)


def load_csv_without_header(
    filename: str, target_dtype: Any, features_dtype: Any, target_column: int = -1
) -> Dataset:
    """Read a CSV file of rows alone."""
    with tf.io.gfile.GFile(filename) as file:
        return _table(list(csv.reader(file)), target_dtype, features_dtype, target_column)


def _table(rows: list[list[str]], target_type: Any, feature_type: Any, column: int) -> Dataset:
    targets = [row.pop(column) for row in rows]
    return Dataset(np.asarray(rows, dtype=feature_type), np.asarray(targets, dtype=target_type))


def _mnist_files(folder: Path) -> list[tuple[Any, Any]]:
    """Read the idx files of a folder; empty unless all four are there."""
    parts = []
    for kind in ("train", "t10k"):
        images = folder / f"{kind}-images-idx3-ubyte.gz"
        labels = folder / f"{kind}-labels-idx1-ubyte.gz"
        if not (images.exists() and labels.exists()):
            return []
        parts.append((_idx(images, 16), _idx(labels, 8)))
    return parts


def _idx(path: Path, header: int) -> Any:
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=header)


base = mnist = input_data = tutorials = sys.modules[__name__]
"""The modules that these functions were in."""
