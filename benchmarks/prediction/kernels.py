"""What a table model's arithmetic takes: directly, compiled, the same without C, and in ONNX.

    python -m benchmarks.prediction.kernels [--models NAME ...]

CPU time of one process, the least of five rounds over distinct rows, without reading or writing
JSON; then what reading takes. The models are those of `python -m benchmarks.prediction`, which
makes them and converts them to ONNX by hand. Everything has one thread.
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

Run = Callable[[np.ndarray], Any]


def main() -> int:
    """Measure and print."""
    os.environ["OMP_NUM_THREADS"] = "1"  # as a worker's, before its libraries are imported
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=_MODELS, default=_MODELS)
    options = parser.parse_args()
    print("| model | rows in a call | direct, µs | compiled | without C | ONNX Runtime |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in options.models:
        table = np.array(json.loads((_FOLDER / name / "rows.json").read_bytes())["instances"])
        repeats = -(-_ROUND_ROWS // len(table))
        table = np.concatenate([table] * repeats)[:_ROUND_ROWS]
        runs = _ways(_FOLDER / name)
        for rows in _ROWS:
            took = ["–" if run is None else f"{_took_us(run, table, rows):,.1f}" for run in runs]
            print(f"| {name} | {rows} | {' | '.join(took)} |", flush=True)
    _print_reading(table)
    return 0


def _ways(folder: Path) -> list[Run | None]:
    from mlengine.runtime.compiled import RECIPE_FILE
    from mlengine.runtime.compiled.compiler import compile_model
    from mlengine.runtime.frameworks import load
    from mlengine.runtime.shortcuts import kernel_of
    from mlengine.runtime.shortcuts.recipe import kernel, read_recipe
    from mlengine.runtime.shortcuts.walks import walker_in_numpy

    direct = kernel_of(load(folder / "model"))
    with tempfile.TemporaryDirectory() as made:
        about = compile_model(folder / "model", "", Path(made) / "form")
        assert about.table is not None, about.problem
        recipe = read_recipe(Path(made) / "form" / RECIPE_FILE)
    compiled, slow = kernel(recipe), kernel(recipe, make_walker=walker_in_numpy)
    return [direct.run, compiled.run, slow.run, _onnx(folder / "onnx" / "model.onnx")]


def _onnx(file: Path) -> Run | None:
    if not file.exists():
        return None
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    takes = session.get_inputs()[0].name
    return lambda stack: session.run(None, {takes: stack[0].astype(np.float32)})


def _took_us(run: Run, table: np.ndarray, rows: int) -> float:
    """Return the CPU time of a call, each with other rows than the one before it."""
    stacks = [table[at : at + rows][np.newaxis].copy() for at in range(0, len(table), rows)]
    return _least_us(lambda: [run(stack) for stack in stacks], len(stacks))


def _least_us(work: Callable[[], Any], calls: int) -> float:
    found = []
    for _ in range(5):
        began_s = time.process_time()
        work()
        found.append((time.process_time() - began_s) / calls * 1e6)
    return min(found)


def _print_reading(table: np.ndarray) -> None:
    from mlengine.runtime.shortcuts.reading import reader, reader_in_python

    print("\n| rows in a body | read in C, µs | in Python, µs |\n| --- | --- | --- |")
    for rows in _ROWS:
        some = range(0, len(table), rows)
        bodies = [json.dumps({"instances": table[at : at + rows].tolist()}).encode() for at in some]
        took = []
        for make in (reader, reader_in_python):
            read = make([(table.shape[1],)])
            took.append(_least_us(lambda: [read(body) for body in bodies], len(bodies)))  # noqa: B023
        print(f"| {rows} | {took[0]:,.1f} | {took[1]:,.1f} |")


if __name__ == "__main__":
    raise SystemExit(main())
