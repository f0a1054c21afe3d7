"""Wide & deep on the census table, with the canned estimator."""
from __future__ import absolute_import
from __future__ import division
from __future__ import print_function

import multiprocessing

import six
import tensorflow as tf

CSV_COLUMNS = ['age', 'workclass', 'fnlwgt', 'education', 'education_num',
               'marital_status', 'occupation', 'relationship', 'race', 'gender',
               'capital_gain', 'capital_loss', 'hours_per_week',
               'native_country', 'income_bracket']
CSV_COLUMN_DEFAULTS = [[0], [''], [0], [''], [0], [''], [''], [''], [''], [''],
                       [0], [0], [0], [''], ['']]
LABEL_COLUMN = 'income_bracket'
LABELS = [' <=50K', ' >50K']

INPUT_COLUMNS = [
    tf.feature_column.categorical_column_with_vocabulary_list(
        'gender', [' Female', ' Male']),
    tf.feature_column.categorical_column_with_hash_bucket(
        'occupation', hash_bucket_size=100, dtype=tf.string),
    tf.feature_column.categorical_column_with_hash_bucket(
        'education', hash_bucket_size=50, dtype=tf.string),
    tf.feature_column.categorical_column_with_hash_bucket(
        'marital_status', hash_bucket_size=20, dtype=tf.string),
    tf.feature_column.numeric_column('age'),
    tf.feature_column.numeric_column('education_num'),
    tf.feature_column.numeric_column('capital_gain'),
    tf.feature_column.numeric_column('hours_per_week'),
]
UNUSED_COLUMNS = set(CSV_COLUMNS) - {col.name for col in INPUT_COLUMNS} - {LABEL_COLUMN}


def build_estimator(config, embedding_size=8, hidden_units=None):
  (gender, occupation, education, marital, age, education_num, gain,
   hours) = INPUT_COLUMNS
  age_buckets = tf.feature_column.bucketized_column(
      age, boundaries=[18, 25, 30, 35, 40, 45, 50, 55, 60, 65])
  wide_columns = [
      tf.feature_column.crossed_column(
          ['education', 'occupation'], hash_bucket_size=int(1e4)),
      tf.feature_column.crossed_column(
          [age_buckets, 'marital_status'], hash_bucket_size=int(1e4)),
      gender, education, marital, age_buckets,
  ]
  deep_columns = [
      tf.feature_column.indicator_column(gender),
      tf.feature_column.embedding_column(occupation, dimension=embedding_size),
      tf.feature_column.embedding_column(marital, dimension=embedding_size),
      age, education_num, gain, hours,
  ]
  return tf.estimator.DNNLinearCombinedClassifier(
      config=config,
      linear_feature_columns=wide_columns,
      dnn_feature_columns=deep_columns,
      dnn_hidden_units=hidden_units or [100, 70, 50, 25])


def parse_label_column(label_string_tensor):
  table = tf.contrib.lookup.index_table_from_tensor(tf.constant(LABELS))
  return table.lookup(label_string_tensor)


def parse_csv(rows_string_tensor):
  row_columns = tf.expand_dims(rows_string_tensor, -1)
  columns = tf.decode_csv(row_columns, record_defaults=CSV_COLUMN_DEFAULTS)
  features = dict(zip(CSV_COLUMNS, columns))
  for col in UNUSED_COLUMNS:
    features.pop(col)
  return features


def csv_serving_input_fn():
  csv_row = tf.placeholder(shape=[None], dtype=tf.string)
  features = parse_csv(csv_row)
  features.pop(LABEL_COLUMN)
  return tf.estimator.export.ServingInputReceiver(features, {'csv_row': csv_row})


def json_serving_input_fn():
  inputs = {}
  for feat in INPUT_COLUMNS:
    inputs[feat.name] = tf.placeholder(shape=[None], dtype=feat.dtype)
  features = {
      key: tf.expand_dims(tensor, -1) for key, tensor in six.iteritems(inputs)
  }
  return tf.estimator.export.ServingInputReceiver(features, inputs)


SERVING_FUNCTIONS = {'JSON': json_serving_input_fn, 'CSV': csv_serving_input_fn}


def input_fn(filenames, num_epochs=None, shuffle=True, batch_size=64):
  dataset = tf.data.TextLineDataset(filenames).map(
      parse_csv, num_parallel_calls=multiprocessing.cpu_count())
  if shuffle:
    dataset = dataset.shuffle(buffer_size=batch_size * 10)
  dataset = dataset.repeat(num_epochs).batch(batch_size)
  iterator = dataset.make_one_shot_iterator()
  features = iterator.get_next()
  # parse_csv gave each row a dimension of its own
  features = {k: tf.squeeze(v, axis=1) if v.shape.ndims == 3 else v
              for k, v in features.items()}
  return features, parse_label_column(features.pop(LABEL_COLUMN))
