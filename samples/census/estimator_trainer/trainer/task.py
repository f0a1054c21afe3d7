r"""Train, evaluate and export as `tf.estimator.train_and_evaluate` does, alone or in a cluster.

    python -m trainer.task --train-files adult.data.csv.gz --eval-files adult.test.csv.gz \
        --job-dir /tmp/census --train-steps 1000

leaves checkpoints, events for TensorBoard and ``export/census/TIMESTAMP``, a SavedModel, in the job
directory. In a job with parameter servers the workers train one model together, asynchronously:
`TF_CONFIG` tells each process its part.
"""

import argparse
import json
import os

import tensorflow as tf

from trainer import model

__all__ = ["main"]


def main(argv=None):
    """Run this process's part of one training."""
    args = _parse(argv)
    # Canned Estimators over parameter servers do not place the newer conditionals.
    tf.compat.v1.disable_control_flow_v2()
    tf.compat.v1.logging.set_verbosity(tf.compat.v1.logging.INFO)
    session = tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=args.threads, inter_op_parallelism_threads=args.threads
    )
    filters = _device_filters()
    if filters:
        session.device_filters.extend(filters)
    config = tf.estimator.RunConfig(
        model_dir=args.job_dir, session_config=session, save_checkpoints_steps=500,
        log_step_count_steps=200,
    )  # fmt: skip
    estimator = model.build(config, args.hidden_units, args.seed)
    train = tf.estimator.TrainSpec(
        lambda: model.read(args.train_files, args.batch_size), max_steps=args.train_steps
    )
    evaluate = tf.estimator.EvalSpec(
        lambda: model.read(args.eval_files, 1000, num_epochs=1, shuffle=False),
        steps=None, start_delay_secs=1, throttle_secs=1, name="census-eval",
        exporters=[tf.estimator.FinalExporter("census", model.serving_input)],
    )  # fmt: skip
    tf.estimator.train_and_evaluate(estimator, train, evaluate)


def _device_filters():
    """Keep workers from waiting for each other: one needs only itself and the servers."""
    task = json.loads(os.environ.get("TF_CONFIG") or "{}").get("task", {})
    if task.get("type") in ("chief", "master"):
        return ["/job:ps", "/job:" + task["type"]]
    if task.get("type") == "worker":
        return ["/job:ps", "/job:worker/task:{}".format(task["index"])]
    return []


def _parse(argv):
    parser = argparse.ArgumentParser(prog="trainer.task", description=__doc__.split("\n")[0])
    parser.add_argument("--train-files", nargs="+", required=True, metavar="CSV")
    parser.add_argument("--eval-files", nargs="+", required=True, metavar="CSV")
    parser.add_argument("--job-dir", required=True)
    parser.add_argument("--train-steps", type=int, default=1000, help="of all workers together")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--hidden-units", type=int, nargs="+", default=[100, 70, 50, 25])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=0, help="of one process; 0: all there are")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
