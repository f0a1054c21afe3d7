"""`tf.contrib.lookup`: tables of words and numbers."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow.python.ops import lookup_ops

from . import names_from

__all__ = [
    "HashTable",
    "MutableHashTable",
    "index_table_from_tensor",
    "index_to_string_table_from_tensor",
    "string_to_index_table_from_file",
    "string_to_index_table_from_tensor",
]

__path__: list[str] = []
__getattr__ = names_from("lookup", "tensorflow.python.ops.lookup_ops")

MutableHashTable = tf.lookup.experimental.MutableHashTable


class HashTable(lookup_ops.StaticHashTableV1):
    """A table that is filled once; `init` fills it."""

    def __init__(
        self, initializer: Any, default_value: Any, shared_name: Any = None, name: Any = None
    ) -> None:
        super().__init__(initializer, default_value, name or shared_name)

    @property
    def init(self) -> Any:
        """Return the operation that fills the table."""
        return self.initializer


def index_table_from_tensor(
    mapping: Any,
    num_oov_buckets: int = 0,
    default_value: int = -1,
    hasher_spec: Any = lookup_ops.FastHashSpec,
    dtype: Any = tf.string,
    name: str | None = None,
) -> Any:
    """Return a table from each value of `mapping` to its place in it."""
    return lookup_ops.index_table_from_tensor(
        mapping, num_oov_buckets, default_value, hasher_spec, dtype, name
    )


def index_to_string_table_from_tensor(
    mapping: Any, default_value: str = "UNK", name: str | None = None
) -> Any:
    """Return a table from a place in `mapping` to the word there."""
    return lookup_ops.index_to_string_table_from_tensor(mapping, default_value, name)


def string_to_index_table_from_file(
    vocabulary_file: str | None = None, *options: Any, **named: Any
) -> Any:
    """Return a table from each line of a file to its number."""
    return lookup_ops.index_table_from_file(vocabulary_file, *options, **named)


string_to_index_table_from_tensor = index_table_from_tensor
