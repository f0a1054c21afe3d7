"""What a trainer exported: found, judged by its bytes, and loaded where the trainer ran."""

from __future__ import annotations

import io
import os
import pickle
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.runtime import loadcheck
from mlengine.training import exports
from mlengine.training.exports import Export, damage, find_exports, unloadable


def put(path: Path, data: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def only(folder: Path) -> Export:
    (found,) = find_exports(folder, since_s=0.0)
    return found


def zipped(text: bytes = b"weights" * 100) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("config.json", b"{}")
        archive.writestr("model.weights.h5", text)
    return out.getvalue()


# --- finding ---


def test_models_of_every_kind_are_found_newest_first(tmp_path: Path) -> None:
    names = {
        "m.keras": "keras", "old.h5": "hdf5", "model.joblib": "pickle", "a/model.pkl": "pickle",
        "model.bst": "booster", "net.onnx": "onnx", "state.pt": "torch", "lite.tflite": "tflite",
    }  # fmt: skip
    for number, name in enumerate(names):
        os.utime(put(tmp_path / name), (2e9 + number,) * 2)
    put(tmp_path / "events.out.tfevents.1")
    put(tmp_path / "export/e/15/saved_model.pb")
    put(tmp_path / "export/e/15/variables/variables.index")
    put(tmp_path / "export/e/15/assets/vocabulary.pkl")
    found = find_exports(tmp_path, since_s=0.0)
    shown = {str(e.path.relative_to(tmp_path)): e.kind for e in found}
    assert list(shown.items()) == [*reversed(names.items()), ("export/e/15", "saved_model")]


def test_only_what_came_during_the_attempt_counts(tmp_path: Path) -> None:
    path = put(tmp_path / "model.pkl")
    born_s = path.stat().st_ctime
    assert find_exports(tmp_path, since_s=born_s + 1) == []
    os.utime(path, (1.0, 1.0))  # a copy that keeps its old time
    assert only(tmp_path).path == path
    assert find_exports(tmp_path, since_s=born_s - 1)


def test_a_job_half_a_second_before_is_another_s_unless_times_are_whole_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "model.pkl")
    monkeypatch.setattr(exports, "_written_s", lambda status: 1.6e9 + 0.25)
    assert find_exports(tmp_path, since_s=1.6e9 + 0.25)
    assert find_exports(tmp_path, since_s=1.6e9 + 0.75) == []
    monkeypatch.setattr(exports, "_written_s", lambda status: 1.6e9)
    assert find_exports(tmp_path, since_s=1.6e9 + 0.75)
    assert find_exports(tmp_path, since_s=1.6e9 + 1.25) == []


def test_a_second_name_of_a_file_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("cnot a model")
    (tmp_path / "model.pkl").hardlink_to(tmp_path / "secret")
    assert find_exports(tmp_path, since_s=0.0) == []


def test_links_and_missing_folders_are_nothing(tmp_path: Path) -> None:
    put(tmp_path / "elsewhere" / "model.pkl")
    inside = tmp_path / "job"
    inside.mkdir()
    (inside / "model.pkl").symlink_to(tmp_path / "elsewhere" / "model.pkl")
    (inside / "loop").symlink_to(inside)
    assert find_exports(inside, since_s=0.0) == []
    assert find_exports(tmp_path / "none", since_s=0.0) == []


def test_a_giant_tree_is_looked_at_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        put(tmp_path / str(number) / "model.pkl")
    monkeypatch.setattr(exports, "MAX_ENTRIES", 25)
    assert 0 < len(find_exports(tmp_path, since_s=0.0)) < 20


# --- bytes ---


def changed(at: int, value: int, *, of: int) -> bytes:
    """A zip with a byte of its first member's header changed, and the same one of its entry."""
    data = bytearray(zipped())
    data[at] = data[data.find(b"PK\x01\x02") + of] = value
    return bytes(data)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("model.joblib", b"", "it is empty"),
        ("m.keras", zipped()[:-30], "not written to its end"),
        ("m.keras", changed(6, 1, of=8), "cannot be unpacked: .*password"),
        ("m.keras", changed(8, 14, of=10), "is damaged|cannot be unpacked"),
        ("m.keras", zipped()[:-4] + b"\xff\0\0\0", "cannot be unpacked|not written to its end"),
        ("m.keras", b"hello, world", "no keras file"),
        ("m.h5", b"PK\x03\x04", "no hdf5 file"),
        ("s.pt", zipped()[:200], "not written to its end"),
        ("s.pth", b"hello", "neither a zip file nor a pickle"),
        ("s.pt", zipped().replace(b"weightsw", b"weightsX", 1), "is damaged"),
        ("m.tflite", b"hello, world", "TensorFlow Lite"),
    ],
)
def test_damaged_files_are_told_by_their_bytes(
    tmp_path: Path, name: str, data: bytes, said: str
) -> None:
    put(tmp_path / name, data)
    assert re.search(said, damage(only(tmp_path)))


@given(st.lists(st.tuples(st.integers(4, len(zipped()) - 1), st.integers(0, 255)), min_size=1))
def test_any_damage_is_told_in_words(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]]
) -> None:
    data = bytearray(zipped())
    for at, byte in changes:
        data[at] = byte
    folder = tmp_path_factory.mktemp("export")
    put(folder / "m.keras", bytes(data))
    said = damage(only(folder))
    assert not said or any(
        words in said for words in ("not written to its end", "cannot be unpacked", "is damaged")
    )


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("m.keras", zipped()), ("s.pt", zipped()), ("s.pth", pickle.dumps([1])),
        ("m.h5", b"\x89HDF\r\n\x1a\n..."), ("m.tflite", b"\0\0\0\0TFL3"), ("model.bst", b"binf"),
    ],
)  # fmt: skip
def test_whole_files_are_fine(tmp_path: Path, name: str, data: bytes) -> None:
    put(tmp_path / name, data)
    assert damage(only(tmp_path)) == ""


SAVED_MODELS = {
    "empty graph": ({"saved_model.pb": b""}, "saved_model.pb is empty"),
    "no graph": ({"variables/variables.index": b"i"}, "not finished"),
    "empty index": (
        {"saved_model.pb": b"g", "variables/variables.index": b""}, "variables.index is empty",
    ),
    "no data": ({"saved_model.pb": b"g", "variables/variables.index": b"i"}, "data-* files"),
    "no index": (
        {"saved_model.pb": b"g", "variables/variables.data-00000-of-00001": b"d"},
        "variables.index is missing",
    ),
    "whole": (
        {"saved_model.pb": b"g", "variables/variables.index": b"i",
         "variables/variables.data-00000-of-00001": b"d"}, "",
    ),
    "without variables": ({"saved_model.pbtxt": b"g"}, ""),
}  # fmt: skip


@pytest.mark.parametrize("case", SAVED_MODELS)
def test_a_saved_model_is_judged_by_its_files(tmp_path: Path, case: str) -> None:
    files, said = SAVED_MODELS[case]
    for name, data in files.items():
        put(tmp_path / "1" / name, data)
    assert damage(only(tmp_path)) == said or (said and said in damage(only(tmp_path)))


# --- loading, in a process of its own ---


def load(tmp_path: Path, **more: object) -> dict[str, tuple[str, bool]]:
    found = find_exports(tmp_path, since_s=0.0)
    environ = {"PATH": os.environ["PATH"], "TF_CPP_MIN_LOG_LEVEL": "3"}
    problems = unloadable(found, sys.executable, environ, tmp_path, **more)  # type: ignore[arg-type]
    return {p.export.path.name: (p.text, p.sure) for p in problems}


class Unknown:
    """Cannot be found by the process that loads it, which does not know this module."""


def test_pickles_load_or_say_why_not(tmp_path: Path) -> None:
    put(tmp_path / "model.pkl", pickle.dumps({"weights": [1.0]}))
    put(tmp_path / "model.joblib", pickle.dumps(list(range(1000)))[:500])
    put(tmp_path / "other.pkl", pickle.dumps(Unknown()))
    put(tmp_path / "a" / "model.pickle", pickle.dumps(Unknown()))
    found = load(tmp_path)
    assert set(found) == {"model.joblib", "other.pkl", "model.pickle"}
    assert found["model.joblib"][1]
    assert not found["other.pkl"][1]
    assert found["model.pickle"][1]
    assert "Error: " in found["model.pickle"][0]


class _Exits:
    def __reduce__(self) -> object:
        return exec, ("print('noise'); raise SystemExit(0)",)


class _Crashes:
    def __reduce__(self) -> object:
        return exec, ("import os; os.abort()",)


class _Leaves:
    def __reduce__(self) -> object:
        return exec, ("import os; os._exit(3)",)


class _Hangs:
    def __reduce__(self) -> object:
        return exec, ("import threading; threading.Event().wait()",)


def test_a_model_that_exits_is_a_problem_of_its_own(tmp_path: Path) -> None:
    put(tmp_path / "model.pkl", pickle.dumps(_Exits()))
    assert load(tmp_path) == {"model.pkl": ("SystemExit: 0", True)}


class _Wants:
    def __init__(self, words: str) -> None:
        self.words = words

    def __reduce__(self) -> object:
        return exec, (f"raise RuntimeError({self.words!r})",)


@pytest.mark.parametrize(
    "words",
    [
        "Attempting to deserialize object on a CUDA device but torch.cuda.is_available() is False.",
        "Attempting to deserialize object on CUDA device 0 but torch.cuda.device_count() is 0.",
        "No CUDA GPUs are available",
        "cudaErrorNoDevice: no CUDA-capable device is detected",
        "Found no NVIDIA driver on your system.",
    ],
)
def test_a_model_that_wants_the_gpu_which_the_check_hides_is_in_doubt(
    tmp_path: Path, words: str
) -> None:
    put(tmp_path / "model.pkl", pickle.dumps(_Wants(words)))
    assert load(tmp_path) == {"model.pkl": (f"RuntimeError: {words}", False)}


def test_a_model_that_crashes_is_told_and_the_rest_is_in_doubt(tmp_path: Path) -> None:
    os.utime(put(tmp_path / "model.pkl", pickle.dumps(_Crashes())), (3e9, 3e9))
    put(tmp_path / "other.pkl", pickle.dumps(1))
    found = load(tmp_path)
    assert found["model.pkl"] == ("loading it crashed the interpreter (SIGABRT)", True)
    assert found["other.pkl"] == ("it was not loaded to check it", False)


def test_a_model_that_ends_or_hangs_the_interpreter_is_in_doubt(tmp_path: Path) -> None:
    put(tmp_path / "1" / "model.pkl", pickle.dumps(_Leaves()))
    assert load(tmp_path / "1") == {
        "model.pkl": ("loading it ended the interpreter (exit 3)", False)
    }
    put(tmp_path / "2" / "model.pkl", pickle.dumps(_Hangs()))
    text, sure = load(tmp_path / "2", timeout_s=1.0)["model.pkl"]
    assert ("too long" in text, sure) == (True, False)


def test_what_is_larger_than_memory_is_not_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "model.pkl", b"junk" * 100)
    monkeypatch.setattr(exports, "_free_memory_bytes", lambda: 100)
    text, sure = load(tmp_path)["model.pkl"]
    assert ("most of the memory" in text, sure) == (True, False)


def test_an_interpreter_without_the_frameworks_finds_nothing_wrong(tmp_path: Path) -> None:
    for name in ("model.bst", "m.keras", "m.h5", "m.onnx", "1/saved_model.pb"):
        put(tmp_path / name, b"junk")
    found = find_exports(tmp_path, since_s=0.0)
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    assert unloadable(found, str(bare / "bin" / "python"), {}, tmp_path) == []


def test_an_old_sklearn_reads_what_its_own_joblib_wrote(tmp_path: Path) -> None:
    own = tmp_path / "lib" / "sklearn" / "externals"
    put(own.parent / "__init__.py", b"")
    put(own / "__init__.py", b"")
    put(own / "joblib.py", b"def load(path): assert open(path, 'rb').read() == b'old'")
    wrong = b"def load(path):\n    import sklearn.externals.joblib\n    raise KeyError(0)\n"
    put(tmp_path / "lib" / "joblib.py", wrong)
    put(tmp_path / "job" / "model.joblib", b"old")
    found = find_exports(tmp_path / "job", since_s=0.0)
    environ = {"PYTHONPATH": str(tmp_path / "lib")}
    assert unloadable(found, sys.executable, environ, tmp_path) == []
    (own / "joblib.py").unlink()
    (problem,) = unloadable(found, sys.executable, environ, tmp_path)
    assert "joblib" in problem.text


FRAMEWORKS = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import tensorflow as tf, xgboost, numpy as np
folder = sys.argv[1]
model = tf.keras.Sequential([tf.keras.layers.Input((2,)), tf.keras.layers.Dense(1)])
model.save(folder + "/whole/model.keras")
model.export(folder + "/graph/1", verbose=False)

class Mine(tf.keras.layers.Layer):
    def call(self, x):
        return x

tf.keras.Sequential([tf.keras.layers.Input((2,)), Mine()]).save(folder + "/custom/model.keras")
data = xgboost.DMatrix(np.eye(4), label=[0, 1, 0, 1])
xgboost.train({}, data, 2).save_model(folder + "/booster/model.ubj")
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for name in ("tensorflow", "xgboost"):
        pytest.importorskip(name)
    folder = tmp_path_factory.mktemp("models")
    for name in ("whole", "custom", "booster", "graph"):
        (folder / name).mkdir()
    subprocess.run([sys.executable, "-c", FRAMEWORKS, str(folder)], check=True, capture_output=True)
    return folder


TAGS = {
    "Keras of TensorFlow 1": ([["train"], ["eval"], ["serve"]], ["serve"]),
    "for another processor too": ([["serve", "gpu"], ["serve"]], ["serve"]),
    "for another processor only": ([["train"], ["serve", "tpu"]], ["serve", "tpu"]),
    "nothing to serve": ([["train"], ["eval"]], ["train"]),
    "no tags": ([[]], []),
}


@pytest.mark.parametrize(("graphs", "chosen"), TAGS.values(), ids=TAGS.keys())
def test_of_several_graphs_the_serving_one_is_loaded(
    graphs: list[list[str]], chosen: list[str]
) -> None:
    assert loadcheck._tags_to_load(graphs) == chosen


def test_real_models_load_and_cut_ones_do_not(models: Path) -> None:
    assert len(find_exports(models, since_s=0.0)) == exports.MAX_LOADED
    ((name, (text, sure)),) = load(models).items()
    assert (name, sure) == ("model.keras", False)
    assert "'Mine'" in text
    booster = models / "booster" / "model.ubj"
    cut = models / "cut"
    put(cut / "model.ubj", booster.read_bytes()[: booster.stat().st_size // 2])
    for path in (models / "graph" / "1").rglob("*"):
        if path.is_file():
            put(cut / path.relative_to(models / "graph"), path.read_bytes())
    graph = cut / "1" / "saved_model.pb"
    graph.write_bytes(graph.read_bytes()[:-100])
    found = load(cut)
    assert set(found) == {"model.ubj", "1"}
    assert all(sure for _text, sure in found.values())
