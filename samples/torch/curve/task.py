"""Learns y = x² between -1 and 1, and exports the network's weights.

python -m curve.task --job-dir DIR
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from curve.net import make_net


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--job-dir", type=Path, required=True)
    job_dir: Path = parser.parse_args().job_dir
    torch.manual_seed(7)
    torch.set_num_threads(1)
    net = make_net()
    x = torch.linspace(-1.0, 1.0, 64)[:, None]
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(600):
        loss = ((net(x) - x**2) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"loss = {float(loss):.5f}")
    folder = job_dir / "model"
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(net.state_dict(), folder / "weights.pt")


if __name__ == "__main__":
    main()
