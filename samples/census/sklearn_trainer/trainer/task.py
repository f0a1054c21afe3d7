r"""Train the census classifier, measure it on rows it has not seen, export it.

    python -m trainer.task --train-files adult.data.csv.gz --eval-files adult.test.csv.gz \
        --job-dir /tmp/census

leaves ``model/model.joblib`` and ``metrics.json`` in the job directory.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import joblib
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.pipeline import Pipeline

from trainer.data import LABELS, Table, read
from trainer.model import build
from trainer.report import report

__all__ = ["main"]

_GOLDEN_ROWS = 32


def main(argv: Sequence[str] | None = None) -> None:
    """Run one training, from the command line's words to the exported file."""
    args = _parse(argv)
    if os.environ.get("RANK", "0") != "0":
        return  # one process grows all trees: further replicas of a job have nothing to do
    training, held_out = read(args.train_files), read(args.eval_files)
    print(f"training on {len(training.rows)} rows", flush=True)
    model = build(
        learning_rate=args.learning_rate,
        max_iter=args.max_iter,
        max_leaf_nodes=args.max_leaf_nodes,
        seed=args.seed,
    )
    model.fit(training.rows, training.labels)

    export_dir = args.job_dir / "model"
    export_dir.mkdir(parents=True, exist_ok=True)
    print(f"evaluating on {len(held_out.rows)} rows", flush=True)
    report(evaluate(model, held_out), job_dir=args.job_dir, step=args.max_iter)
    joblib.dump(model, export_dir / "model.joblib")
    _save_golden(model, held_out, export_dir)
    print(f"exported {export_dir / 'model.joblib'}", flush=True)


def _save_golden(model: Pipeline, table: Table, export_dir: Path) -> None:
    """Leave some rows and their answers beside the model: it is served only if it repeats them."""
    try:
        from mlengine.runtime import save_golden
    except ImportError:  # trained by hand, elsewhere
        return
    rows = table.rows[:_GOLDEN_ROWS]
    save_golden(export_dir, rows, model.predict(rows))


def evaluate(model: Pipeline, table: Table) -> dict[str, float]:
    """Return accuracy, and the area under the ROC curve of the higher income."""
    probabilities = model.predict_proba(table.rows)
    high = list(model.classes_).index(LABELS[1])
    predicted = model.classes_[probabilities.argmax(axis=1)]
    earns_more = [label == LABELS[1] for label in table.labels]
    return {
        "accuracy": float(accuracy_score(table.labels, predicted)),
        "auc": float(roc_auc_score(earns_more, probabilities[:, high])),
    }


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="trainer.task", description=__doc__.split("\n")[0])
    parser.add_argument("--train-files", nargs="+", required=True, metavar="CSV",
                        help="rows to learn from; plain or gzipped")
    parser.add_argument("--eval-files", nargs="+", required=True, metavar="CSV",
                        help="rows to measure on; plain or gzipped")
    parser.add_argument("--job-dir", type=Path, required=True,
                        help="where the model and the metrics go; made if missing")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--learning-rate", type=float, default=0.1)
    parser.add_argument("--max-iter", type=int, default=150, help="number of trees")
    parser.add_argument("--max-leaf-nodes", type=int, default=31, help="leaves of one tree")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
