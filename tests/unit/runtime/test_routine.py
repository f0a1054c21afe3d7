"""Custom prediction routines: what is called, in which order, and what is said of a bad one."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlengine.environments.base import describe_base
from mlengine.environments.venv import make_venv, python_of
from mlengine.runtime import batch, landlock, routine
from mlengine.runtime.answerer import predict
from mlengine.runtime.answers import Answer
from mlengine.runtime.batch_input import Row
from mlengine.runtime.boot import boot_command
from mlengine.runtime.dialects import Call
from mlengine.runtime.dialects import answer as answer_call
from mlengine.runtime.prediction_error import PredictionError

NUMBERS = itertools.count()
BASE = """
class Base:
    def __init__(self, model_dir): self.model_dir = model_dir
    @classmethod
    def from_path(cls, model_dir): return cls(model_dir)
"""


class Workshop:
    """Makes modules that nobody has imported before."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, code: str, *, base: str = BASE) -> str:
        name = f"routine_{next(NUMBERS)}"
        (self.folder / f"{name}.py").write_text(base + code)
        return f"{name}.Routine"

    def load(self, code: str, *, base: str = BASE) -> routine.RoutineModel:
        return routine.load(self.folder, self.write(code, base=base), packages=["gs://b/p.whl"])


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    monkeypatch.syspath_prepend(str(tmp_path))
    return Workshop(tmp_path)


def ask(model: routine.RoutineModel, instances: list[Any], **keys: Any) -> Answer:
    body = json.dumps({"instances": instances, **keys}).encode()
    return predict(model, body, max_answer_bytes=10_000)


def error_of(answer: Answer) -> str:
    assert answer.status == 400
    return str(json.loads(answer.body)["error"]["message"])


def test_other_keys_of_a_request_are_its_keyword_arguments(workshop: Workshop) -> None:
    model = workshop.load("""
class Routine(Base):
    def predict(self, instances, **kwargs):
        return [[one, self.model_dir, sorted(kwargs.items())] for one in instances]
""")
    answer = ask(model, [1, "two"], probabilities=True, signature_name="s")
    keys = [["probabilities", True], ["signature_name", "s"]]
    where = str(workshop.folder)
    assert json.loads(answer.body) == {"predictions": [[1, where, keys], ["two", where, keys]]}


@pytest.mark.parametrize(
    "signature",
    [
        "self, instances, *, plus=0",
        "self, instances, plus=0",
        "self, instances, /, unnamed=0, plus=0",
    ],
)
def test_a_predict_that_names_its_keys_takes_no_others(workshop: Workshop, signature: str) -> None:
    model = workshop.load(f"""
class Routine(Base):
    def predict({signature}):
        return [one + plus for one in instances]
""")
    assert ask(model, [1], plus=2).body == b'{"predictions":[3]}'
    assert ask(model, [1], signature_name="every client sends it").status == 200
    assert "has the key 'minus', which" in error_of(ask(model, [1], minus=2))


@pytest.mark.parametrize(
    ("more", "takes"),
    [("", False), (", scale=1", True), (", *, scale=1", True), (", **keys", True)],
)
def test_it_tells_whether_it_takes_keys(workshop: Workshop, more: str, takes: bool) -> None:
    model = workshop.load(f"""
class Routine(Base):
    def predict(self, instances{more}): return instances
""")
    assert model.takes_keys is takes


def test_a_key_never_stands_for_the_instances_or_for_what_has_no_name(workshop: Workshop) -> None:
    model = workshop.load("""
class Other:
    def predict(self, rows, unnamed=0, /, plus=0): return [one + plus + unnamed for one in rows]
class Routine(Base):
    def predict(self, instances): pass
    @classmethod
    def from_path(cls, model_dir): return Other()
""")
    assert ask(model, [1], plus=2).body == b'{"predictions":[3]}'
    for key in ("rows", "unnamed"):
        assert f"has the key '{key}', which" in error_of(ask(model, [1], **{key: [2]}))


def test_a_key_with_the_name_of_what_is_given_anyway_is_refused_or_passed_on(
    workshop: Workshop,
) -> None:
    model = workshop.load("""
class Routine(Base):
    def predict(self, instances, **kwargs): return [kwargs for one in instances]
""")
    assert error_of(ask(model, [1], self=2)) == (
        "Prediction failed: Invalid inputs: The request has the key 'self', which is the name of "
        f"an argument that {model.describe()['library_version']}.predict has already. Send it by "
        "another name. (Error code: 1)"
    )
    assert "has the key 'self', which" in error_of(ask(model, [1], self=2, plus=3))
    model = workshop.load("""
class Routine(Base):
    def predict(self, instances, /, **kwargs): return [kwargs for one in instances]
""")
    assert ask(model, [1], self=2).body == b'{"predictions":[{"self":2}]}'


def test_preprocess_and_postprocess_wrap_predict(workshop: Workshop) -> None:
    model = workshop.load("""
class Routine(Base):
    def preprocess(self, instances): return [one * 10 for one in instances]
    def predict(self, instances, **kwargs): return [one + 1 for one in instances]
    def postprocess(self, predictions): return ["<%d>" % one for one in predictions]
""")
    assert ask(model, [1, 2]).body == b'{"predictions":["<11>","<21>"]}'


def test_arrays_and_their_scalars_become_json(workshop: Workshop) -> None:
    model = workshop.load("""
import numpy as np
class Routine(Base):
    def predict(self, instances, **kwargs):
        if kwargs.get("array"): return np.asarray(instances, dtype=np.float32) * 2
        return tuple({"n": np.int64(one), "raw": b"ab"} for one in instances)
""")
    assert ask(model, [1, 2], array=True).body == b'{"predictions":[2.0,4.0]}'
    assert json.loads(ask(model, [7]).body) == {"predictions": [{"n": 7, "raw": {"b64": "YWI="}}]}
    assert np.float32(2) == 2.0


def test_b64_and_raw_bodies_reach_it_in_one_form(workshop: Workshop) -> None:
    model = workshop.load("""
class Routine(Base):
    def predict(self, instances, **kwargs): return instances
""")
    call = Call("ml_v1", "predict", content_type="image/jpeg", body=b"ab")
    raw = answer_call(model, call, max_answer_bytes=1000)
    assert raw.body == ask(model, [{"b64": "YWI="}]).body == b'{"predictions":[{"b64":"YWI="}]}'


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ("[1.0, float('nan')]", "the prediction for instance 1: JSON cannot carry NaN"),
        ("np.array([0.0, np.inf])", "the prediction for instance 1: JSON cannot carry NaN"),
        ("[1]", "predict returned 1 predictions for 2 instances"),
        ("np.zeros((3, 1))", "predict returned 3 predictions for 2 instances"),
        ("{'a': 1}", "predict returned dict, where a list"),
        ("np.float64(1)", "predict returned float, where a list"),
        ("None", "predict returned NoneType, where a list"),
        ("[1, object()]", "the prediction for instance 1: no JSON form"),
        ("['x' * 20_000, '']", "the limit is 10000"),
        ("1 / 0", "ZeroDivisionError"),
        ("sys.exit(3)", "SystemExit: 3"),
    ],
)
def test_what_it_returns_or_raises_is_named(workshop: Workshop, returned: str, said: str) -> None:
    model = workshop.load(f"""
import sys
import numpy as np
class Routine(Base):
    def predict(self, instances, **kwargs):
        return {returned} if kwargs.get("bad") else [0 for _ in instances]
""")
    assert said in error_of(ask(model, [1, 2], bad=True))
    assert ask(model, [1]).status == 200  # and it goes on


@pytest.mark.parametrize("method", ["predict", "preprocess"])
def test_rows_that_it_drops_from_its_own_list_are_missed(workshop: Workshop, method: str) -> None:
    model = workshop.load(f"""
class Routine(Base):
    def predict(self, instances): return instances
    def preprocess(self, instances): return instances
    def {method}(self, instances):
        instances[:] = [one for one in instances if one]
        return instances
""")
    said = "predict returned 2 predictions for 3 instances"
    assert said in error_of(ask(model, [1, None, 2]))
    rows = [Row(at, "f", at + 1, one) for at, one in enumerate([1, None, 2])]
    one, lost, two = batch._predict(model, rows)
    assert (one, two) == (1, 2)
    assert isinstance(lost, PredictionError) and "0 predictions for 1 inst" in str(lost)


@pytest.mark.parametrize("step", ["preprocess", "postprocess"])
def test_the_step_that_fails_is_named(workshop: Workshop, step: str) -> None:
    model = workshop.load(f"""
class Routine(Base):
    def predict(self, instances, **kwargs): return instances
    def {step}(self, rows): return rows[99]
""")
    assert f"{step}: IndexError: list index out of range" in error_of(ask(model, [1]))


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("", ("cannot be found. Please make sure (1) prediction_class is the fully qualified "
             "function name, and (2) it uses the correct package name as provided by the "
             "package_uris: ['gs://b/p.whl'] (Error code: 4)")),
        ("import nothing_of_that_name", "cannot be imported: ModuleNotFoundError: No module named"),
        ("raise SystemExit(1)", "cannot be imported: SystemExit: 1"),
        ("def Routine(): pass", "is a function, not a class"),
        ("class Routine(Base): pass", "is missing the required predict method"),
        ("class Routine:\n    def predict(self, instances): pass",
         "is missing the required from_path method"),
        ("class Routine(Base):\n    def predict(self, instances, extra): pass",
         ("exactly the positional arguments (self, instances), it has (self, instances, extra). "
          "Give any others a default")),
        ("class Routine(Base):\n    def predict(self, rows): pass", "it has (self, rows)"),
        ("class Routine(Base):\n    def predict(self, **kwargs): pass", "it has (self)"),
        (("class Routine(Base):\n    def predict(self, instances): pass\n"
         "    def __init__(self, model_dir): raise FileNotFoundError('no weights.pt')"),
         ".from_path: FileNotFoundError: no weights.pt"),
        (("class Routine(Base):\n    def predict(self, instances): pass\n"
         "    @classmethod\n    def from_path(cls, model_dir): pass"),
         "from_path returned NoneType, which has no predict method"),
    ],
)  # fmt: skip
def test_a_class_that_is_no_routine_is_refused(workshop: Workshop, code: str, said: str) -> None:
    with pytest.raises(PredictionError) as caught:
        workshop.load(code)
    assert said in str(caught.value)
    assert caught.value.error_class.code == 4


def test_it_runs_where_nothing_is_installed(tmp_path: Path) -> None:
    """A runtime has its own libraries and none of ours: this package is given to it, no more."""
    bare = tmp_path / "bare"
    make_venv(bare, describe_base(sys.executable), linked=False)
    library = next(bare.glob("lib/python*/site-packages"))
    (library / "plain.py").write_text(
        "import sys\n" + BASE + "class Routine(Base):\n"
        "    def predict(self, instances, **kwargs):\n"
        "        return [one * 2.5 for one in instances] + [1] * ('msgspec' in sys.modules)\n"
    )
    flags = [f"--model-dir={tmp_path}", "--prediction-class=plain.Routine"]
    done = subprocess.run(
        boot_command(str(python_of(bare)), "mlengine.runtime.predict", *flags),
        input=b'{"instances": [2, 4]}', capture_output=True, env={}, cwd=tmp_path,
    )  # fmt: skip
    assert done.stdout == b'{"predictions":[5.0,10.0]}\n', done.stderr.decode()


@pytest.mark.skipif(landlock.version() == 0, reason="NOT TESTED: this kernel confines nobody")
def test_a_confined_one_may_have_pools_of_threads(workshop: Workshop) -> None:
    name = workshop.write("""
from multiprocessing.pool import ThreadPool
class Routine(Base):
    def predict(self, instances):
        with ThreadPool(2) as pool: return pool.map(str, instances)
""")
    folder = workshop.folder
    rows, work = folder / "rows.jsonl", folder / "work"
    rows.write_text("1\n2\n")
    work.mkdir()
    spec = {"artifact": str(folder), "inputs": [str(rows)], "prediction_class": name,
            "output_dir": str(work / "out"), "progress": str(work / "progress.json"),
            "shards_dir": str(work / "shards" / "own")}  # fmt: skip
    (folder / "spec.json").write_text(json.dumps(spec))
    done = subprocess.run(
        [sys.executable, "-m", "mlengine.runtime.batchstart", str(folder / "spec.json")],
        cwd=work, capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTHONPATH": f"{Path(batch.__file__).parents[2]}:{folder}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = work / "out" / "prediction.results-00000-of-00001"
    assert results.read_text() == '"1"\n"2"\n', done.stderr
