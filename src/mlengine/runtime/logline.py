"""From the bytes that a replica prints to log lines: where one ends and how grave it is.

Pure: bytes in, values out. The rules:

- A newline ends a line. Of the parts that carriage returns separate (progress bars) the last that
  shows something counts. A line longer than 64 KiB becomes several, cut between characters.
- The severity comes from what the line says, never from the stream it came on: half of the
  Python world logs its progress to stderr.
- The last exception is remembered with the place where it was raised, for the job's error message.

Standard library only, Python >= 3.7.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

__all__ = ["MAX_LINE_BYTES", "Line", "LineSplitter", "Stream", "severity_of"]

MAX_LINE_BYTES = 64 * 1024

_RECENT_LINES = 50
"""An exception further back than this was survived: it is not why the replica ended."""

_LEVELS = {
    "DEFAULT": "DEFAULT", "NOTSET": "DEFAULT", "TRACE": "DEBUG", "DEBUG": "DEBUG", "INFO": "INFO",
    "NOTICE": "NOTICE", "WARN": "WARNING", "WARNING": "WARNING", "ERROR": "ERROR",
    "FATAL": "CRITICAL", "CRITICAL": "CRITICAL", "ALERT": "ALERT", "EMERGENCY": "EMERGENCY",
}  # fmt: skip
_LEVEL_KEYS = ("severity", "levelname", "level")
_MESSAGE_KEYS = ("message", "msg", "event")  # of Python's formatters, zap and structlog
_LETTERS = {"I": "INFO", "W": "WARNING", "E": "ERROR", "F": "CRITICAL"}
_WORDS = "|".join(sorted(_LEVELS, key=len, reverse=True))

_GLOG = re.compile(r"([IWEF])\d{4}(?:\d{4})? \d\d:\d\d:\d\d")
_TENSORFLOW = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: ([IWEF]) ")
_PREFIX = re.compile(rf"\[?({_WORDS})(?:\]| ?[:|]| - )")
_STAMPED = re.compile(
    r"\[?\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d[^\s\]]{0,16}\]?[\s|:\[-]{1,4}"
    rf"(?:[\w.]{{1,80}}\s?[\s|:-]\s?)?\[?({_WORDS})\b"
)
_WARNING = re.compile(r"\S+:\d+: \w*Warning: ")
_USAGE = re.compile(r"\S+: (?:error: |No module named |can't open file )")

_TRACEBACK = "Traceback (most recent call last):"
_CHAINED = (
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
)
_GROUP_MARGIN = re.compile(r"^\s*[|+] ?")
_FRAME = re.compile(r'\s+File "(.+)", line (\d+)')
_RAISED = re.compile(r"[A-Za-z_][\w.]*(?::.*)?$")


class Line(NamedTuple):
    """One log line; `payload` holds the other keys of a line that was a JSON object."""

    severity: str
    message: str
    payload: dict[str, Any] | None = None


class LineSplitter:
    """Cuts a stream of bytes into lines; how the bytes were chunked makes no difference."""

    def __init__(self) -> None:
        self._current = bytearray()
        self._kept = b""
        self._cut = False  # pieces of this line are out already
        self._open = False  # bytes of an unfinished line are here

    def feed(self, data: bytes) -> list[bytes]:
        """Take more bytes; return the lines that are complete now."""
        out: list[bytes] = []
        whole = data.split(b"\n")
        rest = whole.pop()
        for part in whole:
            if not self._open and len(part) <= MAX_LINE_BYTES and b"\r" not in part:
                out.append(part)
            else:
                self._add(part, out)
                self._end(out)
        if rest:
            self._add(rest, out)
        return out

    def finish(self) -> list[bytes]:
        """Return the last line if it has no newline."""
        out: list[bytes] = []
        if self._current or self._kept:
            self._end(out)
        return out

    def _add(self, part: bytes, out: list[bytes]) -> None:
        self._open = True
        for number, segment in enumerate(part.split(b"\r")):
            if number:
                if self._current.strip():
                    self._kept = bytes(self._current)
                self._current.clear()
            self._current += segment
            while len(self._current) > MAX_LINE_BYTES:
                at = _between_characters(self._current, MAX_LINE_BYTES)
                out.append(bytes(self._current[:at]))
                del self._current[:at]
                self._cut, self._kept = True, b""

    def _end(self, out: list[bytes]) -> None:
        line = bytes(self._current)
        if self._kept and not line.strip():
            line = self._kept
        if line or not self._cut:
            out.append(line)
        self._current.clear()
        self._kept, self._cut, self._open = b"", False, False


class Stream:
    """One of a replica's two output streams: bytes in, `Line` out.

    Args:
        cwd: The replica's working directory; paths in the last exception are shown relative to it.
    """

    def __init__(self, cwd: str = "") -> None:
        self._splitter = LineSplitter()
        self._cwd = cwd.rstrip("/") + "/"
        self._in_traceback = False
        self._frame = ""
        self._exception = ""
        self._lines_since = 0
        self.last_line = ""

    @property
    def last_exception(self) -> str:
        """The last exception with its place, such as ``ValueError: bad (trainer/task.py:12)``."""
        return self._exception if self._lines_since <= _RECENT_LINES else ""

    def feed(self, data: bytes) -> list[Line]:
        """Take more bytes; return the lines that are complete now."""
        return [self._line(raw) for raw in self._splitter.feed(data)]

    def finish(self) -> list[Line]:
        """Return what was still open when the stream ended."""
        return [self._line(raw) for raw in self._splitter.finish()]

    def _line(self, raw: bytes) -> Line:
        text = raw.decode("utf-8", "replace")
        line = _structured(text) if text.startswith("{") else None
        if line is None:
            if self._track(text):
                line = Line("ERROR", text)
            else:
                line = Line(severity_of(text), text)
        elif "Traceback" in line.message:
            for part in line.message.splitlines():
                self._track(part)
        if line.message and not line.message.isspace():
            self.last_line = line.message
        return line

    def _track(self, text: str) -> bool:
        """Follow a traceback; tell whether the line is part of one."""
        self._lines_since += 1
        bare = text
        if (self._in_traceback or _TRACEBACK in text) and text.lstrip()[:1] in ("|", "+"):
            bare = _GROUP_MARGIN.sub("", text)
        frame = _FRAME.match(bare) if bare.startswith(" ") else None
        if frame is not None:
            self._frame = f"{self._shown(frame.group(1))}:{frame.group(2)}"
            self._in_traceback = True
        elif bare.endswith(_TRACEBACK):
            self._in_traceback, self._frame = True, ""
        elif self._in_traceback and bare and not bare[0].isspace():
            self._in_traceback = False
            if _RAISED.match(bare):
                place = f" ({self._frame})" if self._frame else ""
                self._exception, self._lines_since = bare[:500] + place, 0
                return True
            return False
        else:
            return self._in_traceback or bare in _CHAINED
        return True

    def _shown(self, path: str) -> str:
        """Shorten a source path to what its reader would call it."""
        if path.startswith(self._cwd) and len(self._cwd) > 1:
            path = path[len(self._cwd) :]
        for folder in ("/site-packages/", "/dist-packages/"):
            if folder in path:
                return path.rsplit(folder, 1)[1]
        return "/".join(path.split("/")[-2:]) if path.startswith("/") else path


def severity_of(text: str) -> str:
    """Return how grave a line of text says it is; INFO when it says nothing.

    Knows the prefixes of Python's logging, absl, glog, TensorFlow, `warnings` and argparse.

    Example:
        >>> severity_of("W0302 10:00:00.123 7 ops.py:12] slow"), severity_of("step 5: loss 0.2")
        ('WARNING', 'INFO')
    """
    first = text[:1]
    if first.isdigit() or first == "[" or first in "ACDEFINTW":
        head = text[:200]
        for pattern in (_GLOG, _TENSORFLOW, _PREFIX, _STAMPED):
            found = pattern.match(head)
            if found:
                level = found.group(1)
                return _LETTERS.get(level) or _LEVELS[level]
        if head.startswith("Fatal Python error: "):
            return "CRITICAL"
    if ": " in text:
        if _WARNING.match(text[:1000]):
            return "WARNING"
        if _USAGE.match(text[:1000]):
            return "ERROR"
    return "INFO"


def _structured(text: str) -> Line | None:
    """Read a line that is a JSON object with a message and a severity, or return None."""
    try:
        found = json.loads(text, parse_constant=_refuse)
        if not isinstance(found, dict):
            return None
        text = next(key for key in _MESSAGE_KEYS if isinstance(found.get(key), str))
        level = next(key for key in _LEVEL_KEYS if isinstance(found.get(key), str))
        severity = _LEVELS[found.pop(level).upper()]
        message = found.pop(text)
        json.dumps(found, allow_nan=False)
    except (ValueError, KeyError, StopIteration, RecursionError):
        return None
    return Line(severity, message, found or None)


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _between_characters(data: bytearray, at: int) -> int:
    """Move a cut back by up to three bytes, so that it does not split a UTF-8 character."""
    for cut in range(at, at - 4, -1):
        if data[cut] & 0xC0 != 0x80:
            return cut
    return at
