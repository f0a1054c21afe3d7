"""Damaged model files: each loads and answers as before, or is refused; nothing hangs or spreads.

Each file is opened in a process of its own, as in production: a native library may crash on it,
which is why no model is ever loaded in the engine or the gateway. Golden rows lie beside it: what
damage leaves loadable and makes answer otherwise must fail by them. Rows that are not among them
tell how much slips through; that is counted, and no more. One that computes without end, as a tree
whose branches lead back to its root, is ended by what it has used; an engine's `load_timeout_s` and
`predict_timeout_s` do that by the clock, which a test had better not look at.

    make fuzz-models     ten thousand of each format that loads fast, a thousand of TensorFlow's

MLENGINE_MUTANTS_SEED gives other ones: so a long run may be made of shorter ones.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.frameworks.mutation import mutants

MUTANTS = int(os.environ.get("MLENGINE_MUTANTS", "30"))  # of each model
SEED = int(os.environ.get("MLENGINE_MUTANTS_SEED", "0"))
SLOW_SHARE = 10  # TensorFlow's formats take as much longer to load
DEADLINE_S = 500 + MUTANTS

# Imports the library once and forks for each mutant; says what became of it, one line each.
PROBE = """
import importlib, json, os, resource, signal, sys, warnings
from pathlib import Path
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
warnings.simplefilter("ignore")
from mlengine.runtime.frameworks import ask
from mlengine.runtime.opening import open_model
from mlengine.runtime.prediction_error import PredictionError
from mlengine.runtime.rehearsal import differs
for module in sys.argv[1].split(","):
    importlib.import_module(module)
limit_bytes, original, rows = int(sys.argv[2]), Path(sys.argv[3]), json.loads(sys.argv[4])
half = len(rows) // 2

def outcome(name):
    golden = (original.parent / "rows.jsonl").read_text().splitlines()
    Path(name, "golden.jsonl").write_text("\\n".join(golden[:half]))
    resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, limit_bytes))  # for damaged lengths
    try:
        model = open_model({"artifact": name}).model
        answers = ask(model, rows[half:], {})
    except PredictionError as error:
        return "refused" if error.error_class.code == 0 else f"class {error.error_class.code}"
    except MemoryError:
        return "out of memory"
    wanted = [json.loads(row)["prediction"] for row in golden[half:]]
    return "slipped" if differs(wanted, json.loads(json.dumps(answers))) else "answered"

def make_rows():
    model = open_model({"artifact": str(original)}).model
    lines = [{"instance": r, "prediction": p} for r, p in zip(rows, ask(model, rows, {}))]
    (original.parent / "rows.jsonl").write_text("\\n".join(map(json.dumps, lines)))
    return "made"

for name in ["", *sys.argv[5:]]:
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
        signal.alarm(300)  # it waits for something
        try:
            print("\\n" + (outcome(name) if name else make_rows()), flush=True)
        except BaseException as error:
            print("\\nescaped", repr(error), flush=True)
        os._exit(42)
    _, status = os.waitpid(child, 0)
    if not os.WIFEXITED(status) or os.WEXITSTATUS(status) != 42:  # some libraries call exit()
        ends = {signal.SIGALRM: "hung", signal.SIGXCPU: "endless"}
        by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        print("\\n" + ends.get(by, "crashed"), flush=True)
"""
LIBRARIES = {
    "model.onnx": "onnxruntime",
    "model.bst": "xgboost",
    "model.ubj": "xgboost",
    "model.json": "xgboost",
    "model.keras": "keras",
    "saved_model.pb": "tensorflow",
}
PICKLED = "joblib,xgboost,sklearn.ensemble,sklearn.linear_model,sklearn.pipeline,sklearn.svm"
KNOWN = ("answered", "refused", "class ", "slipped", "out of memory", "crashed", "hung", "escaped",
         "endless")  # fmt: skip


@pytest.mark.timeout(DEADLINE_S + 60)
def test_a_damaged_file_answers_as_before_or_is_refused_and_never_hangs(
    case: Any, rows: list[list[float]], tmp_path: Path
) -> None:
    original = tmp_path / "original"
    shutil.copytree(case.directory, original)
    modules = next((m for f, m in LIBRARIES.items() if (original / f).exists()), PICKLED)
    slow = modules in ("keras", "tensorflow")
    count = max(MUTANTS // SLOW_SHARE, 1) if slow else MUTANTS
    made = tmp_path / "mutants"
    names = mutants(original, made, count, seed=len(case.framework) + 1000 * SEED)
    said = tmp_path / "said"
    with said.open("wb") as out:
        run = subprocess.run(
            ["xargs", "-n", "5000", sys.executable, "-c", PROBE, modules,
             str((8 if slow else 4) << 30), str(original), str(rows).replace(" ", "")],
            input="\n".join(names).encode(), stdout=out, stderr=subprocess.DEVNULL,
            timeout=DEADLINE_S, check=False,
        )  # fmt: skip
    assert run.returncode == 0
    lines = said.read_text(errors="replace").splitlines()
    outcomes = Counter(line for line in lines if line.startswith(KNOWN))
    print(case.directory.name, modules, dict(outcomes))  # with -s: how each format takes damage
    assert sum(outcomes.values()) == count
    assert not [o for o in outcomes if o.startswith(("hung", "escaped"))], outcomes
    shutil.rmtree(tmp_path, ignore_errors=True)
