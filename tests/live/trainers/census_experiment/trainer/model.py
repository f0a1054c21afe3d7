from __future__ import absolute_import
from __future__ import division
from __future__ import print_function

import tensorflow as tf
from tensorflow.contrib import layers
from tensorflow.contrib.learn.python.learn.utils import input_fn_utils

CSV_COLUMNS = ['age', 'workclass', 'fnlwgt', 'education', 'education_num',
               'marital_status', 'occupation', 'relationship', 'race', 'gender',
               'capital_gain', 'capital_loss', 'hours_per_week',
               'native_country', 'income_bracket']
DEFAULTS = [[0.0], [''], [0.0], [''], [0.0], [''], [''], [''], [''], [''],
            [0.0], [0.0], [0.0], [''], ['']]
NUMBERS = ['age', 'education_num', 'capital_gain', 'hours_per_week']
WORDS = ['education', 'marital_status', 'occupation']


def build_estimator(model_dir, config=None):
  gender = layers.sparse_column_with_keys(column_name='gender', keys=[' Female', ' Male'])
  marital = layers.sparse_column_with_hash_bucket('marital_status', hash_bucket_size=20)
  education = layers.sparse_column_with_hash_bucket('education', hash_bucket_size=100)
  occupation = layers.sparse_column_with_hash_bucket('occupation', hash_bucket_size=100)
  age = layers.real_valued_column('age')
  age_buckets = layers.bucketized_column(age, boundaries=[18, 25, 30, 35, 40, 45, 50, 60])
  wide = [gender, education, marital,
          layers.crossed_column([education, occupation], hash_bucket_size=int(1e4)),
          layers.crossed_column([age_buckets, marital], hash_bucket_size=int(1e4))]
  deep = [layers.embedding_column(occupation, dimension=8),
          layers.embedding_column(marital, dimension=4),
          layers.one_hot_column(gender), age,
          layers.real_valued_column('education_num'),
          layers.real_valued_column('capital_gain', normalizer=lambda x: x / 10000.0),
          layers.real_valued_column('hours_per_week')]
  return tf.contrib.learn.DNNLinearCombinedClassifier(
      model_dir=model_dir, config=config,
      linear_feature_columns=wide, dnn_feature_columns=deep,
      dnn_hidden_units=[50, 20], fix_global_step_increment_bug=True)


def generate_input_fn(filenames, batch_size=64, num_epochs=None):
  def _input_fn():
    queue = tf.train.string_input_producer(filenames, num_epochs=num_epochs, shuffle=True)
    _, rows = tf.TextLineReader().read_up_to(queue, num_records=batch_size)
    columns = tf.decode_csv(tf.expand_dims(rows, -1), record_defaults=DEFAULTS)
    features = dict(zip(CSV_COLUMNS, columns))
    label = tf.to_int32(tf.equal(features.pop('income_bracket'), ' >50K'))
    return {k: features[k] for k in NUMBERS + WORDS + ['gender']}, label
  return _input_fn


def serving_input_fn():
  placeholders = {name: tf.placeholder(tf.float32, [None]) for name in NUMBERS}
  placeholders.update({name: tf.placeholder(tf.string, [None]) for name in WORDS + ['gender']})
  features = {key: tf.expand_dims(tensor, -1) for key, tensor in placeholders.items()}
  return input_fn_utils.InputFnOps(features, None, placeholders)
