"""Calls on several cores take the faster way, as it is at the time."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.runtime.frameworks import onnxsession
from mlengine.runtime.frameworks.onnxsession import Choice, InPieces, open_session
from mlengine.runtime.prediction_error import PredictionError

TIME = st.floats(1e-6, 10.0)


def went(choice: Choice, calls: int, first_s: float, second_s: float, at_once: int = 1) -> int:
    """Make calls that take so long, some at a time; return how many went the second way."""
    seconds = 0
    for _ in range(calls // at_once):
        is_second = choice.is_second
        for _ in range(at_once):
            seconds += is_second
            choice.took(is_second, second_s if is_second else first_s)
    return seconds


@given(TIME, TIME, st.integers(1, 4))
def test_nearly_all_calls_go_the_faster_way(first_s: float, second_s: float, at_once: int) -> None:
    second = went(Choice(), 10_000, first_s, second_s, at_once)
    if second_s < 0.9 * first_s:
        assert second > 9_000
    else:
        assert second < 500


@given(st.lists(st.tuples(TIME, TIME), min_size=2, max_size=6))
def test_it_is_noticed_when_the_other_becomes_faster(times: list[tuple[float, float]]) -> None:
    choice = Choice()
    for first_s, second_s in times:
        went(choice, 2_500, first_s, second_s)
        rest = went(choice, 300, first_s, second_s)
        assert rest >= 240 if second_s < 0.9 * first_s else rest <= 60


def test_one_long_wait_counts(tmp_path: Path) -> None:
    choice = Choice()
    for call in range(16):
        took_s = 0.1 if call == 11 else 0.001 if choice.is_second else 0.002
        choice.took(choice.is_second, took_s)
    assert not choice.is_second


@pytest.fixture
def model(tmp_path: Path) -> Path:
    helper = pytest.importorskip("onnx").helper
    kind = pytest.importorskip("onnx").TensorProto.FLOAT
    names = [helper.make_tensor_value_info(name, kind, [None, 3]) for name in ("x", "y")]
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["y"])], "g", names[:1], names[1:]
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    (tmp_path / "model.onnx").write_bytes(made.SerializeToString())
    return tmp_path / "model.onnx"


@pytest.mark.parametrize("threads", [1, 2])
def test_either_way_answers(model: Path, threads: int) -> None:
    session = open_session(model, threads=threads)
    assert [node.name for node in session.get_inputs()] == ["x"]
    assert [node.name for node in session.get_outputs()] == ["y"]
    for count in (1, 2, 5) * 60:
        rows = np.arange(3 * count, dtype=np.float32).reshape(count, 3)
        (found,) = session.run(["y"], {"x": rows})
        assert (found == 2 * rows).all()


def test_a_large_file_is_opened_once(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(open_session(model, threads=2), onnxsession._Either)
    monkeypatch.setattr(onnxsession, "LARGEST_TWICE", 10)
    assert not isinstance(open_session(model, threads=2), onnxsession._Either)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert not isinstance(open_session(model), onnxsession._Either)


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"nothing of the kind")
    with pytest.raises(PredictionError, match=r"model\.onnx cannot be read as an ONNX model"):
        open_session(tmp_path / "model.onnx")


class _Network:
    """Computes rows of doubles, slowly by a clock of its own; `sums` adds all rows up."""

    def __init__(self, clock: list[float], *, sums: bool = False) -> None:
        self.clock, self.sums, self.calls = clock, sums, 0

    def get_inputs(self) -> list[str]:
        return ["x"]

    get_outputs = get_inputs

    def run(self, wanted: Sequence[str], fed: dict[str, np.ndarray]) -> list[np.ndarray]:
        self.calls += 1
        x = fed["x"]
        self.clock[0] += len(x) * (0.001 if len(x) <= 2 else 0.002)
        return [2 * x, x.sum() if self.sums else -x]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let the time be what is written here."""
    now = [0.0]
    monkeypatch.setattr(onnxsession.time, "perf_counter", lambda: now[0])
    return now


def test_many_rows_are_computed_in_pieces_where_that_is_faster(clock: list[float]) -> None:
    network = _Network(clock)
    session = InPieces(network)
    for call in range(100):
        count = 9 if call % 2 else 32
        x = np.arange(3.0 * count).reshape(count, 3)
        twice, negative = session.run(["twice", "negative"], {"x": x})
        assert (twice == 2 * x).all() and (negative == -x).all()
    before = network.calls
    session.run(["twice", "negative"], {"x": np.ones((9, 3))})
    assert network.calls - before == 5
    session.run(["twice", "negative"], {"x": np.ones((7, 3))})
    assert network.calls - before == 6


def test_pieces_are_computed_at_the_same_time(clock: list[float]) -> None:
    network, narrow = _Network(clock), _Network(clock)
    together = threading.Barrier(2)

    def run(wanted: Sequence[str], fed: dict[str, np.ndarray]) -> list[np.ndarray]:
        together.wait(20)  # until another is there
        return _Network.run(narrow, wanted, fed)

    narrow.run = run  # type: ignore[method-assign]
    with ThreadPoolExecutor(2) as pool:
        session = InPieces(network, narrow, pool.map)
        for _ in range(60):
            x = np.arange(96.0).reshape(32, 3)
            twice, negative = session.run(["twice", "negative"], {"x": x})
            assert (twice == 2 * x).all() and (negative == -x).all()
    assert narrow.calls == (60 - network.calls) * 16 and network.calls < 15


def test_what_is_not_of_rows_is_computed_whole(clock: list[float]) -> None:
    network = _Network(clock, sums=True)
    session = InPieces(network)
    x = np.ones((32, 3))
    for _ in range(60):
        assert session.run(["twice", "sum"], {"x": x})[1] == 96
    assert network.calls == 61  # a piece was tried once


def test_short_calls_are_whole(clock: list[float]) -> None:
    network = _Network(clock)
    network.run = lambda wanted, fed: [fed["x"]]  # type: ignore[method-assign]
    session = InPieces(network)
    for _ in range(60):
        (found,) = session.run(["x"], {"x": np.ones((32, 3))})
        assert found.shape == (32, 3)
    assert not session._choice.is_second
