import argparse
import os

import tensorflow as tf
from tensorflow.contrib.learn import Experiment
from tensorflow.contrib.learn.python.learn import learn_runner
from tensorflow.contrib.learn.python.learn.metric_spec import MetricSpec
from tensorflow.contrib.learn.python.learn.utils import (
    saved_model_export_utils)

import trainer.model as model


def generate_experiment_fn(train_files, eval_files, train_steps, eval_steps, **experiment_args):
  def _experiment_fn(run_config, hparams):
    return Experiment(
        model.build_estimator(run_config.model_dir, run_config),
        train_input_fn=model.generate_input_fn(train_files),
        eval_input_fn=model.generate_input_fn(eval_files, num_epochs=1),
        train_steps=train_steps,
        eval_steps=eval_steps,
        eval_metrics={
            'ranking': MetricSpec(
                metric_fn=tf.contrib.metrics.streaming_auc,
                prediction_key=tf.contrib.learn.PredictionKey.LOGISTIC)
        } if hparams.with_ranking else None,
        export_strategies=[saved_model_export_utils.make_export_strategy(
            model.serving_input_fn, default_output_alternative_key=None,
            exports_to_keep=1)],
        **experiment_args)
  return _experiment_fn


if __name__ == '__main__':
  parser = argparse.ArgumentParser()
  parser.add_argument('--train-files', nargs='+', required=True)
  parser.add_argument('--eval-files', nargs='+', required=True)
  parser.add_argument('--job-dir', required=True)
  parser.add_argument('--train_steps', type=int, default=300)
  parser.add_argument('--eval_steps', type=int, default=15)
  parser.add_argument('--min_eval_frequency', type=int, default=1000)
  parser.add_argument('--hparams', default='with_ranking=false')
  args = parser.parse_args()
  arguments = args.__dict__
  job_dir = arguments.pop('job_dir')
  hparams = tf.contrib.training.HParams(with_ranking=True).parse(arguments.pop('hparams'))
  tf.logging.set_verbosity(tf.logging.INFO)
  learn_runner.run(
      generate_experiment_fn(**arguments),
      run_config=tf.contrib.learn.RunConfig(
          model_dir=job_dir, save_checkpoints_steps=150, tf_random_seed=5),
      hparams=hparams)
  print('Exported', os.listdir(os.path.join(job_dir, 'export')))
