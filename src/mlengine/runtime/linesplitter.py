"""From the bytes that a replica prints to whole lines.

Pure: bytes in, blocks out. A block is bytes in which every line has its newline; mostly it is what
was read, untouched. The rules:

- A newline ends a line. Of the parts that carriage returns separate (progress bars) the last that
  shows something counts.
- What follows a progress bar is a line of its own, if the bar is tqdm's or what follows is a JSON
  object: a bar that is not yet full ends in no newline, and what the program prints meanwhile
  follows it at once.
- A line longer than 64 KiB becomes several, cut between characters.

Standard library only, Python >= 3.7.
"""

from __future__ import annotations

import re

__all__ = ["MAX_LINE_BYTES", "LineSplitter", "is_cut"]

MAX_LINE_BYTES = 64 * 1024

_BAR = re.compile(
    rb"[^|\[]{0,200}?"  # what the bar is about
    rb"(?:\d{1,3}%\|[^|]{0,500}\| ?[^\s/]{1,40}/[^\s/]{1,40}"  # so many of how many,
    rb"|\d{1,20}[A-Za-z]{1,20})"  # or nobody knows of how many
    rb" \[[^\]]{0,300}\][\])}]*"  # for how long, how fast, and what else
    rb"(?: |\x1b\[[0-9;]{0,20}[A-Za-z])*"  # moves of the cursor: back to the bar around this one
)
"""A progress bar of tqdm: ``train:  10%|#   | 1/9 [00:01<00:08,  1.00it/s, loss=0.3]``."""


class LineSplitter:
    """Cuts a stream of bytes at line ends; how the bytes were chunked makes no difference."""

    def __init__(self) -> None:
        self._current = bytearray()
        self._kept = b""
        self._cut = False  # pieces of this line are out already
        self._returned = False  # there was a carriage return in this line
        self._open = False  # bytes of an unfinished line are here

    def feed(self, data: bytes) -> bytes:
        """Take more bytes; return the block of the lines that are complete now."""
        out: list[bytes] = []
        start = 0
        if self._open:
            start = data.find(b"\n") + 1
            if not start:
                self._add(data, out)
                return b"".join(out)
            self._take(data[: start - 1], out)
        end = data.rfind(b"\n") + 1
        whole = data[start:end]
        if _is_block(whole):
            out.append(whole)
        else:
            for part in whole[:-1].split(b"\n"):
                self._take(part, out)
        if end < len(data):
            self._add(data[end:], out)
        return b"".join(out)

    def finish(self) -> bytes:
        """Return the last line, as a block, if it has no newline."""
        out: list[bytes] = []
        if self._current or self._kept:
            self._end(out)
        return b"".join(out)

    def _take(self, part: bytes, out: list[bytes]) -> None:
        self._add(part, out)
        self._end(out)

    def _add(self, part: bytes, out: list[bytes]) -> None:
        self._open = True
        for number, segment in enumerate(part.split(b"\r")):
            if number:
                self._returned = True
                if self._current.strip():
                    self._kept = bytes(self._current)
                self._current.clear()
            self._current += segment
            while len(self._current) > MAX_LINE_BYTES:
                at = _between_characters(self._current, MAX_LINE_BYTES)
                out.append(bytes(self._current[:at]) + b"\n")
                del self._current[:at]
                self._cut, self._kept = True, b""

    def _end(self, out: list[bytes]) -> None:
        line = bytes(self._current)
        if self._kept and not line.strip():
            line = self._kept
        elif self._returned:
            behind = _behind_bar(line)
            if behind:
                out.append(line[:behind] + b"\n")
                line = line[behind:]
        if line or not self._cut:
            out.append(line + b"\n")
        self._current.clear()
        self._kept, self._cut, self._open, self._returned = b"", False, False, False


def is_cut(text: str) -> bool:
    """Tell whether a text is a piece of a longer line, and not its last.

    A line that is as long by chance is taken for one.
    """
    fewest = MAX_LINE_BYTES - 3  # a cut is moved back by so many, to the start of a character
    return len(text) * 4 >= fewest and len(text.encode("utf-8", "replace")) >= fewest


def _behind_bar(line: bytes) -> int:
    """Return where a line goes on behind a progress bar; 0 if it does not."""
    bar = _BAR.match(line)
    if bar is not None:
        return bar.end() if bar.end() < len(line) else 0
    return max(line.find(b'{"'), 0) if line.endswith(b"}") else 0


def _is_block(data: bytes) -> bool:
    """Tell whether the lines can stay as they are: none is too long, or returns."""
    if b"\r" in data:
        return False
    start = 0
    while len(data) - start > MAX_LINE_BYTES:
        start = data.rfind(b"\n", start, start + MAX_LINE_BYTES + 1) + 1
        if not start:
            return False
    return True


def _between_characters(data: bytearray, at: int) -> int:
    """Move a cut back by up to three bytes, so that it does not split a UTF-8 character."""
    for cut in range(at, at - 4, -1):
        if data[cut] & 0xC0 != 0x80:
            return cut
    return at
