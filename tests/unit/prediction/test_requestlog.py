"""Rows come back as they were written, labels join them, and nothing is believed half."""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlengine.core.errors import InvalidArgument, NotFound, ResourceExhausted
from mlengine.core.predictions import PredictionLabel
from mlengine.core.traffic import Outcome
from mlengine.prediction.requestlog import labels, tables
from mlengine.prediction.requestlog.ids import PredictionIds, day_of, parse_id
from mlengine.prediction.requestlog.parts import (
    PartWriter,
    close_orphans,
    day_folder,
    part_files,
    whole_lines,
)
from mlengine.prediction.requestlog.rows import Kept, Row, RowLines, Stamp, by_day, text_of
from mlengine.prediction.requestlog.tables import Tables, Wanted
from mlengine.prediction.requestlog.writer import Counts, Shelf, Writer, _Lines
from mlengine.prediction.traffic import experiments

DAY_S = 86_400.0
NOON = 20_000 * DAY_S + 43_200.0


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_LOOKS", 1)
    monkeypatch.setattr(tables, "_PAUSE_S", 0.0)


NAMES: Iterator[str] = (f"writer-{number:05d}" for number in itertools.count())


def writer(folder: Path, *, max_bytes: int = 1 << 20, keep: int = 0) -> PartWriter:
    return PartWriter(folder, NAMES, max_bytes=max_bytes, max_s=1e9, keep=keep)


class Log:
    """Tables with rows in them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tables = Tables(root, now=lambda: "2026-11-21T00:00:00Z")
        self.stamp = Stamp()

    def add(
        self, count: int, *, wall_s: float = NOON, table: str = "p/d/t", model: str = "m",
        version: str = "v1",
    ) -> list[str]:  # fmt: skip
        ids = PredictionIds(wall_s)
        rows = [
            Row(ids.next(version), model, version, self.stamp.text(wall_s + at), f"[{at}]", "{}")
            for at in range(count)
        ]  # fmt: skip
        part = writer(self.root / table / day_folder(int(wall_s // DAY_S)))
        part.write(msgspec.json.Encoder().encode_lines(rows))
        part.close()
        return [row.prediction_id for row in rows]

    def read(self, wanted: Wanted, *, limit: int = 7) -> list[str]:
        found, after = [], ""
        while True:
            page = self.tables.rows(wanted, limit=limit, after=after)
            assert len(page.rows) <= limit
            found += [row.prediction_id for row in page.rows]
            after = page.after
            if not after:
                return found


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "tables")


# --- ids and rows ---


@given(st.integers(0, 90_000), st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,127}", fullmatch=True))
def test_an_id_says_its_day(day: int, version: str) -> None:
    ids = PredictionIds(0.0)
    ids.set_time(day * DAY_S + 5)
    for name in (ids.next(version), ids.drawn(version, period=12, unit="2af")):
        assert day_of(name) == day
    assert len({ids.next(version) for _ in range(100)}) == 100


@given(
    st.integers(0, 90_000), st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,127}", fullmatch=True),
    st.integers(0, 999_999_999), st.none() | st.integers(0, 2**64 - 1), st.integers(0, 16**12 - 1),
)  # fmt: skip
def test_an_id_says_what_it_was_made_of(
    day: int, version: str, period: int, unit: int | None, number: int
) -> None:
    ids = PredictionIds(day * DAY_S)
    ids._numbers = itertools.count(number)
    text = "" if unit is None else f"{unit:x}"
    names = [ids.drawn(version, period=period, unit=text)]
    made = [(day, period, version, text)]
    if number < 16**12 - 1:
        names += [ids.next(version) for _ in range(256)]
        made += [(day, 0, version, "")] * 256
    said = [parse_id(name) for name in names]
    assert [(one.day, one.period, one.version_id, one.unit) for one in said if one] == made
    assert len({one.end for one in said if one}) == len(names)


NONCE = "c0ffeec0de"
DRAWN = f"3-v2-5f3a-05129{NONCE}2b700"


@pytest.mark.parametrize(
    "text",
    [
        "", "1-v1--n", "5-v2--made1", "../../x", "1-v1--0512a/../", "a" * 5000,
        DRAWN + "g", DRAWN + "a", DRAWN + "\n", "x" + DRAWN, " " + DRAWN, DRAWN[:-1],
        f"03-v2-5f3a-05129{NONCE}2b700", f"3-v2-05f3a-05129{NONCE}2b700",
        f"3-v2-5f3a-05129{NONCE}02b700", f"3-v2-5f3a-05129{NONCE}00", f"3-v2-5f3a-05129{NONCE}2b7",
        f"0-v2-5f3a-05129{NONCE}2b7c4", f"3-2v-5f3a-05129{NONCE}2b700", f"3--5f3a-05129{NONCE}100",
        f"3-v2-5F3A-05129{NONCE}2b700", f"3-v2-5f3a-05129{NONCE}{'1' * 13}00",
        f"-3-v2-5f3a-05129{NONCE}2b700", f"3-v2-5f3a-1-05129{NONCE}2b700",
        f"\u0663-v2-5f3a-05129{NONCE}2b700",
    ],
)  # fmt: skip
def test_what_no_gateway_gives_is_no_id(text: str) -> None:
    assert parse_id(DRAWN) == (3, "v2", "5f3a", DRAWN.rpartition("-")[2])
    assert parse_id(text) is None
    assert day_of(text) == -1


def test_outcomes_and_labels_refuse_the_same_names_in_the_same_words(log: Log) -> None:
    for text in ("5-v2--made1", DRAWN + "a", "../x"):
        with pytest.raises(InvalidArgument) as of_label:
            log.tables.label("p", [PredictionLabel(prediction_id=text, value="x")])
        with pytest.raises(InvalidArgument) as of_outcome:
            experiments._outcome(Outcome(prediction_id=text, value=1.0), "outcomes[0]")
        said = str(of_label.value)
        assert f"{text!r} is no id of a prediction." in said
        assert said.replace("labels[0]", "outcomes[0]") == str(of_outcome.value)


def test_an_id_of_a_log_is_one_that_an_experiment_understands() -> None:
    ids = PredictionIds(NOON)
    sticky, alone = ids.drawn("v1", period=3, unit="ff"), ids.drawn("v1", period=3, unit="")
    for name, unit in ((sticky, "ff"), (alone, alone.rpartition("-")[2])):
        read = experiments._outcome(Outcome(prediction_id=name, value=1.0), "outcomes[0]")
        assert (read.prediction_id, read.period, read.version_id) == (name, 3, "v1")
        assert read.unit == unit


@given(st.binary(max_size=200))
def test_a_body_of_any_bytes_is_text(body: bytes) -> None:
    text = text_of(body)
    assert msgspec.json.decode(msgspec.json.encode(text)) == text


BODIES = st.one_of(st.binary(max_size=20), st.text(max_size=20).map(str.encode))


@given(st.lists(st.tuples(BODIES, st.none() | BODIES), min_size=1, max_size=9))
def test_lines_hold_what_the_rows_held(kept: list[tuple[bytes, bytes | None]]) -> None:
    rows: list[Kept] = [(f"id{at}", f"t{at}", *one) for at, one in enumerate(kept)]
    lines = RowLines("m", "v1").encode(rows).splitlines()
    assert [msgspec.json.decode(line, type=Row) for line in lines] == [
        Row(name, "m", "v1", moment, text_of(body), None if answer is None else text_of(answer))
        for name, moment, body, answer in rows
    ]


@given(st.lists(st.integers(20_000, 20_002), min_size=1, max_size=30))
def test_rows_are_parted_by_the_days_in_their_names(days: list[int]) -> None:
    ids = {day: PredictionIds(day * DAY_S) for day in range(20_000, 20_003)}
    rows: list[Kept] = [(ids[day].next("v1"), "t", b"", None) for day in days]
    parted = by_day(rows)
    assert {day: [*some] for day, some in parted.items()} == {
        day: [row for row in rows if day_of(row[0]) == day] for day in set(days)
    }


def test_ids_that_were_made_in_advance_are_of_their_day() -> None:
    ids = PredictionIds(NOON)
    names = [ids.next("v1") for _ in range(300)]
    fresh = ids.fresh("v1")
    assert fresh, "some were made in advance"
    names += [fresh.pop() for _ in range(10)]
    ids.set_time(NOON + DAY_S)
    assert not fresh
    assert day_of(ids.next("v1")) == 20_001
    assert ids.fresh("v1") is fresh, "who takes them from there gets those of today"
    names += [ids.next("v1"), fresh.pop(), ids.next("v2")]
    names += [ids.drawn("v1", period=0, unit="") for _ in range(600)]
    assert len(set(names)) == len(names)


@given(st.floats(0, 4e9))
def test_times_sort_as_they_pass(wall_s: float) -> None:
    stamp = Stamp()
    first, second = stamp.text(wall_s), stamp.text(wall_s + 0.0015)
    assert len(first) == 24
    assert first < second
    assert Stamp().text(wall_s) == first


# --- parts ---


@settings(max_examples=20)  # each waits for the disk
@given(st.lists(st.integers(1, 300), min_size=1, max_size=12), st.integers(100, 2000))
def test_parts_hold_every_line_once_in_order(sizes: list[int], most: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "day"
        part, sent = writer(folder, max_bytes=most), []
        for at, size in enumerate(sizes):
            line = b"%04d%b\n" % (at, b"x" * size)
            part.write(line)
            sent.append(line)
            part.settle(sync=True)
            read = [line for path in part_files(folder) for line in whole_lines(path)]
            assert read == sent
        part.close()
        assert [line for path in part_files(folder) for line in whole_lines(path)] == sent
        assert not list(folder.glob("*.open"))


def test_a_write_that_fails_half_way_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = writer(tmp_path)
    part.write(b"one\n")
    real = os.write

    def short(fd: int, pieces: tuple[bytes, ...]) -> int:
        return real(fd, b"".join(pieces)[:8])

    def full(fd: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "writev", short)
    part.write(b"two\n", b"three\n", b"four\n")  # the rest follows
    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        part.write(b"five\n", b"which is longer\n")
    monkeypatch.undo()
    part.write(b"six\n", b"seven\n")
    part.close()
    (path,) = part_files(tmp_path)
    assert path.read_bytes() == b"one\ntwo\nthree\nfour\nsix\nseven\n"


def test_of_many_rows_that_do_not_fit_together_those_are_written_that_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.writev

    def small(fd: int, pieces: tuple[bytes, ...]) -> int:
        if sum(map(len, pieces)) > 5:
            raise OSError(28, "No space left on device")
        return real(fd, pieces)

    monkeypatch.setattr(os, "writev", small)
    out, counts, others = Writer(), Counts(), Counts()
    shelf = Shelf(tmp_path / "day", max_bytes=1 << 20, max_s=1e9)
    for data in (b"one\n", b"too long\n", b"two\n"):
        out._waiting.append((len(data), _Lines(shelf, data, 1, counts)))
    out.append(Shelf(tmp_path / "other", max_bytes=1 << 20, max_s=1e9), b"alone\n", 2, others)
    out.close()
    assert (counts.written, counts.lost) == (2, 1)
    assert (others.written, others.lost) == (0, 2)
    assert [path.read_bytes() for path in part_files(tmp_path / "day")] == [b"one\ntwo\n"]


@pytest.mark.parametrize(("left", "kept"), [
    (b"one\ntwo\nthr", b"one\ntwo\n"), (b"one\n", b"one\n"), (b"half", None), (b"", None),
    (b"one\n" + b"x" * 200_000, b"one\n"),
])  # fmt: skip
def test_the_part_of_a_writer_that_is_gone_is_closed_at_its_last_line(
    tmp_path: Path, left: bytes, kept: bytes | None
) -> None:
    day = tmp_path / "p" / "d" / "t" / "2026-11-21"
    day.mkdir(parents=True)
    part = day / "101500-gone-0.jsonl.open"
    part.write_bytes(left)
    alive = writer(day)
    alive.write(b"alive\n")
    assert close_orphans(tmp_path) == 1
    assert not part.exists()
    closed = part.with_suffix("")
    assert (closed.read_bytes() if closed.exists() else None) == kept
    assert len(list(day.glob("*.open"))) == 1, "the living one goes on"
    alive.close()


def test_an_access_log_keeps_its_newest_parts(tmp_path: Path) -> None:
    part = writer(tmp_path, max_bytes=1, keep=3)
    for number in range(8):
        part.write(b"%d\n" % number)
        part.settle(sync=True)
    assert [path.read_bytes() for path in part_files(tmp_path)] == [b"5\n", b"6\n", b"7\n"]


def test_an_access_log_keeps_the_days_that_came_last_whatever_their_hours(tmp_path: Path) -> None:
    for day, name in enumerate(["235900-old", "120000-old", "235901-old"]):  # as they were named
        old = tmp_path / f"{name}.jsonl"
        old.write_bytes(b"old %d\n" % day)
        os.utime(old, (NOON + day, NOON + day))
    part = writer(tmp_path, max_bytes=1, keep=3)
    for number in range(2):
        part.write(b"%d\n" % number)
        part.settle(sync=True)
    kept = sorted(path.read_bytes() for path in part_files(tmp_path))
    assert kept == [b"0\n", b"1\n", b"old 2\n"]


def test_parts_are_read_in_the_order_of_their_days(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = [time.gmtime(NOON), time.gmtime(NOON + DAY_S / 2 + 1)]  # it is past midnight then
    for number, moment in enumerate(moments):
        monkeypatch.setattr(time, "gmtime", lambda *_, moment=moment: moment)
        part = writer(tmp_path)
        part.write(b"%d\n" % number)
        part.close()
    read = [path.read_bytes() for path in part_files(tmp_path)]
    assert read == [b"0\n", b"1\n"]


def test_parts_as_older_engines_named_them_come_first_on_every_page(log: Log) -> None:
    day = log.root / "p/d/t" / day_folder(20_000)
    old, late = log.add(3), log.add(3)
    parts = part_files(day)
    for part, hour in zip(parts, ("090000", "203000"), strict=True):
        part.rename(day / f"{hour}-old-0.jsonl")
    new = log.add(3)
    like = log.add(2, table="p/d/t-2")
    for limit in (1, 2, 4, 100):
        assert log.read(Wanted("p", "m"), limit=limit) == like + old + late + new


def test_a_table_that_is_removed_begins_anew(tmp_path: Path) -> None:
    part = writer(tmp_path / "day")
    part.write(b"one\n")
    next((tmp_path / "day").iterdir()).unlink()
    part.settle(sync=True)
    part.write(b"two\n")
    part.close()
    assert [path.read_bytes() for path in part_files(tmp_path / "day")] == [b"two\n"]


def test_what_waits_is_bounded_and_what_is_dropped_is_counted(tmp_path: Path) -> None:
    out, counts = Writer(max_waiting_bytes=100), Counts()
    shelf = Shelf(tmp_path / "day", max_bytes=1 << 20, max_s=1e9)
    out._give(100, lambda: None)
    while counts.dropped == 0 and out.waiting_bytes:
        out.append(shelf, b"x" * 50 + b"\n", 5, counts)
    out.append(shelf, b"x" * 200 + b"\n", 7, counts)  # never fits
    out.close()
    assert counts.dropped >= 7
    assert (counts.written + counts.dropped) % 5 == 2
    assert counts.lost == 0


# --- tables ---


def test_rows_of_all_tables_come_once_by_the_day_whatever_the_page(log: Log) -> None:
    second = log.add(20, wall_s=NOON + DAY_S)
    first = log.add(15)
    other = log.add(5, table="p/d/u", version="v2")
    like = log.add(6, table="p/d/t-2")
    log.add(5, model="another")
    log.add(5, table="q/d/t")
    for limit in (1, 7, 100):
        assert log.read(Wanted("p", "m"), limit=limit) == like + first + other + second
    assert log.read(Wanted("p", "m", "v2")) == other
    assert log.read(Wanted("none", "m")) == []


def test_a_page_begins_where_the_one_before_ended_without_a_look_at_it(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.add(9)
    begun: list[int] = []

    def noted(path: Path, begin: int = 0) -> Iterator[bytes]:
        begun.append(begin)
        return whole_lines(path, begin)

    monkeypatch.setattr(tables, "whole_lines", noted)
    after, read = "", 0
    for _ in range(3):
        page = log.tables.rows(Wanted("p", "m"), limit=3, after=after)
        after, read = page.after, read + len(page.rows)
    assert read == 9 and begun[0] == 0 and begun == sorted(set(begun))


def test_since_counts_to_the_millisecond(log: Log) -> None:
    log.add(3, wall_s=NOON - 5 * DAY_S)
    late = log.add(10)
    since = log.stamp.text(NOON + 4)
    assert log.read(Wanted("p", "m", since=since)) == late[4:]


def test_a_search_in_vain_ends_its_page_and_goes_on(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "_LOOKED_BYTES", 2000)
    log.add(200, model="another")
    wanted = log.add(3, wall_s=NOON + DAY_S)
    assert log.tables.rows(Wanted("p", "m"), limit=5).rows == []
    assert log.read(Wanted("p", "m")) == wanted


def test_lines_of_somebody_else_are_passed_over(log: Log) -> None:
    ids = log.add(2)
    day = log.root / "p/d/t" / day_folder(20_000)
    (day / "000000-alien-0.jsonl").write_bytes(b'nonsense\n{"model": "m"}\n[]\n\xff\n')
    (day / "notes.txt").write_text("mine")
    assert log.read(Wanted("p", "m")) == ids


def test_a_label_joins_its_row_and_the_last_one_counts(log: Log) -> None:
    first = log.add(4)
    second = log.add(4, wall_s=NOON + DAY_S, table="p/d/u")

    def label(**values: str) -> tuple[int, int]:
        given = [
            PredictionLabel(prediction_id=(first + second)[int(at[1:])], value=value)
            for at, value in values.items()
        ]
        found = log.tables.label("p", given)
        return found.labelled, found.replaced

    assert label(n0="yes", n5="no") == (2, 0)
    assert label(n0="maybe", n1="") == (2, 1)
    rows = log.tables.rows(Wanted("p", "m"), limit=100).rows
    truths = [row.groundtruth for row in rows]
    assert truths == ["maybe", "", None, None, None, "no", None, None]
    again = Log(log.root)
    assert [r.groundtruth for r in again.tables.rows(Wanted("p", "m"), limit=9).rows] == truths


def test_labels_are_all_written_or_none_and_what_is_unknown_is_named(log: Log) -> None:
    known = log.add(2)
    unknown = PredictionIds(NOON).next("v1")
    foreign = log.add(1, table="q/d/t")[0]
    for bad in (unknown, foreign):
        with pytest.raises(NotFound, match=bad):
            log.tables.label("p", [PredictionLabel(prediction_id=name, value="x")
                                   for name in (known[0], bad)])  # fmt: skip
    with pytest.raises(InvalidArgument, match=r"'\.\./x' is no id"):
        log.tables.label("p", [PredictionLabel(prediction_id="../x", value="x")])
    with pytest.raises(InvalidArgument, match="10001 characters"):
        log.tables.label("p", [PredictionLabel(prediction_id=known[0], value="x" * 10_001)])
    with pytest.raises(InvalidArgument, match="0 labels"):
        log.tables.label("p", [])
    assert [r.groundtruth for r in log.tables.rows(Wanted("p", "m"), limit=9).rows] == [None, None]


def test_only_a_row_that_may_be_on_its_way_is_looked_for_again(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    find = log.tables._find
    monkeypatch.setattr(log.tables, "_find", lambda *a: looks.append(1) or find(*a))  # type: ignore[func-returns-value]
    midnight = 20_778 * DAY_S  # 2026-11-21, which it is there
    for days, wanted in ((0, 2), (-1, 2), (-2, 1)):
        name = PredictionIds(midnight + days * DAY_S).next("v1")
        with pytest.raises(NotFound, match=name):
            log.tables.label("p", [PredictionLabel(prediction_id=name, value="x")])
        assert len(looks) == wanted
        looks.clear()


def test_a_label_after_one_that_was_cut_short_counts(log: Log) -> None:
    names = log.add(2)
    day = log.root / "p/d/t" / day_folder(20_000)
    (day / "labels.jsonl").write_bytes(b'{"prediction_id":"x","grou')
    log.tables.label("p", [PredictionLabel(prediction_id=names[1], value="good")])
    assert labels.Labels(day).read() == {names[1]: "good"}


def test_a_disk_that_is_full_is_said_and_leaves_no_half_label(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = log.add(1)

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(labels.os, "fsync", full)
    with pytest.raises(ResourceExhausted, match="No space left"):
        log.tables.label("p", [PredictionLabel(prediction_id=names[0], value="x")])
    monkeypatch.undo()
    assert [r.groundtruth for r in log.tables.rows(Wanted("p", "m"), limit=9).rows] == [None]
