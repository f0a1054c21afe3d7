"""A job's log: what the engine said about it and what its replicas printed, in one order.

    <job>/service.log.jsonl                 the engine's own lines (`ServiceLog`)
    <job>/<attempt>/<task>.log.jsonl        a replica's first lines
    <job>/<attempt>/<task>.log.<n>.jsonl    its newest lines, when it printed more than its quota

The log of a tuning job holds those of its trials, which have folders like these of their own.

Messages are kept as they were printed, control characters included: who shows them on a terminal
must escape them.
"""

from __future__ import annotations

import base64
import binascii
import heapq
import json
import logging
import os
import re
import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec

from mlengine.core.errors import OutOfRange
from mlengine.core.resources import LogEntry
from mlengine.runtime.logfile import timestamp

__all__ = ["SERVICE", "ServiceLog", "TrialLog", "read"]

SERVICE = "service"
"""Task name of the engine's own lines."""

_MOST_TRIALS = 1_000_000
_AT_ONCE = 100
_PAGE_BYTES = 1 << 20
_FIRST_BLOCK_BYTES, _MOST_BLOCK_BYTES = 8 << 10, 128 << 10
_FILE = re.compile(r"(?P<task>.+?)\.log(?:\.(?P<part>\d+))?\.jsonl")
_log = logging.getLogger(__name__)


class ServiceLog:
    """The engine's own lines about one job; many processes and threads may write at once.

    Args:
        job_dir: The job's folder; it is created with the first line.
    """

    def __init__(self, job_dir: Path) -> None:
        self._path = job_dir / f"{SERVICE}.log.jsonl"

    def write(self, message: str, severity: str = "INFO") -> None:
        """Append one line. A full disk loses it: a job must not fail for a log line."""
        record = {
            "timestamp": timestamp(time.time_ns()),
            "severity": severity,
            "task_name": SERVICE,
            "trial_id": "",
            "message": message,
        }
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(self._path, flags, 0o600)
            try:
                # One write with O_APPEND: lines of several writers never mix.
                os.write(descriptor, json.dumps(record).encode("ascii") + b"\n")
            finally:
                os.close(descriptor)
        except OSError as error:
            _log.warning("%s: %s; the line was: %s", self._path, error, message)

    def has(self, message: str) -> bool:
        """Tell whether a line with these very words was written."""
        try:
            return json.dumps(message).encode("ascii") in self._path.read_bytes()
        except OSError:
            return False


class TrialLog(NamedTuple):
    """Where a trial's log is; nothing is added to one that has `ended`."""

    trial: str
    folder: Path
    ended: bool


def read(
    job_dir: Path,
    *,
    cursor: str = "",
    task_name: str = "",
    limit: int = 1000,
    trials: Sequence[TrialLog] = (),
) -> tuple[list[LogEntry], str]:
    """Return the entries after a cursor, oldest first, and the cursor that follows them.

    Entries of one task keep the order in which they were written; tasks are merged by time.
    A line that is still being written is left for the next call.

    Args:
        job_dir: The job's folder; it need not exist yet.
        cursor: What an earlier call returned; empty starts at the beginning.
        task_name: Keep this task only, such as ``master-replica-0``; empty keeps all.
        limit: Most entries to return; long lines make it fewer.
        trials: Of a tuning job, by number.

    Raises:
        OutOfRange: The cursor is not one of this job's.
    """
    offsets = _decode(cursor)
    done = _done(offsets)
    unread = [t for t in trials if t.trial not in done]
    while True:
        # Each has open files while it is read: of a job that is caught up with not all at once.
        now, unread = unread[:_AT_ONCE], unread[_AT_ONCE:]
        streams = _streams(job_dir)
        for trial in now:
            streams += _streams(trial.folder, trial=trial.trial)
        offsets = _present(offsets, streams, {"", *(t.trial for t in now)})
        rows = _merged([s for s in streams if not task_name or s.task == task_name], offsets)
        found, is_all = _page(rows, limit)
        rows.close()
        offsets |= {row.file: row.end for row in found}
        if is_all:
            done |= {t.trial for t in now if t.ended}
        if found or not unread:
            return [row.entry for row in found], _encode(_without(offsets, done))


def _page(rows: Iterator[_Row], limit: int) -> tuple[list[_Row], bool]:
    """Take as many rows as one answer may hold; tell whether these were all."""
    found: list[_Row] = []
    room_bytes = _PAGE_BYTES
    for row in rows:
        found.append(row)
        room_bytes -= row.size
        if len(found) == limit or room_bytes <= 0:
            return found, False
    return found, True


def _merged(streams: Sequence[_Stream], offsets: dict[str, int]) -> Generator[_Row]:
    yield from heapq.merge(*(_entries(s, offsets) for s in streams), key=lambda row: row.order)


# A cursor names trials that were read to their end by ranges, `=1-40`, and none of their files:
# with a place for each file of a thousand trials it would be longer than a URL may be.
_DONE, _OF_TRIAL = "=", "@"


def _done(offsets: dict[str, int]) -> set[str]:
    """Return the trials of which a cursor says that they were read to their end."""
    found: set[str] = set()
    for name in offsets:
        if name.startswith(_DONE):
            first, _dash, last = name.removeprefix(_DONE).partition("-")
            if not (first.isdecimal() and last.isdecimal() and len(last) < 9):
                raise _bad_cursor(name)
            if int(last) - int(first) > _MOST_TRIALS:
                raise _bad_cursor(name)
            found.update(str(n) for n in range(int(first), int(last) + 1))
    return found


def _without(offsets: dict[str, int], done: set[str]) -> dict[str, int]:
    """Name the trials that are done by ranges, and drop the places in their files."""
    kept = {
        name: at
        for name, at in offsets.items()
        if not name.startswith(_DONE) and _trial_of(name) not in done
    }
    for number in sorted(map(int, done)):
        if str(number - 1) in done:
            continue
        last = number
        while str(last + 1) in done:
            last += 1
        kept[f"{_DONE}{number}-{last}"] = 0
    return kept


def _present(
    offsets: dict[str, int], streams: Sequence[_Stream], looked_at: set[str]
) -> dict[str, int]:
    """Drop the places in files that are no longer; they never come back.

    Of a flood all parts but the newest are removed: with a place for each that was ever read the
    cursor of who follows it would outgrow a URL.

    Args:
        streams: All that there are of the trials that were `looked_at`.
        looked_at: The others' files are unknown, and their places kept; empty names the job.
    """
    files = {stream.key(name) for stream in streams for name in stream.files}
    return {
        name: at
        for name, at in offsets.items()
        if name in files or _trial_of(name) not in looked_at
    }


def _trial_of(name: str) -> str:
    """Return the trial that a file of a cursor is of; empty if it is the job's."""
    return name[1:].partition("/")[0] if name.startswith(_OF_TRIAL) else ""


class _Stream(NamedTuple):
    """The files of one task of one attempt, oldest first; names are relative to the job."""

    task: str
    job_dir: Path
    files: Sequence[str]
    trial: str = ""

    def key(self, name: str) -> str:
        """Return what a cursor calls one of the files."""
        return f"{_OF_TRIAL}{self.trial}/{name}" if self.trial else name


class _Row(NamedTuple):
    order: str
    entry: LogEntry
    file: str
    end: int
    size: int


def _streams(job_dir: Path, *, trial: str = "") -> list[_Stream]:
    """Find all logs: the engine's first, then by attempt."""
    folders = [job_dir]
    if job_dir.is_dir():
        attempts = [p for p in job_dir.iterdir() if p.name.isdecimal() and p.is_dir()]
        folders += sorted(attempts, key=lambda p: int(p.name))
    found: list[_Stream] = []
    for folder in folders:
        parts: dict[str, list[tuple[int, str]]] = {}
        for path in folder.glob("*.log*.jsonl"):
            match = _FILE.fullmatch(path.name)
            if match:
                name = str(path.relative_to(job_dir))
                parts.setdefault(match["task"], []).append((int(match["part"] or 0), name))
        for task, files in sorted(parts.items()):
            names = [name for _part, name in sorted(files)]
            found.append(_Stream(task, job_dir, names, trial))
    return found


def _entries(stream: _Stream, offsets: dict[str, int]) -> Iterator[_Row]:
    order, trial, task = "", stream.trial, stream.task
    for name in stream.files:
        try:
            file = (stream.job_dir / name).open("rb")
        except FileNotFoundError:  # the oldest part of a flood, removed a moment ago
            continue
        with file:
            key = stream.key(name)
            start = offsets.get(key, 0)
            _seek(file, start, key)
            for raw, line in _lines(file):
                end = start + len(raw)
                order = max(order, line.timestamp)
                entry = LogEntry(
                    timestamp=line.timestamp or order,
                    severity=line.severity,
                    task_name=task,
                    trial_id=trial or line.trial_id,
                    message=line.message,
                    json_payload=line.json_payload,
                    insert_id=f"{key}:{start}",
                )
                yield _Row(order, entry, key, end, len(raw))
                start = end


class _Line(msgspec.Struct, gc=False):
    """What a file's line says; what else is in it says nothing new."""

    timestamp: str
    severity: str
    message: str
    trial_id: str = ""
    json_payload: dict[str, Any] | None = None


_decoder = msgspec.json.Decoder(_Line)


def _lines(file: BinaryIO) -> Iterator[tuple[bytes, _Line]]:
    """Yield the lines that are whole, read and understood by the block.

    Blocks grow: of a thousand tasks a page needs few lines each, of a single one very many.
    """
    size, is_whole = _FIRST_BLOCK_BYTES, True
    while is_whole and (block := file.readlines(size)):
        if not (is_whole := block[-1].endswith(b"\n")):
            block.pop()
        try:
            found = _decoder.decode_lines(b"".join(block))
        except (msgspec.DecodeError, UnicodeDecodeError):
            found = []
        if len(found) != len(block):  # one is torn
            found = [*map(_parse, block)]
        yield from zip(block, found, strict=True)
        size = min(2 * size, _MOST_BLOCK_BYTES)


def _seek(file: BinaryIO, offset: int, name: str) -> None:
    """Go to the start of a line, or refuse."""
    if offset:
        file.seek(offset - 1)
        if file.read(1) != b"\n":
            raise _bad_cursor(f"{name}:{offset}")


def _parse(raw: bytes) -> _Line:
    try:
        return _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):  # a power cut tore it: show what there is
        return _Line("", "DEFAULT", raw.decode("utf-8", "replace").rstrip("\n"))


def _encode(offsets: dict[str, int]) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(offsets)).decode("ascii").rstrip("=")


def _decode(cursor: str) -> dict[str, int]:
    if not cursor:
        return {}
    try:
        data = base64.urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        offsets = msgspec.json.decode(data, type=dict[str, int])
    except (ValueError, binascii.Error, msgspec.DecodeError) as error:
        raise _bad_cursor(cursor) from error
    if any(offset < 0 or offset > 2**62 for offset in offsets.values()):
        raise _bad_cursor(cursor)
    return offsets


def _bad_cursor(cursor: str) -> OutOfRange:
    return OutOfRange(
        f"{cursor[:80]!r} is no place in this job's log.",
        "Pass the cursor of the last answer unchanged, or none to start at the beginning.",
        field="cursor",
    )
