"""From the bytes that a replica prints to log lines: how grave each is, and what went wrong last.

Pure: bytes in, values out. The rules:

- The severity comes from what the line says, never from the stream it came on: half of the
  Python world logs its progress to stderr.
- The last exception is remembered with the place where it was raised, for the job's error message.

Lines come in blocks (see `linesplitter`). Most hold nothing but plain lines, which are decoded and
told apart all at once; lines that nobody will see are counted, not read (`Stream.skip`).

Standard library only, Python >= 3.7.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from mlengine.runtime.linesplitter import LineSplitter, is_cut

__all__ = ["Line", "Stream", "severity_of"]

_RECENT_LINES = 500
"""An exception further back than this was survived: it is not why the replica ended.

What other threads print meanwhile counts too, and what a C library had buffered until the end.
"""

_LAST_LINES = 50
"""Among so many is one that shows something, in a block of which nothing else is to be learned."""

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

_TELLING = {
    **{f"{n:02}": (_TENSORFLOW, _STAMPED) for n in range(100)},
    **{f"[{n}": (_STAMPED,) for n in range(10)},
    **{f"{letter}{n}": (_GLOG,) for letter in _LETTERS for n in range(10)},
    **{word[:2]: (_PREFIX,) for word in _LEVELS},
    **{f"[{word[0]}": (_PREFIX,) for word in _LEVELS},
}
"""What may tell the severity of a line, by its first two characters."""

_TOLD_LATER = ("Warning: ", ": error: ", ": No module named ", ": can't open file ", "Fatal P")
"""One of these is in every line that tells its severity elsewhere."""

_TRACEBACK = "Traceback (most recent call last):"
_CHAINED = (
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
)
_MARKS = ("Traceback", 'File "', "above exception")
"""One of these is in every line that may begin a traceback."""
_MARK_BYTES = tuple(mark.encode() for mark in _MARKS)

_GROUP_MARGIN = re.compile(r"^\s*[|+] ?")
_FRAME = re.compile(r'\s+File "(.+)", line (\d+)')
_RAISED = re.compile(r"[A-Za-z_][\w.]*(?::.*)?$")


class Line(NamedTuple):
    """One log line; `payload` holds the other keys of a line that was a JSON object."""

    severity: str
    message: str
    payload: dict[str, Any] | None = None


class Stream:
    """What a replica prints: bytes in, `Line` out.

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
        self._open_head = ""
        self.last_line = ""
        """The last that shows something; of a line that was cut, its first piece and its last."""

    @property
    def last_exception(self) -> str:
        """The last exception with its place, such as ``ValueError: bad (trainer/task.py:12)``."""
        return self._exception if self._lines_since <= _RECENT_LINES else ""

    def feed(self, data: bytes) -> list[Line]:
        """Take more bytes; return the lines that are complete now."""
        return self.read(self.cut(data))

    def finish(self) -> list[Line]:
        """Return what was still open when the stream ended."""
        return self.read(self._splitter.finish())

    def cut(self, data: bytes) -> bytes:
        """Take more bytes; return the block of the lines that are complete now.

        Every block must then be read or skipped, in order.
        """
        return self._splitter.feed(data)

    def read(self, block: bytes) -> list[Line]:
        """Return the lines of a block."""
        text = block.decode("utf-8", "replace")
        texts = text.split("\n")
        texts.pop()
        if text.startswith("{") or "\n{" in text:
            texts = [part for text in texts for part in _apart(text)]
        if self._in_traceback or any(mark in text for mark in _MARKS):
            lines = [self._line(text) for text in texts]
        else:
            lines = _plain(texts, told=any(mark in text for mark in _TOLD_LATER))
            self._lines_since += len(lines)
        self._remember(lines)
        return lines

    def skip(self, block: bytes) -> None:
        """Pass over a block whose lines are dropped; remember what later ones may depend on.

        Only its end is read: an exception before that is too far back to count. Of a traceback
        longer than that, the first lines after the block may be taken for plain ones.
        """
        telling = self._in_traceback or any(mark in block for mark in _MARK_BYTES)
        near = _RECENT_LINES if telling else _LAST_LINES
        before, *rows = block.rsplit(b"\n", near + 2)
        if len(rows) > near + 1:
            self._in_traceback = False
            self._lines_since += before.count(b"\n") + 1
            self._open_head = ""
            block = b"\n".join(rows)
        self.read(block)

    def _remember(self, lines: list[Line]) -> None:
        """Remember the last line that shows something, and how one begins that goes on."""
        last = len(lines) - 1
        while last >= 0 and (not lines[last].message or lines[last].message.isspace()):
            last -= 1
        if last >= 0:
            head, piece = self._head(lines, last), lines[last].message
            self.last_line = piece if head == piece else f"{head} … {piece}"
        if lines:
            goes_on = is_cut(lines[-1].message)
            self._open_head = self._head(lines, len(lines) - 1) if goes_on else ""

    def _head(self, lines: list[Line], at: int) -> str:
        """Return the first piece of a line, of which `at` is a piece; mostly that is all of it."""
        while at > 0 and is_cut(lines[at - 1].message):
            at -= 1
        return (self._open_head if at == 0 else "") or lines[at].message

    def _line(self, text: str) -> Line:
        line = _structured(text) if text.startswith("{") else None
        if line is None:
            return Line("ERROR" if self._track(text) else severity_of(text), text)
        if "Traceback" in text:
            for part in line.message.splitlines():
                self._track(part)
        else:
            self._lines_since += 1
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
    for pattern in _TELLING.get(text[:2], ()):
        found = pattern.match(text[:200])
        if found:
            level = found.group(1)
            return _LETTERS.get(level) or _LEVELS[level]
    return _told_later(text) if any(mark in text for mark in _TOLD_LATER) else "INFO"


def _told_later(text: str) -> str:
    if text.startswith("Fatal Python error: "):
        return "CRITICAL"
    if _WARNING.match(text[:1000]):
        return "WARNING"
    return "ERROR" if _USAGE.match(text[:1000]) else "INFO"


def _plain(texts: list[str], *, told: bool) -> list[Line]:
    """Return the lines of texts that hold nothing of a traceback.

    Args:
        told: Some text may say its severity elsewhere than at its beginning.
    """
    lines: list[Line] = []
    add, new = lines.append, tuple.__new__  # Line(...) takes twice the time
    for text in texts:
        first = text[:2]
        if first[:1] == "{":
            add(_structured(text) or Line(severity_of(text), text))
        # Many lines begin with a number that is no date, and say nothing.
        elif told or (first in _TELLING and (text[4:5] == "-" or not first.isdigit())):
            add(new(Line, (severity_of(text), text, None)))
        else:
            add(new(Line, ("INFO", text, None)))
    return lines


def _apart(text: str) -> Iterator[str]:
    """Return a JSON object and what somebody else printed before its newline came.

    An unbuffered `print` writes its text and its newline one after the other, and a thread or a
    child may write in between.
    """
    while text.startswith("{") and ("}{" in text or not text.endswith("}")):
        try:
            found, end = _DECODER.raw_decode(text)
        except (ValueError, RecursionError):
            break
        if not found or not (text[end : end + 1].isalnum() or text[end : end + 1] in ("{", "[")):
            break  # what somebody else prints begins with a word; commas and the like are its own
        yield text[:end]
        text = text[end:]
    yield text


def _structured(text: str) -> Line | None:
    """Read a line that is a JSON object with a message and a severity, or return None."""
    try:
        found = _DECODER.decode(text)
        if not isinstance(found, dict):
            return None
        text = next(key for key in _MESSAGE_KEYS if isinstance(found.get(key), str))
        level = next(key for key in _LEVEL_KEYS if isinstance(found.get(key), str))
        severity = _LEVELS[found.pop(level).upper()]
        message = found.pop(text)
        # Half of a surrogate pair is no text: nobody could write it down, or read what holds it.
        _ENCODER.encode([message, found]).encode()
    except (ValueError, KeyError, StopIteration, RecursionError):
        return None
    return Line(severity, message, found or None)


def _refuse(constant: str) -> None:
    raise ValueError(constant)


_DECODER = json.JSONDecoder(parse_constant=_refuse)
_ENCODER = json.JSONEncoder(allow_nan=False, ensure_ascii=False)
