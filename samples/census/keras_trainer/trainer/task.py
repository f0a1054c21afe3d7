r"""Train the wide-and-deep census classifier, measure it on rows it has not seen, export it.

    python -m trainer.task --train-files adult.data.csv.gz --eval-files adult.test.csv.gz \
        --job-dir /tmp/census

leaves a SavedModel in ``model/``, and ``metrics.json``, in the job directory.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

# Both are read when the libraries are imported. A SavedModel needs this one backend, and
# TensorFlow 2.21 logs errors about its own graphs that are none; real ones are raised.
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from trainer.data import COLUMNS, LABELS, NUMERIC, Table, read
from trainer.fitting import Replicas, fit, predict
from trainer.model import Columns, build, export
from trainer.report import report

__all__ = ["main"]

_GOLDEN_ROWS = 32


def main(argv: Sequence[str] | None = None) -> None:
    """Run one training, from the command line's words to the exported model."""
    args = _parse(argv)
    if args.threads:
        tf.config.threading.set_intra_op_parallelism_threads(args.threads)
        tf.config.threading.set_inter_op_parallelism_threads(args.threads)
    keras.utils.set_random_seed(args.seed)
    tf.config.experimental.enable_op_determinism()
    replicas = Replicas()  # before anything is computed: TensorFlow insists
    training, held_out = read(args.train_files), read(args.eval_files)
    columns, earns_more = _columns(training), _earns_more(training)
    print(f"training on {len(earns_more)} rows, {replicas.count} replicas", flush=True)

    steps = -(-len(earns_more) // args.batch_size) * args.num_epochs
    schedule = keras.optimizers.schedules.CosineDecay(args.learning_rate, steps)
    with replicas.strategy.scope():
        network = build(columns, hidden_units=args.hidden_units, dropout=args.dropout)
        optimizer = keras.optimizers.Adam(schedule)
    encoded = _encode(network.encoder, columns)
    fit(
        network.classifier, optimizer, encoded, earns_more, replicas=replicas,
        batch_size=args.batch_size, epochs=args.num_epochs, seed=args.seed,
    )  # fmt: skip
    if not replicas.chief:
        return
    args.job_dir.mkdir(parents=True, exist_ok=True)
    print(f"evaluating on {len(held_out.rows)} rows", flush=True)
    encoded = _encode(network.encoder, _columns(held_out))
    metrics = evaluate(network.classifier, encoded, _earns_more(held_out))
    report(metrics, job_dir=args.job_dir, step=args.num_epochs)
    export(network, args.job_dir / "model")
    _save_golden(held_out, args.job_dir / "model")
    print(f"exported {args.job_dir / 'model'}", flush=True)


def _save_golden(table: Table, export_dir: Path) -> None:
    """Leave some rows and their answers beside the model: it is served only if it repeats them."""
    try:
        from mlengine.runtime import save_golden
    except ImportError:  # trained by hand, elsewhere
        return
    columns = {name: values[:_GOLDEN_ROWS] for name, values in _columns(table).items()}
    whole = ~np.isnan([columns[name] for name in NUMERIC]).any(axis=0)  # JSON has no NaN
    columns = {name: values[whole] for name, values in columns.items()}
    serve = tf.saved_model.load(str(export_dir)).signatures["serving_default"]
    answers = serve(**{name: tf.constant(values) for name, values in columns.items()})
    save_golden(export_dir, columns, answers)


def evaluate(
    classifier: keras.Model, encoded: Columns, earns_more: np.ndarray
) -> dict[str, float]:
    """Return accuracy, and the area under the ROC curve of the higher income."""
    probability = predict(classifier, encoded)
    auc = keras.metrics.AUC(num_thresholds=10_000)
    auc.update_state(earns_more, probability)
    accuracy = np.mean((probability > 0.5) == (earns_more == 1.0))
    return {"accuracy": float(accuracy), "auc": float(auc.result())}


def _encode(encoder: keras.Model, columns: Columns) -> Columns:
    used = {name: tf.constant(columns[name]) for name in encoder.input}
    return {name: tensor.numpy() for name, tensor in encoder(used).items()}


def _columns(table: Table) -> Columns:
    return {
        name: np.array(values, dtype=np.float32 if name in NUMERIC else np.str_)
        for name, values in zip(COLUMNS, zip(*table.rows, strict=True), strict=True)
    }


def _earns_more(table: Table) -> np.ndarray:
    return np.array([label == LABELS[1] for label in table.labels], dtype=np.float32)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="trainer.task", description=__doc__.split("\n")[0])
    parser.add_argument("--train-files", nargs="+", required=True, metavar="CSV",
                        help="rows to learn from; plain or gzipped")
    parser.add_argument("--eval-files", nargs="+", required=True, metavar="CSV",
                        help="rows to measure on; plain or gzipped")
    parser.add_argument("--job-dir", type=Path, required=True,
                        help="where the model and the metrics go; made if missing")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--num-epochs", type=int, default=12, help="passes over the rows")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--learning-rate", type=float, default=0.002)
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--hidden-units", type=int, nargs="+", default=[100, 70, 50, 25],
                        help="of the deep part, layer by layer")
    parser.add_argument("--threads", type=int, default=0, help="of one replica; 0: all there are")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
