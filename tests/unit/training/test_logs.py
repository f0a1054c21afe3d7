"""A job's log, read as one stream."""

from __future__ import annotations

import io
import json
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlengine.core.errors import OutOfRange
from mlengine.core.resources import LogEntry
from mlengine.training import logs
from mlengine.training.logs import ServiceLog


def put(path: Path, *rows: tuple[str, str], end: str = "\n") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        for stamp, message in rows:
            record = {"timestamp": stamp, "severity": "INFO", "message": message}
            file.write(json.dumps(record) + end)


def messages(entries: list[LogEntry]) -> list[str]:
    return [e.message for e in entries]


def read_all(job: Path, *, limit: int, task_name: str = "") -> list[LogEntry]:
    found: list[LogEntry] = []
    cursor = ""
    while True:
        entries, cursor = logs.read(job, cursor=cursor, limit=limit, task_name=task_name)
        if not entries:
            return found
        found += entries


def test_a_job_without_a_folder_has_an_empty_log(tmp_path: Path) -> None:
    entries, cursor = logs.read(tmp_path / "none")
    assert entries == []
    assert logs.read(tmp_path / "none", cursor=cursor) == ([], cursor)


def test_tasks_and_attempts_are_merged_by_time(tmp_path: Path) -> None:
    put(tmp_path / "service.log.jsonl", ("1", "queued"), ("5", "done"))
    put(tmp_path / "1" / "master-replica-0.log.jsonl", ("2", "first"))
    put(tmp_path / "2" / "master-replica-0.log.jsonl", ("4", "second"))
    put(tmp_path / "2" / "ps-replica-0.log.jsonl", ("3", "ps"))
    entries, _cursor = logs.read(tmp_path)
    assert messages(entries) == ["queued", "first", "ps", "second", "done"]
    assert [e.task_name for e in entries][:3] == ["service", "master-replica-0", "ps-replica-0"]
    assert len({e.insert_id for e in entries}) == 5


def test_a_task_keeps_its_order_when_the_clock_goes_back(tmp_path: Path) -> None:
    put(tmp_path / "service.log.jsonl", ("5", "a"), ("1", "b"), ("7", "c"))
    put(tmp_path / "1" / "m.log.jsonl", ("6", "x"))
    assert messages(logs.read(tmp_path)[0]) == ["a", "b", "x", "c"]


def test_the_parts_of_a_flood_are_read_in_order(tmp_path: Path) -> None:
    put(tmp_path / "1" / "m.log.jsonl", ("1", "head"))
    put(tmp_path / "1" / "m.log.9.jsonl", ("2", "nine"))
    put(tmp_path / "1" / "m.log.10.jsonl", ("3", "ten"))
    assert messages(read_all(tmp_path, limit=1)) == ["head", "nine", "ten"]


def test_a_cursor_forgets_the_parts_of_a_flood_that_were_removed(tmp_path: Path) -> None:
    trials = [trial(tmp_path, 7, ended=False)]
    found, cursor = [], ""
    for folder in (tmp_path / "job" / "1", tmp_path / "t-7" / "1"):
        put(folder / "m.log.jsonl", ("1", "head"))
    for part in range(1, 601):
        for folder in (tmp_path / "job" / "1", tmp_path / "t-7" / "1"):
            put(folder / f"m.log.{part}.jsonl", ("2", f"{part}"))
            (folder / f"m.log.{part - 2}.jsonl").unlink(missing_ok=True)
        entries, cursor = logs.read(tmp_path / "job", cursor=cursor, trials=trials)
        found += messages(entries)
    assert found == ["head", "head", *(f"{part}" for part in range(1, 601) for _ in "12")]
    assert len(cursor) < 300


def test_half_a_line_is_left_for_later(tmp_path: Path) -> None:
    file = tmp_path / "1" / "m.log.jsonl"
    put(file, ("1", "whole"))
    put(file, ("2", "half"), end="")
    entries, cursor = logs.read(tmp_path)
    assert messages(entries) == ["whole"]
    with file.open("a") as out:
        out.write("\n")
    assert messages(logs.read(tmp_path, cursor=cursor)[0]) == ["half"]


def test_one_task_alone(tmp_path: Path) -> None:
    ServiceLog(tmp_path).write("queued")
    put(tmp_path / "1" / "m.log.jsonl", ("1", "x"))
    assert messages(logs.read(tmp_path, task_name="m")[0]) == ["x"]
    assert messages(logs.read(tmp_path, task_name="service")[0]) == ["queued"]
    assert logs.read(tmp_path, task_name="nobody")[0] == []


def test_a_torn_line_is_shown_as_it_is(tmp_path: Path) -> None:
    put(tmp_path / "1" / "m.log.jsonl", ("1", "a"))
    with (tmp_path / "1" / "m.log.jsonl").open("a") as file:
        file.write('{"timestamp": "2", "mess\n')
    entries, _cursor = logs.read(tmp_path)
    assert entries[1].message == '{"timestamp": "2", "mess'
    assert (entries[1].timestamp, entries[1].severity) == ("1", "DEFAULT")


def test_torn_lines_among_others_are_shown_in_their_place(tmp_path: Path) -> None:
    torn = [b'{"timestamp": "\xff"}\n', b"\n", b"\xff\n", b"{}\n", b"[7]\n", b"\0\0\n", b"{} {}\n"]
    file = tmp_path / "1" / "m.log.jsonl"
    put(file, ("1", "a"))
    with file.open("ab") as out:
        out.writelines(torn)
    put(file, ("2", "b"))
    shown = ["a", *(line[:-1].decode("utf-8", "replace") for line in torn), "b"]
    assert messages(logs.read(tmp_path)[0]) == shown
    assert messages(read_all(tmp_path, limit=1)) == shown


def test_long_lines_make_a_page_of_few(tmp_path: Path) -> None:
    put(tmp_path / "1" / "m.log.jsonl", *((f"{n}", f"{n}" * 300_000) for n in range(8)))
    first, _cursor = logs.read(tmp_path)
    assert messages(first) == [f"{n}" * 300_000 for n in range(4)]
    assert len(read_all(tmp_path, limit=1000)) == 8


def test_a_line_that_is_finished_while_the_log_is_read_is_whole(tmp_path: Path) -> None:
    class Growing(io.BytesIO):
        def readlines(self, hint: int | None = -1, /) -> list[bytes]:
            found = super().readlines(hint)
            at = self.tell()
            self.write(b"" if not found or found[-1].endswith(b"\n") else b' "b"}\n')
            self.seek(at)
            return found

    line = b'{"timestamp": "1", "severity": "INFO", "message":'
    assert [*logs._lines(Growing(line + b' "a"}\n' + line))] == [
        (line + b' "a"}\n', logs._Line("1", "INFO", "a"))
    ]


def test_control_characters_are_kept(tmp_path: Path) -> None:
    ServiceLog(tmp_path).write("\x1b[31mred\x00", "ERROR")
    (entry,), _cursor = logs.read(tmp_path)
    assert (entry.message, entry.severity) == ("\x1b[31mred\x00", "ERROR")
    assert entry.timestamp.endswith("Z")


@pytest.mark.parametrize("cursor", ["!", "é", "e30x", "W10", "eyJhIjotMX0", "eyJhIjoiYiJ9"])
def test_a_foreign_cursor_is_refused(tmp_path: Path, cursor: str) -> None:
    with pytest.raises(OutOfRange, match="no place in this job's log"):
        logs.read(tmp_path, cursor=cursor)


@pytest.mark.parametrize("offset", [3, 10_000])
def test_a_cursor_inside_a_line_or_behind_the_end_is_refused(tmp_path: Path, offset: int) -> None:
    put(tmp_path / "service.log.jsonl", ("1", "x"))
    with pytest.raises(OutOfRange):
        logs.read(tmp_path, cursor=logs._encode({"service.log.jsonl": offset}))


def test_a_cursor_names_no_other_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s\n")
    assert logs.read(tmp_path / "job", cursor=logs._encode({"../secret": 1}))[0] == []


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), max_size=40),
    st.integers(1, 7),
)
def test_pages_of_any_size_give_every_line_once_in_order(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, int]], limit: int
) -> None:
    job = tmp_path_factory.mktemp("job")
    for number, (task, stamp) in enumerate(rows):
        put(job / "1" / f"{task}.log.jsonl", (str(stamp), f"{task}{number}"))
    found = messages(read_all(job, limit=limit))
    assert sorted(found) == sorted(f"{task}{n}" for n, (task, _stamp) in enumerate(rows))
    for task in "abc":
        numbers = [int(m[1:]) for m in found if m[0] == task]
        assert numbers == sorted(numbers)


def test_lines_of_many_writers_never_mix(tmp_path: Path) -> None:
    def write(name: int) -> None:
        for _ in range(50):
            ServiceLog(tmp_path).write(f"{name}" * 2000)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    entries, _cursor = logs.read(tmp_path)
    assert len(entries) == 200
    assert all(len(set(e.message)) == 1 for e in entries)


def test_a_line_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ServiceLog(tmp_path / "file").write("x")


# --- trials -------------------------------------------------------------------------------------


def trial(root: Path, number: int, *, ended: bool = True) -> logs.TrialLog:
    return logs.TrialLog(str(number), root / f"t-{number}", ended)


def test_a_tuning_jobs_log_holds_those_of_its_trials(tmp_path: Path) -> None:
    put(tmp_path / "t" / "service.log.jsonl", ("1", "begun"), ("6", "over"))
    put(tmp_path / "t-1" / "service.log.jsonl", ("2", "one"))
    put(tmp_path / "t-1" / "1" / "m.log.jsonl", ("4", "one says"))
    put(tmp_path / "t-2" / "1" / "m.log.jsonl", ("3", "two says"), ("5", "two says more"))
    trials = [trial(tmp_path, 1), trial(tmp_path, 2, ended=False)]
    entries, cursor = logs.read(tmp_path / "t", trials=trials)
    assert [(e.trial_id, e.message) for e in entries] == [
        ("", "begun"), ("1", "one"), ("2", "two says"), ("1", "one says"), ("2", "two says more"),
        ("", "over"),
    ]  # fmt: skip
    assert len({e.insert_id for e in entries}) == 6
    put(tmp_path / "t-2" / "1" / "m.log.jsonl", ("7", "two says at last"))
    put(tmp_path / "t-1" / "1" / "m.log.jsonl", ("8", "one had ended"))
    entries, cursor = logs.read(tmp_path / "t", trials=trials, cursor=cursor)
    assert messages(entries) == ["two says at last"]
    entries, _cursor = logs.read(tmp_path / "t", trials=trials, task_name="m")
    assert {e.task_name for e in entries} == {"m"}


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_reading_trials_in_pieces_is_reading_them(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    root = tmp_path_factory.mktemp("job")
    counts = data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=8))
    said = [f"{n}.{k}" for n, count in enumerate(counts, 1) for k in range(count)]
    for message in data.draw(st.permutations(said)):
        put(root / f"t-{message.partition('.')[0]}" / "1" / "m.log.jsonl", ("1", message))
    ended = data.draw(st.lists(st.booleans(), min_size=len(counts), max_size=len(counts)))
    trials = [trial(root, n, ended=over) for n, over in enumerate(ended, 1)]
    limit, cursor, found = data.draw(st.integers(1, 9)), "", []
    while True:
        entries, cursor = logs.read(root / "t", trials=trials, cursor=cursor, limit=limit)
        if not entries:
            break
        found += messages(entries)
    assert sorted(found) == sorted(said)
    for number in range(1, len(counts) + 1):
        of_trial = [m for m in found if m.startswith(f"{number}.")]
        written = root / f"t-{number}" / "1" / "m.log.jsonl"
        lines = written.read_text().splitlines() if written.exists() else []
        assert of_trial == [json.loads(line)["message"] for line in lines]


def test_a_cursor_over_a_thousand_trials_is_short(tmp_path: Path) -> None:
    trials = [trial(tmp_path, n, ended=n != 500) for n in range(1, 1001)]
    for one in (1, 499, 500, 501, 1000):
        put(tmp_path / f"t-{one}" / "1" / "m.log.jsonl", ("1", f"{one}"))
    found, cursor = [], ""
    while True:
        entries, cursor = logs.read(tmp_path / "t", trials=trials, cursor=cursor)
        if not entries:
            break
        found += messages(entries)
    assert found == ["1", "499", "500", "501", "1000"]
    assert len(cursor) < 200


def test_a_cursor_keeps_the_places_in_trials_that_were_not_looked_at(tmp_path: Path) -> None:
    trials = [trial(tmp_path, n, ended=False) for n in range(1, 151)]
    for one in (1, 150):
        put(tmp_path / f"t-{one}" / "1" / "m.log.jsonl", ("1", f"{one}"))
    cursor = ""
    for said in (["1"], ["150"], []):
        entries, cursor = logs.read(tmp_path / "t", trials=trials, cursor=cursor)
        assert messages(entries) == said
    put(tmp_path / "t-1" / "1" / "m.log.jsonl", ("2", "more"))
    for said in (["more"], []):
        entries, cursor = logs.read(tmp_path / "t", trials=trials, cursor=cursor)
        assert messages(entries) == said


@pytest.mark.parametrize("name", ["=1", "=x-2", "=1-", "=1-999999999", "=0-99999999"])
def test_a_made_up_range_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutOfRange):
        logs.read(tmp_path, cursor=logs._encode({name: 0}), trials=[trial(tmp_path, 1)])
