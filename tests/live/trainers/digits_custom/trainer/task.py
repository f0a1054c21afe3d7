#!/usr/bin/python
import argparse
import json
import os

import numpy as np
import pandas as pd
import tensorflow as tf
from tensorflow.python.lib.io import file_io

from . import model


def load(path):
    with file_io.FileIO(path, 'r') as f:
        table = pd.read_csv(f, header=None)
    pixels = table.iloc[:, :-1].values.astype(np.float32) / 16
    return pixels, table.iloc[:, -1].values.astype(np.int32)


def main(_):
    run_config = tf.contrib.learn.RunConfig(
        tf_random_seed=7, save_checkpoints_steps=150, keep_checkpoint_max=2)
    trial = json.loads(os.environ.get('TF_CONFIG', '{}')).get('task', {}).get('trial', '')
    estimator = tf.estimator.Estimator(
        model_fn=model.cnn_model_fn, model_dir=os.path.join(FLAGS.output_dir, trial),
        params={'learning_rate': FLAGS.learning_rate}, config=run_config)
    x, y = load(FLAGS.train_file)
    train_input_fn = tf.estimator.inputs.numpy_input_fn(
        x={'pixels': x}, y=y, batch_size=64, num_epochs=None, shuffle=True)
    logging_hook = tf.train.LoggingTensorHook({'probs': 'softmax_tensor'}, every_n_iter=200)
    estimator.train(train_input_fn, steps=FLAGS.steps, hooks=[logging_hook])
    x, y = load(FLAGS.eval_file)
    eval_input_fn = tf.estimator.inputs.numpy_input_fn(
        x={'pixels': x}, y=y, num_epochs=1, shuffle=False)
    print(estimator.evaluate(input_fn=eval_input_fn))
    estimator.export_savedmodel(os.path.join(FLAGS.output_dir, 'export'),
                                model.serving_input_fn)


if __name__ == '__main__':
    parser = argparse.ArgumentParser()
    parser.add_argument('--train_file', required=True)
    parser.add_argument('--eval_file', required=True)
    parser.add_argument('--output_dir', required=True)
    parser.add_argument('--learning_rate', type=float, default=0.003)
    parser.add_argument('--steps', type=int, default=300)
    parser.add_argument('--job-dir', default='junk',
                        help='this model ignores this field, but it is required by gcloud')
    FLAGS, unparsed = parser.parse_known_args()
    tf.app.run()
