"""How a gateway and a worker speak: many requests in flight on one stream, answered in any order.

little-endian  u32 payload length | u32 request id | u16 kind (request) or status (answer)
then the payload: the HTTP body of a predict request, or the JSON body of its answer.

Both sides write what one turn of theirs brought as one piece, so many frames come with one read,
and a frame that lies whole in what was read is cut out of it without another copy.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

__all__ = ["EXPLAIN", "HEADER_BYTES", "PING", "PREDICT", "STATS", "STAY", "STAY_S", "Frame",
           "FrameReader", "frame_head", "pack"]  # fmt: skip

PREDICT: Final = 1
PING: Final = 2
STATS: Final = 4  # 3 is `callframe.CALL`
EXPLAIN: Final = 5
STAY: Final = 6  # no request: the next one comes within `STAY_S`, so do not sleep
STAY_S: Final = 0.0004  # as long as a turn of a few callers takes; nobody notices

_HEADER = struct.Struct("<IIH")
HEADER_BYTES: Final = _HEADER.size


class Frame(NamedTuple):
    """One request or answer.

    `kind` is `PREDICT`, `PING` … in a request and an HTTP status in an answer. `payload` is None
    where it was longer than the reader takes; `payload_bytes` then says how long.
    """

    id: int
    kind: int
    payload: bytes | None
    payload_bytes: int


def frame_head(request_id: int, kind: int, payload_bytes: int) -> bytes:
    """Return what comes before a frame's payload."""
    return _HEADER.pack(payload_bytes, request_id, kind)


def pack(request_id: int, kind: int, payload: bytes = b"") -> bytes:
    """Return one frame ready to send."""
    return _HEADER.pack(len(payload), request_id, kind) + payload


class FrameReader:
    """Cuts a stream of bytes into frames; holds no more of one than `max_payload_bytes`.

    Example:
        >>> reader = FrameReader(max_payload_bytes=100)
        >>> sent = pack(7, PREDICT, b"{}")
        >>> reader.feed(sent[:5]), reader.feed(sent[5:])
        ([], [Frame(id=7, kind=1, payload=b'{}', payload_bytes=2)])
    """

    def __init__(self, *, max_payload_bytes: int) -> None:
        self._max_payload_bytes = max_payload_bytes
        self._held = bytearray()  # the begin of a frame, or nothing
        self._needed_bytes = 0  # of it, before it is worth looking again
        self._skip_bytes = 0

    @property
    def is_between_frames(self) -> bool:
        return not self._held and not self._skip_bytes

    def feed(self, data: bytes) -> list[Frame]:
        """Take what arrived; return the frames it completes.

        An oversized frame is reported at its header, so that its sender need not wait, and its
        payload is thrown away as it arrives.
        """
        if self._skip_bytes:
            skipped = min(self._skip_bytes, len(data))
            self._skip_bytes -= skipped
            data = data[skipped:]
        if self._held:
            self._held += data
            return self._complete() if len(self._held) >= self._needed_bytes else []
        return self._cut(data)

    def _complete(self) -> list[Frame]:
        held, self._held = self._held, bytearray()
        length, request_id, kind = _HEADER.unpack_from(held)
        end = HEADER_BYTES + length
        if length > self._max_payload_bytes:
            return self._cut(bytes(held))
        if end > len(held):
            self._held, self._needed_bytes = held, end
            return []
        with memoryview(held) as view:
            payload, rest = bytes(view[HEADER_BYTES:end]), bytes(view[end:])
        return [Frame(request_id, kind, payload, length), *self._cut(rest)]

    def _cut(self, data: bytes) -> list[Frame]:
        frames: list[Frame] = []
        make, unpack = tuple.__new__, _HEADER.unpack_from  # Frame(...) takes twice as long
        at, last = 0, len(data)
        start = HEADER_BYTES
        while start <= last:
            length, request_id, kind = unpack(data, at)
            end = start + length
            if length > self._max_payload_bytes:
                frames.append(Frame(request_id, kind, None, length))
                self._skip_bytes = max(0, end - last)
                end = min(end, last)
            elif end > last:
                break
            else:
                frames.append(make(Frame, (request_id, kind, data[start:end], length)))
            at = end
            start = end + HEADER_BYTES
        if at < last:
            self._held += memoryview(data)[at:]
            self._needed_bytes = HEADER_BYTES if start > last else end - at
        return frames
