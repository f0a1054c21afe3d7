"""TensorBoard event files: real ones, hand-made ones, cut ones and damaged ones."""

from __future__ import annotations

import math
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlengine.runtime.records import masked_crc
from mlengine.training.eventfiles import Budget, EventFile, Scalar, find_event_files
from tests.fakes.records import framed

# --- writing them by hand ---


def varint(number: int) -> bytes:
    number &= 2**64 - 1
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def blob(field: int, data: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(data)) + data


def integer(field: int, number: int) -> bytes:
    return varint(field << 3) + varint(number)


def simple(tag: str, value: float) -> bytes:
    return blob(1, tag.encode()) + varint(2 << 3 | 5) + struct.pack("<f", value)


def tensor(tag: str, content: bytes, *, plugin: str = "scalars") -> bytes:
    metadata = blob(9, blob(1, blob(1, plugin.encode()))) if plugin else b""
    return blob(1, tag.encode()) + blob(8, content) + metadata


def event(*values: bytes, step: int = 0, time_s: float = 1.0) -> bytes:
    summary = b"".join(blob(1, value) for value in values)
    return b"\x09" + struct.pack("<d", time_s) + integer(2, step) + blob(5, summary)


def read(tmp_path: Path, data: bytes, **more: Any) -> list[Scalar]:
    path = tmp_path / "events.out.tfevents.1"
    path.write_bytes(data)
    return EventFile(path).read(**more)


def only(tmp_path: Path, value: bytes) -> float | None:
    found = read(tmp_path, framed(event(value)))
    return found[0].value if found else None


# --- real ones ---

WRITER = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import tensorflow as tf
folder = sys.argv[1]
writer = tf.summary.create_file_writer(folder + "/train")
with writer.as_default():
    for step in range(3):
        tf.summary.scalar("epoch_loss", 1.0 / (step + 1), step=step)
        tf.summary.scalar("half", tf.constant(0.5, tf.float16), step=step)
        tf.summary.scalar("double", tf.constant(0.25, tf.float64), step=step)
        tf.summary.scalar("int", 7, step=step)
        tf.summary.scalar("zero", 0.0, step=step)
        tf.summary.scalar("nan", float("nan"), step=step)
        tf.summary.histogram("weights", [1.0, 2.0], step=step)
        tf.summary.text("words", "hello", step=step)
writer.close()
v1 = tf.compat.v1
with tf.Graph().as_default() as graph:
    tf.constant(1.0)
    old = v1.summary.FileWriter(folder + "/old", graph=graph)
    for step in range(3):
        value = v1.Summary.Value(tag="loss", simple_value=step / 2)
        old.add_summary(v1.Summary(value=[value]), step * 100)
    old.close()
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("tensorboard")
    folder = tmp_path_factory.mktemp("events")
    subprocess.run(
        [sys.executable, "-c", WRITER, str(folder)], check=True, stderr=subprocess.DEVNULL
    )
    return folder


def test_what_tensorflow_2_writes_is_read(written: Path) -> None:
    (path,) = find_event_files(written / "train")
    found = EventFile(path).read()
    assert {s.tag for s in found} == {"epoch_loss", "half", "double", "int", "zero", "nan"}
    assert [s.step for s in found if s.tag == "epoch_loss"] == [0, 1, 2]
    last = {s.tag: s.value for s in found}
    assert last["epoch_loss"] == pytest.approx(1 / 3)
    assert (last["half"], last["double"], last["int"], last["zero"]) == (0.5, 0.25, 7.0, 0.0)
    assert math.isnan(last["nan"])
    assert all(abs(s.time_s - path.stat().st_mtime) < 60 for s in found)


def test_what_tensorflow_1_wrote_is_read(written: Path) -> None:
    (path,) = find_event_files(written / "old")
    found = EventFile(path).read()
    assert [(s.tag, s.step, s.value) for s in found] == [
        ("loss", 0, 0.0), ("loss", 100, 0.5), ("loss", 200, 1.0),
    ]  # fmt: skip


def test_a_real_file_cut_anywhere_has_a_prefix_of_its_values(written: Path, tmp_path: Path) -> None:
    (path,) = find_event_files(written / "old")
    data, whole = path.read_bytes(), EventFile(path).read()
    for size in range(len(data) + 1):
        found = read(tmp_path, data[:size])
        assert found == whole[: len(found)]
    assert len(found) == 3


# --- every form of a value ---

FORMS: dict[str, tuple[bytes, float | None]] = {
    "float packed": (integer(1, 1) + blob(5, struct.pack("<f", 0.5)), 0.5),
    "float alone": (integer(1, 1) + b"\x2d" + struct.pack("<f", 0.5), 0.5),
    "float content": (integer(1, 1) + blob(4, struct.pack("<f", 0.5)), 0.5),
    "double packed": (integer(1, 2) + blob(6, struct.pack("<d", 0.1)), 0.1),
    "double content": (integer(1, 2) + blob(4, struct.pack("<d", 0.1)), 0.1),
    "int packed": (integer(1, 3) + blob(7, varint(-3)), -3.0),
    "int alone": (integer(1, 3) + integer(7, 300), 300.0),
    "int64": (integer(1, 9) + blob(10, varint(-(2**40))), float(-(2**40))),
    "bool": (integer(1, 10) + integer(11, 1), 1.0),
    "uint32": (integer(1, 22) + integer(16, 2**32 - 1), float(2**32 - 1)),
    "half": (integer(1, 19) + integer(13, 0x3800), 0.5),
    "half content": (integer(1, 19) + blob(4, struct.pack("<e", 0.5)), 0.5),
    "bfloat16": (integer(1, 14) + integer(13, 0x3F00), 0.5),
    "bfloat16 content": (integer(1, 14) + blob(4, b"\x00\x3f"), 0.5),
    "zero left out": (integer(1, 1), 0.0),
    "empty shape": (integer(1, 1) + blob(2, b"") + blob(5, struct.pack("<f", 2.0)), 2.0),
    "a vector": (integer(1, 1) + blob(2, blob(2, integer(1, 2))) + blob(5, b"\0" * 8), None),
    "text": (integer(1, 7) + blob(8, b"hello"), None),
    "content too long": (integer(1, 1) + blob(4, b"\0" * 8), None),
    "nothing packed": (integer(1, 1) + blob(5, b""), None),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_tensor_of_every_form_is_a_scalar_or_nothing(tmp_path: Path, form: str) -> None:
    content, expected = FORMS[form]
    assert only(tmp_path, tensor("x", content)) == (
        None if expected is None else pytest.approx(expected)
    )


def test_other_plugins_are_no_scalars_and_none_is(tmp_path: Path) -> None:
    content = integer(1, 1) + blob(5, struct.pack("<f", 0.5))
    assert only(tmp_path, tensor("x", content, plugin="hparams")) is None
    assert only(tmp_path, tensor("x", content, plugin="")) == 0.5


def test_several_values_of_one_event_share_its_step_and_time(tmp_path: Path) -> None:
    data = framed(event(simple("a", 1.0), simple("b", math.inf), step=-1, time_s=5.5))
    assert read(tmp_path, data) == [Scalar("a", -1, 1.0, 5.5), Scalar("b", -1, math.inf, 5.5)]


def test_an_event_that_makes_no_sense_is_left_out_and_the_rest_read(tmp_path: Path) -> None:
    nonsense = [b"\xff" * 4, blob(5, blob(1, blob(1, b"\xff\xfe"))), b"\x0b", b"\x09\x00"]
    data = b"".join(framed(record) for record in [*nonsense, event(simple("a", 1.0))])
    assert [s.tag for s in read(tmp_path, data)] == ["a"]


# --- files that grow, end early, or are too large ---

EVENTS = st.lists(
    st.tuples(
        st.text(min_size=1, max_size=8), st.floats(width=32), st.integers(-(2**63), 2**63 - 1)
    ),
    max_size=8,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(EVENTS, st.data())
def test_a_file_read_in_pieces_says_what_it_says_at_once(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, float, int]], data: Any
) -> None:
    path = tmp_path_factory.mktemp("growing") / "events.tfevents"
    whole = b"".join(framed(event(simple(tag, value), step=step)) for tag, value, step in rows)
    path.write_bytes(whole)
    expected = repr(EventFile(path).read())
    path.write_bytes(b"")
    growing, found, at = EventFile(path), [], 0
    while at < len(whole):
        size = data.draw(st.integers(1, len(whole) - at))
        with path.open("ab") as file:
            file.write(whole[at : at + size])
        at += size
        found += growing.read()
    assert repr(found) == expected
    assert [(s.tag, s.step) for s in found] == [(tag, step) for tag, _value, step in rows]
    assert growing.offset == len(whole)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400), st.integers(0, 10_000), st.integers(0, 255))
def test_no_bytes_raise_and_damage_only_ends_the_file_early(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, place: int, byte: int
) -> None:
    folder = tmp_path_factory.getbasetemp()
    read(folder, noise)
    read(folder, framed(noise))
    whole = b"".join(framed(event(simple(f"t{i}", i), step=i)) for i in range(5))
    expected = read(folder, whole)
    mutated = bytearray(whole)
    mutated[place % len(whole)] = byte
    found = read(folder, bytes(mutated))
    assert found == expected[: len(found)]
    assert len(found) >= place % len(whole) // (len(whole) // 5)


def test_a_record_of_a_giant_length_is_passed_over(tmp_path: Path) -> None:
    length = struct.pack("<Q", 1 << 40)
    data = framed(event(simple("a", 1.0))) + length + struct.pack("<I", masked_crc(length))
    assert [s.tag for s in read(tmp_path, data)] == ["a"]


def test_large_records_are_read_without_their_checksum(tmp_path: Path) -> None:
    record = event(simple("a", 1.0)) + blob(4, b"g" * 100_000)
    assert [s.tag for s in read(tmp_path, framed(record)[:-4] + b"\0\0\0\0")] == ["a"]


def test_a_budget_ends_the_reading_and_says_so(tmp_path: Path) -> None:
    data = b"".join(framed(event(simple("a", i), step=i)) for i in range(5))
    budget = Budget(records=3)
    assert [s.step for s in read(tmp_path, data, budget=budget)] == [0, 1, 2]
    assert budget.exceeded
    small = Budget(size_bytes=60)
    assert len(read(tmp_path, data, budget=small)) == 2
    assert small.exceeded
    assert not Budget().exceeded


def test_a_file_that_is_not_there_tells_nothing(tmp_path: Path) -> None:
    assert EventFile(tmp_path / "none").read() == []
    assert find_event_files(tmp_path / "none") == []


def test_event_files_are_found_in_any_folder_but_not_behind_links(tmp_path: Path) -> None:
    for name in ("a.tfevents.1", "train/b.tfevents.2", "x.y/z/c.tfevents.3", "train/other"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "d.tfevents.4").symlink_to(tmp_path / "a.tfevents.1")
    (tmp_path / "folder.tfevents").mkdir()
    names = [str(p.relative_to(tmp_path)) for p in find_event_files(tmp_path)]
    assert names == ["a.tfevents.1", "train/b.tfevents.2", "x.y/z/c.tfevents.3"]
    assert len(find_event_files(tmp_path, limit=2)) == 2
