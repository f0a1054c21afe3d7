"""`tf.contrib.layers`: its feature columns over `tf.feature_column`, all else from tf-slim."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import tensorflow as tf

from . import names_from

__all__ = [
    "bucketized_column",
    "create_feature_spec_for_parsing",
    "crossed_column",
    "embedding_column",
    "input_from_feature_columns",
    "one_hot_column",
    "real_valued_column",
    "shared_embedding_columns",
    "sparse_column_with_hash_bucket",
    "sparse_column_with_integerized_feature",
    "sparse_column_with_keys",
    "sparse_column_with_vocabulary_file",
    "weighted_sparse_column",
    "weighted_sum_from_feature_columns",
]

__path__: list[str] = []
__getattr__ = names_from("layers", "tf_slim.layers", "tf_slim")

columns = tf.compat.v1.feature_column


def real_valued_column(
    column_name: str,
    dimension: int = 1,
    default_value: Any = None,
    dtype: Any = tf.float32,
    normalizer: Callable[[Any], Any] | None = None,
) -> Any:
    """Make a numeric column of `dimension` values."""
    return columns.numeric_column(
        column_name,
        shape=(dimension,),
        default_value=default_value,
        dtype=dtype,
        normalizer_fn=normalizer,
    )


def sparse_column_with_keys(
    column_name: str,
    keys: Sequence[Any],
    default_value: int = -1,
    combiner: str | None = "sum",
    dtype: Any = None,
) -> Any:
    """Make a categorical column of known values."""
    return columns.categorical_column_with_vocabulary_list(
        column_name, list(keys), dtype=dtype, default_value=default_value
    )


def sparse_column_with_hash_bucket(
    column_name: str, hash_bucket_size: int, combiner: str = "sum", dtype: Any = tf.string
) -> Any:
    """Make a categorical column of hashed values."""
    return columns.categorical_column_with_hash_bucket(column_name, hash_bucket_size, dtype=dtype)


def sparse_column_with_integerized_feature(
    column_name: str, bucket_size: int, combiner: str = "sum", dtype: Any = tf.int64
) -> Any:
    """Make a categorical column of ids below `bucket_size`."""
    return columns.categorical_column_with_identity(column_name, bucket_size)


def sparse_column_with_vocabulary_file(
    column_name: str,
    vocabulary_file: str,
    num_oov_buckets: int = 0,
    vocab_size: int | None = None,
    default_value: int = -1,
    combiner: str = "sum",
    dtype: Any = tf.string,
) -> Any:
    """Make a categorical column of the values in a file, one a line."""
    return columns.categorical_column_with_vocabulary_file(
        column_name,
        vocabulary_file,
        vocabulary_size=vocab_size,
        num_oov_buckets=num_oov_buckets,
        default_value=None if num_oov_buckets else default_value,
        dtype=dtype,
    )


def weighted_sparse_column(
    sparse_id_column: Any, weight_column_name: str, dtype: Any = tf.float32
) -> Any:
    """Give each value of a categorical column a weight from another feature."""
    return columns.weighted_categorical_column(sparse_id_column, weight_column_name, dtype=dtype)


def one_hot_column(sparse_id_column: Any) -> Any:
    """Make a categorical column dense, one unit a value."""
    return columns.indicator_column(sparse_id_column)


def embedding_column(
    sparse_id_column: Any,
    dimension: int,
    combiner: str = "mean",
    initializer: Any = None,
    ckpt_to_load_from: str | None = None,
    tensor_name_in_ckpt: str | None = None,
    max_norm: float | None = None,
    trainable: bool = True,
) -> Any:
    """Make a categorical column dense by a trained embedding."""
    return columns.embedding_column(
        sparse_id_column,
        dimension,
        combiner=combiner or "mean",
        initializer=initializer,
        ckpt_to_load_from=ckpt_to_load_from,
        tensor_name_in_ckpt=tensor_name_in_ckpt,
        max_norm=max_norm,
        trainable=trainable,
    )


def shared_embedding_columns(
    sparse_id_columns: Sequence[Any], dimension: int, combiner: str = "mean", **options: Any
) -> Any:
    """Make several categorical columns dense by one trained embedding."""
    return columns.shared_embedding_columns(
        list(sparse_id_columns), dimension, combiner=combiner, **options
    )


def bucketized_column(source_column: Any, boundaries: Iterable[float]) -> Any:
    """Cut a numeric column at these boundaries, which may come as any iterable."""
    return columns.bucketized_column(source_column, sorted({float(edge) for edge in boundaries}))


def crossed_column(
    columns: Iterable[Any],
    hash_bucket_size: int,
    combiner: str = "sum",
    ckpt_to_load_from: str | None = None,
    tensor_name_in_ckpt: str | None = None,
    hash_key: int | None = None,
) -> Any:
    """Cross categorical columns, a hashed one by its own value, as the newer columns want."""
    crossed: list[Any] = []
    for column in columns:
        if hasattr(column, "hash_bucket_size") and hasattr(column, "keys"):
            crossed.extend(column.keys)  # a cross of a cross is a cross of all
        else:
            crossed.append(column.key if hasattr(column, "hash_bucket_size") else column)
    return tf.compat.v1.feature_column.crossed_column(crossed, hash_bucket_size, hash_key=hash_key)


def create_feature_spec_for_parsing(feature_columns: Iterable[Any]) -> Any:
    """Return the specification by which `tf.parse_example` reads these columns."""
    return columns.make_parse_example_spec(list(feature_columns))


def input_from_feature_columns(
    columns_to_tensors: dict[str, Any],
    feature_columns: Iterable[Any],
    weight_collections: Any = None,
    trainable: bool = True,
    scope: str | None = None,
) -> Any:
    """Return the dense tensor of these columns, the first layer of a network."""
    with tf.compat.v1.variable_scope(scope, "input_from_feature_columns"):
        return columns.input_layer(
            columns_to_tensors, list(feature_columns), weight_collections, trainable
        )


def weighted_sum_from_feature_columns(
    columns_to_tensors: dict[str, Any],
    feature_columns: Iterable[Any],
    num_outputs: int,
    weight_collections: Any = None,
    trainable: bool = True,
    scope: str | None = None,
) -> tuple[Any, None, None]:
    """Return the linear combination of these columns; its variables are in their collections.

    The two further values that contrib returned are None here.
    """
    with tf.compat.v1.variable_scope(scope, "weighted_sum_from_feature_columns"):
        combined = columns.linear_model(
            columns_to_tensors,
            list(feature_columns),
            units=num_outputs,
            weight_collections=weight_collections,
            trainable=trainable,
        )
    return combined, None, None
