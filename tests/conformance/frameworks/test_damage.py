"""Damaged model files: each loads and answers, or is refused; nothing hangs, nothing spreads.

Each file is opened in a process of its own, as in production: a native library may crash on it,
which is why no model is ever loaded in the engine or the gateway.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

MUTANTS = int(os.environ.get("MLENGINE_MUTANTS", "50"))  # of each model; 200 take minutes
DEADLINE_S = 500

# Imports the library once and forks for each mutant; says what became of it, one line each.
PROBE = """
import importlib, os, resource, signal, sys, warnings
from pathlib import Path
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))  # a damaged length asks for anything
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
warnings.simplefilter("ignore")
from mlengine.runtime.frameworks import ask, load
from mlengine.runtime.prediction_error import PredictionError
for module in sys.argv[1].split(","):
    importlib.import_module(module)

def outcome(name):
    try:
        model = load(Path(name))
        answer = ask(model, [[5.1, 3.5, 1.4, 0.2]], {})
        assert len(answer) == 1
        return "answered"
    except PredictionError as error:
        return f"class {error.error_class.code}"
    except MemoryError:
        return "out of memory"

for name in sys.argv[2:]:
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        try:
            print("\\n" + outcome(name), flush=True)
        except BaseException as error:
            print("\\nescaped", repr(error), flush=True)
        os._exit(42)
    _, status = os.waitpid(child, 0)
    if not os.WIFEXITED(status) or os.WEXITSTATUS(status) != 42:  # some libraries call exit()
        hung = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM
        print("\\nhung" if hung else "\\ncrashed", flush=True)
"""
LIBRARIES = {
    "model.onnx": "onnxruntime",
    "model.bst": "xgboost",
    "model.ubj": "xgboost",
    "model.json": "xgboost",
}
PICKLED = "joblib,xgboost,sklearn.ensemble,sklearn.linear_model,sklearn.pipeline,sklearn.svm"


def _mutants(case: Any, folder: Path, seed: int) -> list[str]:
    chance = random.Random(seed)
    file = next(p for p in case.directory.iterdir() if p.name.startswith("model."))
    original = file.read_bytes()
    names = []
    for number in range(MUTANTS):
        data = bytearray(original)
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        if chance.random() < 0.1:
            del data[chance.randrange(len(data)) :]
        mutant = folder / str(number)
        mutant.mkdir()
        (mutant / file.name).write_bytes(data)
        names.append(str(mutant))
    return names


@pytest.mark.timeout(600)
def test_a_damaged_file_answers_or_fails_and_never_hangs(case: Any, tmp_path: Path) -> None:
    if any(p.suffix in (".keras", ".pb") for p in case.directory.iterdir()):
        pytest.skip("TensorFlow's formats are too slow for hundreds of loads")
    names = _mutants(case, tmp_path, seed=len(case.framework))
    file = next((tmp_path / "0").iterdir()).name
    run = subprocess.run(
        [sys.executable, "-c", PROBE, LIBRARIES.get(file, PICKLED), *names],
        capture_output=True, text=True, timeout=DEADLINE_S,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-2000:]
    known = ("answered", "class ", "out of memory", "crashed", "hung", "escaped")
    outcomes = Counter(line for line in run.stdout.splitlines() if line.startswith(known))
    print(dict(outcomes))  # shown with -s: how each format takes damage
    assert sum(outcomes.values()) == MUTANTS
    assert not [o for o in outcomes if o.startswith(("hung", "escaped"))], outcomes
    shutil.rmtree(tmp_path, ignore_errors=True)
