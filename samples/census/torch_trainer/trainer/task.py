r"""Train a PyTorch classifier on census rows, alone or with others (DistributedDataParallel).

    python -m trainer.task --train-files adult.data.csv.gz --eval-files adult.test.csv.gz \
        --job-dir /tmp/census

leaves ``model.pt`` (the network's state and what encodes a row) and ``metrics.json`` in the job
directory. With ``WORLD_SIZE`` > 1 in the environment, as a job of several replicas has it, the
replicas share every batch and end with the network that one alone would have.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import distributed, nn

from trainer.data import read
from trainer.model import Encoder, as_tensor, auc, build, targets
from trainer.report import report

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> None:
    """Run one training, from the command line's words to the saved network."""
    args = _parse(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    count, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    if count > 1:
        distributed.init_process_group("gloo")  # finds the others by MASTER_ADDR and MASTER_PORT
    training, held_out = read(args.train_files), read(args.eval_files)
    print(f"training on {len(training.rows)} rows, {count} replicas", flush=True)

    encoder = Encoder(training)
    network = build(encoder.width, hidden=args.hidden_units)
    model = nn.parallel.DistributedDataParallel(network) if count > 1 else network
    _fit(model, encoder.encode(training.rows), targets(training), args, count=count, rank=rank)
    if count > 1:
        distributed.destroy_process_group()
    if rank == 0:
        args.job_dir.mkdir(parents=True, exist_ok=True)
        print(f"evaluating on {len(held_out.rows)} rows", flush=True)
        metrics = _evaluate(network, encoder.encode(held_out.rows), targets(held_out))
        report(metrics, job_dir=args.job_dir, step=args.num_epochs)
        torch.save(network.state_dict(), args.job_dir / "model.pt")
        print(f"exported {args.job_dir / 'model.pt'}", flush=True)


def _fit(
    model: nn.Module, rows: np.ndarray, earns_more: np.ndarray, args: argparse.Namespace, *,
    count: int, rank: int,
) -> None:  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=args.learning_rate)
    summed = nn.BCEWithLogitsLoss(reduction="sum")
    for epoch in range(args.num_epochs):
        # The same order everywhere; of each batch, every replica takes its share.
        order = np.random.default_rng([args.seed, epoch]).permutation(len(rows))
        began, total = time.perf_counter(), 0.0
        for start in range(0, len(order), args.batch_size):
            batch = order[start : start + args.batch_size]
            mine = np.array_split(batch, count)[rank]
            optimizer.zero_grad()
            loss = summed(model(as_tensor(rows[mine])).squeeze(-1), as_tensor(earns_more[mine]))
            # Gradients are averaged over the replicas: times their number makes it a sum.
            (loss * count / len(batch)).backward()
            optimizer.step()
            total += loss.item()
        mean = _sum_over_replicas(total, count) / len(rows)
        speed = len(rows) / (time.perf_counter() - began)
        print(
            f"epoch {epoch + 1}/{args.num_epochs} loss {mean:.6f} rows/s {speed:.0f}", flush=True
        )


def _sum_over_replicas(value: float, count: int) -> float:
    if count == 1:
        return value
    tensor = torch.tensor(value, dtype=torch.float64)
    distributed.all_reduce(tensor)
    return float(tensor)


def _evaluate(network: nn.Module, rows: np.ndarray, earns_more: np.ndarray) -> dict[str, float]:
    with torch.no_grad():
        score = network(as_tensor(rows)).squeeze(-1).numpy()
    accuracy = float(np.mean((score > 0.0) == (earns_more == 1.0)))
    return {"accuracy": accuracy, "auc": auc(earns_more, score)}


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="trainer.task", description=__doc__.split("\n")[0])
    parser.add_argument("--train-files", nargs="+", required=True, metavar="CSV",
                        help="rows to learn from; plain or gzipped")
    parser.add_argument("--eval-files", nargs="+", required=True, metavar="CSV",
                        help="rows to measure on; plain or gzipped")
    parser.add_argument("--job-dir", type=Path, required=True,
                        help="where the network and the metrics go; made if missing")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--num-epochs", type=int, default=6, help="passes over the rows")
    parser.add_argument("--batch-size", type=int, default=256, help="over all replicas together")
    parser.add_argument("--learning-rate", type=float, default=0.001)
    parser.add_argument("--hidden-units", type=int, default=64)
    parser.add_argument("--threads", type=int, default=0, help="of one replica; 0: all there are")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
