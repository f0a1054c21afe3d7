"""How a gateway and a worker speak: many requests in flight on one stream, answered in any order.

little-endian  u32 payload length | u32 request id | u16 kind (request) or status (answer)
then the payload: the HTTP body of a predict request, or the JSON body of its answer.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

__all__ = ["HEADER_BYTES", "PING", "PREDICT", "Frame", "FrameReader", "pack"]

PREDICT: Final = 1
PING: Final = 2

_HEADER = struct.Struct("<IIH")
HEADER_BYTES: Final = _HEADER.size


class Frame(NamedTuple):
    """One request or answer.

    `kind` is `PREDICT` or `PING` in a request and an HTTP status in an answer. `payload` is None
    where it was longer than the reader takes; `payload_bytes` then says how long.
    """

    id: int
    kind: int
    payload: bytes | None
    payload_bytes: int


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
        self._buffer = bytearray()
        self._skip_bytes = 0

    @property
    def is_between_frames(self) -> bool:
        return not self._buffer and not self._skip_bytes

    def feed(self, data: bytes) -> list[Frame]:
        """Take what arrived; return the frames it completes.

        An oversized frame is reported at its header, so that its sender need not wait, and its
        payload is thrown away as it arrives.
        """
        if self._skip_bytes:
            skipped = min(self._skip_bytes, len(data))
            self._skip_bytes -= skipped
            data = data[skipped:]
        self._buffer += data
        frames: list[Frame] = []
        at = 0
        while len(self._buffer) - at >= HEADER_BYTES:
            length, request_id, kind = _HEADER.unpack_from(self._buffer, at)
            start, end = at + HEADER_BYTES, at + HEADER_BYTES + length
            if length > self._max_payload_bytes:
                frames.append(Frame(request_id, kind, None, length))
                self._skip_bytes = max(0, end - len(self._buffer))
                at = min(end, len(self._buffer))
                continue
            if end > len(self._buffer):
                break
            frames.append(Frame(request_id, kind, bytes(self._buffer[start:end]), length))
            at = end
        del self._buffer[:at]
        return frames
