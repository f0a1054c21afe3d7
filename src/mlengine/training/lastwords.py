"""The end of a replica's log, and what it tells of how the replica really ended.

Judged with care, because a trainer may log an exception that it has handled:

- A traceback counts only when nothing that means anything comes after its exception line. What
  libraries say on their way out (glog lines, warnings, "Exception ignored in ...") means nothing;
  any other line does.
- A message of several lines, as loggers write them in JSON, is read line by line.
- A thread that died of an exception while the program went on is worth a note, no more.
- A loss counts as printed when a line says ``loss: NUMBER`` or so; only the last such line does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

__all__ = ["LastWords", "last_words", "read_words", "tail"]

_TAIL_BYTES = 128 * 1024
_MAX_MESSAGE_LINES = 40

_OURS = re.compile(
    r"Module completed; cleaning up\.$|Task completed successfully\.$"
    r"|[\d,]+ lines of this log were dropped; |It was refused more than \d+ processes "
    r"|\d+ process(?:es were| was) still running after the program had ended, and stopped: "
)
_TRACEBACK = "Traceback (most recent call last):"
_CHAINED = (
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
)
_GROUP_MARGIN = re.compile(r"\s*[|+] ?")
_RAISED = re.compile(r"(?P<name>[A-Za-z_][\w.]*)(?P<message>:.*)?")
_NOISE = re.compile(
    r"[IWE]\d{4}(?:\d{4})? \d\d:\d\d:\d\d|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: [IWE] |"
    r"\S+:\d+: \w*Warning: |WARNING:|Exception ignored in|\[rank\d+\]:?\[?W"
)
_IGNORED = ("Exception ignored in", "Error in sys.excepthook", "Error in atexit")
_THREAD = re.compile(r"Exception in thread (?P<name>.+?):?$")

# A word such as "nan-safe" or "inf-norm" is no number.
_NUMBER = r"[-+]?(?:(?:nan|inf(?:inity)?)(?!-\w)|\d[\d.]*(?:e[-+]?\d+)?)"
_LOSS = re.compile(
    r"(?<![\w-])(?:train(?:ing)?|val(?:id(?:ation)?)?|eval|test|total|avg|average|mean|epoch)?"
    rf"[ _]?loss['\"]?(?: for final step)?\s*(?:[:=]|is)\s*"
    rf"(?:\w+\()?(?P<number>{_NUMBER})(?!\w|\.\d)",
    re.IGNORECASE,
)
_SAID = re.compile(
    r"NaN loss during training|Model diverged with loss = NaN|Invalid loss, terminating training",
    re.IGNORECASE,
)


class LastWords(NamedTuple):
    """What the end of a log tells.

    Attributes:
        task: Whose log it is.
        error: The exception that its last traceback ends with; empty when it does not end so.
        non_finite: The line with the last loss, if that is NaN or infinite.
        notes: What a user should see, although it fails nothing.
    """

    task: str
    error: str = ""
    non_finite: str = ""
    notes: Sequence[str] = ()


def last_words(attempt_dir: Path, task: str) -> LastWords:
    """Read the end of a replica's log; a log that cannot be read tells nothing."""
    return read_words(task, tail(attempt_dir, task))


def read_words(task: str, messages: Iterable[str]) -> LastWords:
    """Judge the last messages of a replica's log, oldest first.

    Example:
        >>> read_words("master-replica-0", ["epoch 1 loss: 0.5", "epoch 2 loss: nan"]).non_finite
        'epoch 2 loss: nan'
    """
    reader = _Tracebacks()
    non_finite = ""
    for line in (line for message in messages for line in message.split("\n")):
        if _OURS.match(line):
            continue
        reader.take(line)
        numbers = [m["number"].lower() for m in _LOSS.finditer(line[:2000])]
        if _SAID.search(line[:2000]) or any(n.lstrip("+-")[:1] in "ni" for n in numbers):
            non_finite = line.strip()[:200]
        elif numbers:
            non_finite = ""
    return LastWords(task, reader.error, non_finite, reader.notes)


class _Tracebacks:
    """Follows tracebacks line by line; `error` is set while nothing follows the last one."""

    def __init__(self) -> None:
        self.error = ""
        self.notes: list[str] = []
        self._inside = False  # within a traceback's frames
        self._in_group = False  # whose lines have a margin
        self._ignored = False  # one that Python itself calls ignored
        self._thread = ""
        self._message_lines = 0  # how many more lines the exception's message may have
        self._before = ""

    def take(self, line: str) -> None:
        """Look at one more line."""
        if line.endswith(_TRACEBACK):
            margin = line.lstrip()[:1]
            self._inside, self._in_group = True, margin in ("+", "|")
            if margin != "|":  # that is one exception of the group that is being told
                self._ignored = self._before.startswith(_IGNORED)
                match = _THREAD.match(self._before)
                self._thread = match["name"] if match else ""
        elif self._inside:
            bare = _GROUP_MARGIN.sub("", line, count=1) if self._in_group else line
            if bare and not bare[0].isspace():
                self._end(bare)
        elif line.strip() and not line[0].isspace() and line not in _CHAINED:
            self._other(line)
        if line.strip():
            self._before = line

    def _end(self, line: str) -> None:
        self._inside = False
        match = _RAISED.fullmatch(line)
        if match is None:  # no exception line: whatever was printed into the middle of it
            self._other(line)
        elif not self._ignored:
            self.error = line[:500]
            # "InvalidArgumentError: Graph execution error:" goes on for a page.
            self._message_lines = _MAX_MESSAGE_LINES if line.rstrip().endswith(":") else 0
            if self._thread:
                self.notes.append(f"The thread {self._thread} died: {line[:300]}")

    def _other(self, line: str) -> None:
        if self._message_lines > 0:
            self._message_lines -= 1
        elif not _NOISE.match(line) and not _THREAD.match(line):
            self.error = ""


def tail(attempt_dir: Path, task: str) -> list[str]:
    """Return the last lines of a log: of its newest part, and the one before if that is short."""
    parts = [(_part(p, task), p) for p in attempt_dir.glob(f"{task}.log*.jsonl")]
    newest = [path for part, path in sorted(parts) if part >= 0][-2:]
    data = b""
    for path in reversed(newest):
        if len(data) < _TAIL_BYTES:
            data = _last_bytes(path, _TAIL_BYTES - len(data)) + data
    return [text for line in data.splitlines() if (text := _message(line)) is not None]


def _part(path: Path, task: str) -> int:
    middle = path.name.removeprefix(f"{task}.log").removesuffix("jsonl").strip(".")
    return int(middle) if middle.isdecimal() else 0 if not middle else -1


def _last_bytes(path: Path, size: int) -> bytes:
    try:
        with path.open("rb") as file:
            end = file.seek(0, 2)
            file.seek(max(0, end - size))
            data = file.read()
    except OSError:
        return b""
    # A first line that was cut is no line.
    return data if end <= size else data.partition(b"\n")[2]


def _message(line: bytes) -> str | None:
    try:
        message = json.loads(line)["message"]
    except (ValueError, TypeError, KeyError):
        return None
    return message if isinstance(message, str) else None
