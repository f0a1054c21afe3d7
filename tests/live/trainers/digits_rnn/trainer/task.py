import argparse

import numpy as np
import tensorflow as tf
from tensorflow.contrib import learn
from tensorflow.contrib.learn import MetricSpec
from tensorflow.contrib.training import HParams

from trainer import model

parser = argparse.ArgumentParser()
parser.add_argument('--train-file')
parser.add_argument('--eval-file')
parser.add_argument('--job-dir')
parser.add_argument('--hparams', default='')


def load(path):
    data = learn.datasets.base.load_csv_without_header(
        filename=path, target_dtype=np.int, features_dtype=np.float32)
    return data.data / 16, data.target.astype(np.int32)


def main(args):
    hparams = HParams(learning_rate=0.01, steps=200, sizes=[32, 32]).parse(args.hparams)
    x, y = load(args.train_file)
    x_eval, y_eval = load(args.eval_file)
    metrics = {'accuracy': MetricSpec(metric_fn=tf.contrib.metrics.streaming_accuracy,
                                      prediction_key='classes')}
    monitor = learn.monitors.ValidationMonitor(
        x_eval, y_eval, every_n_steps=100, metrics=metrics, early_stopping_rounds=1000)
    estimator = learn.Estimator(
        model_fn=model.lstm_model, model_dir=args.job_dir, params=hparams,
        config=learn.RunConfig(save_checkpoints_steps=100, tf_random_seed=3))
    estimator.fit(x=x, y=y, steps=hparams.steps, batch_size=64, monitors=[monitor])
    print('accuracy: %.4f' % estimator.evaluate(x=x_eval, y=y_eval, metrics=metrics)['accuracy'])
    classes = [p['classes'] for p in estimator.predict(x=x_eval[:50], as_iterable=True)]
    print('of the first fifty: %.2f' % np.mean(np.array(classes) == y_eval[:50]))


if __name__ == '__main__':
    tf.logging.set_verbosity(tf.logging.INFO)
    main(parser.parse_args())
