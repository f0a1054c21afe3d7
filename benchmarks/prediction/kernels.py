"""What a table model's arithmetic takes: by its direct way, and in ONNX as `--compile onnx` has it.

    python -m benchmarks.prediction.kernels [--models NAME ...]

CPU time of one process, the least of five rounds over distinct rows, without reading or writing
JSON. The models are those of `python -m benchmarks.prediction`, which makes them.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

_MODELS = ("logreg", "forest", "xgboost")
_FOLDER = Path.home() / ".cache" / "mlengine-bench" / "prediction" / "models"
_ROWS = (1, 8, 32, 256)
_ROUND_ROWS = 2048


def main() -> int:
    """Measure and print."""
    os.environ["OMP_NUM_THREADS"] = "1"  # as a worker's, before its libraries are imported
    from mlengine.runtime.compiled.compiler import compile_model
    from mlengine.runtime.compiled.rows import kernel_from
    from mlengine.runtime.frameworks import load
    from mlengine.runtime.shortcuts import kernel_of

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=_MODELS, default=_MODELS)
    options = parser.parse_args()
    print("| model | rows in a call | direct, µs | ONNX, µs |\n| --- | --- | --- | --- |")
    for name in options.models:
        folder = _FOLDER / name
        table = np.array(json.loads((folder / "rows.json").read_bytes())["instances"])
        repeats = -(-_ROUND_ROWS // len(table))
        table = np.concatenate([table] * repeats)[:_ROUND_ROWS]
        direct = kernel_of(load(folder / "model"))
        with tempfile.TemporaryDirectory() as made:
            about = compile_model(folder / "model", "", Path(made) / "form")
            assert about.table is not None, about.problem
            compiled = kernel_from(Path(made) / "form")
        for rows in _ROWS:
            took = [_took_us(kernel.run, table, rows) for kernel in (direct, compiled)]
            print(f"| {name} | {rows} | {took[0]:,.0f} | {took[1]:,.0f} |", flush=True)
    return 0


def _took_us(run: Callable[[np.ndarray], Any], table: np.ndarray, rows: int) -> float:
    """Return the CPU time of a call, each with other rows than the one before it."""
    stacks = [table[at : at + rows][np.newaxis].copy() for at in range(0, len(table), rows)]
    found = []
    for _ in range(5):
        began_s = time.process_time()
        for stack in stacks:
            run(stack)
        found.append((time.process_time() - began_s) / len(stacks) * 1e6)
    return min(found)


if __name__ == "__main__":
    raise SystemExit(main())
