"""Boost trees over census rows; with others, each on its share of the rows (xgboost.collective)."""

import argparse
import contextlib
import json
import os

import hypertune
import pandas as pd
import xgboost as xgb
from xgboost import collective

NUMBERS = [0, 4, 10, 11, 12]
WORDS = [1, 3, 5, 6, 7, 8, 9]


def load(path, words=None):
    table = pd.read_csv(path, header=None, comment="|", skipinitialspace=True).dropna()
    if words is None:
        words = {column: sorted(table[column].unique()) for column in WORDS}
    columns = {f"c{c}": table[c].astype(float) for c in NUMBERS}
    for column, known in words.items():
        columns[f"c{column}"] = table[column].map({w: i for i, w in enumerate(known)})
    labels = table[14].str.startswith(">50K").astype(int)
    return pd.DataFrame(columns), labels, words


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--train-files", required=True)
    parser.add_argument("--eval-files", required=True)
    parser.add_argument("--job-dir", required=True)
    parser.add_argument("--rounds", type=int, default=10)
    args = parser.parse_args()

    count, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    address, port = os.environ.get("MASTER_ADDR", ""), int(os.environ.get("MASTER_PORT", 0))
    if count > 1 and rank == 0:
        from xgboost.tracker import RabitTracker

        tracker = RabitTracker(n_workers=count, host_ip=address, port=port)
        tracker.start()
    rows, labels, words = load(args.train_files)
    share = slice(rank, None, count)
    together = {
        "dmlc_tracker_uri": address, "dmlc_tracker_port": port, "dmlc_task_id": str(rank),
        "dmlc_retry": 30,
    }
    alone = contextlib.nullcontext()
    with collective.CommunicatorContext(**together) if count > 1 else alone:
        train = xgb.DMatrix(rows[share], labels[share])
        params = {"objective": "binary:logistic", "max_depth": 4, "tree_method": "hist",
                  "seed": 4, "nthread": 1}
        booster = xgb.train(params, train, args.rounds)
        if rank == 0:
            finish(booster, args, words)
    if count > 1 and rank == 0:
        tracker.wait_for()


def finish(booster, args, words):
    rows, labels, _ = load(args.eval_files, words)
    chance = booster.inplace_predict(rows)
    accuracy = float(((chance > 0.5) == labels).mean())
    hypertune.HyperTune().report_hyperparameter_tuning_metric(
        hyperparameter_metric_tag="accuracy", metric_value=accuracy, global_step=args.rounds
    )
    with open(os.path.join(args.job_dir, "metrics.json"), "w") as out:
        json.dump({"accuracy": accuracy}, out)
    booster.save_model(os.path.join(args.job_dir, "model.bst"))


if __name__ == "__main__":
    main()
