"""Census columns, how they are read, and the canned wide-and-deep Estimator over them.

Runs unchanged on TensorFlow 1.15 (Python 3.7) and on 2.15, the last that has Estimators.
"""

import tensorflow as tf

__all__ = ["build", "read", "serving_input"]

COLUMNS = [
    "age", "workclass", "fnlwgt", "education", "education_num", "marital_status", "occupation",
    "relationship", "race", "sex", "capital_gain", "capital_loss", "hours_per_week",
    "native_country", "income",
]  # fmt: skip
NUMBERS = ["age", "education_num", "capital_gain", "capital_loss", "hours_per_week"]
WORDS = {"workclass": 100, "education": 100, "marital_status": 100, "occupation": 100,
         "relationship": 100, "race": 100, "sex": 10, "native_country": 200}  # fmt: skip
AGES = [18, 25, 30, 35, 40, 45, 50, 55, 60, 65]
LABEL = "income"


def read(paths, batch_size, num_epochs=None, shuffle=True):
    """Return a dataset of (columns by name, label): CSV lines as UCI writes them, gzipped or not.

    Args:
        num_epochs: How often the rows are passed; None is for ever.
    """
    lines = tf.data.Dataset.from_tensor_slices(paths).interleave(_lines, cycle_length=1)
    if shuffle:
        lines = lines.shuffle(10000, seed=1)
    return lines.repeat(num_epochs).batch(batch_size).map(_parse).prefetch(2)


def _lines(path):
    zipped = tf.strings.regex_full_match(path, ".*[.]gz")
    compression = tf.where(zipped, "GZIP", "")
    lines = tf.data.TextLineDataset(path, compression_type=compression)
    # UCI's own test file begins with a comment; every file ends with an empty line.
    return lines.filter(lambda line: tf.strings.regex_full_match(line, "[^|].*,.*"))


def _parse(lines):
    lines = tf.strings.regex_replace(lines, ", *", ",")
    defaults = [[0.0] if c in NUMBERS or c == "fnlwgt" else [""] for c in COLUMNS]
    columns = dict(zip(COLUMNS, tf.io.decode_csv(lines, defaults)))
    label = tf.strings.regex_full_match(columns.pop(LABEL), ">50K[.]?")
    del columns["fnlwgt"]  # how many people the row stands for: nothing about the person
    return columns, tf.cast(label, tf.int32)


def build(config, hidden_units, seed):
    """Return the Estimator: linear over words and crosses, dense over embeddings and numbers."""
    column = tf.feature_column
    # Capital gains reach 99,999: as they are, one such row would undo what the others taught.
    numbers = [column.numeric_column(name, normalizer_fn=tf.math.log1p) for name in NUMBERS]
    words = [
        column.categorical_column_with_hash_bucket(name, size) for name, size in WORDS.items()
    ]
    ages = column.bucketized_column(column.numeric_column("age"), AGES)
    crosses = [
        column.crossed_column(["education", "occupation"], 10000),
        column.crossed_column(["native_country", "occupation"], 10000),
        column.crossed_column([ages, "education", "occupation"], 10000),
    ]
    deep = numbers + [column.embedding_column(word, 8) for word in words]
    return tf.estimator.DNNLinearCombinedClassifier(
        config=config.replace(tf_random_seed=seed),
        linear_feature_columns=words + crosses + [ages],
        dnn_feature_columns=deep,
        dnn_hidden_units=hidden_units,
    )


def serving_input():
    """Return what a request carries: the columns by name."""
    inputs = {
        name: tf.compat.v1.placeholder(tf.float32 if name in NUMBERS else tf.string, [None], name)
        for name in NUMBERS + list(WORDS)
    }
    columns = dict(inputs)
    return tf.estimator.export.ServingInputReceiver(columns, inputs)
