"""A memo of heads that were read and allowed, so that their repetition need not be read again.

A caller that keeps its connection sends the same head with every prediction, to the byte, but for
the length of the body, which takes few values. What the strict way (llhttp, `Guard`, limits, path)
found of a head depends on nothing but its bytes, the snapshot and, where a key expires, the time;
so the bytes are looked up in a table, and a hit skips all of it. Why that opens no door:

1. Only a whole head is a key: its first byte followed the end of a message, its last is that of the
   blank line. llhttp found both in the very bytes, not we: see `CallerConnection`, which notes a
   head only if llhttp read exactly one request out of what arrived, from the first byte to the last
   of the body that the head declares. The same bytes at the end of a message are the same request.
2. A hit is taken only when exactly that head and a body of exactly its length arrived, no byte more
   or less. Anything else, and whatever is sent ahead, goes the strict way, from its first byte.
3. Only what was allowed is noted: a POST that predicts, with one Content-Length, kept alive. No
   refusal, nothing chunked, no ``Expect``, nothing for the engine, no connection beyond the limit.
4. The memo belongs to a snapshot and goes with it: a token, key, host, limit or path that counts no
   more is asked for anew. What a key grants is noted with the head; whether it has expired is asked
   on every hit, and its quota is taken where both ways have met again: `Inquiry.enter`. Which
   version answers is never noted.
5. Only those who may call can make it grow, and no further than `_MAX_ENTRIES` and `_MAX_BYTES`.
   A guess at the token learns nothing from the time a look-up takes: bytes are compared only where
   a hash with a secret key agrees in all of its bits.
"""

from __future__ import annotations

from typing import NamedTuple

from mlengine.prediction.routing import Grant, PredictTarget

__all__ = ["HeadMemo", "KnownHead"]

_MAX_ENTRIES = 4096
_MAX_BYTES = 2 << 20


class KnownHead(NamedTuple):
    """What the strict way found of a head that may predict; `grant` is its key's, if it has one."""

    target: PredictTarget
    headers: list[tuple[bytes, bytes]]
    body_bytes: int
    grant: Grant | None = None


class HeadMemo:
    """Remembers the heads that came lately; twice `_MAX_ENTRIES` and `_MAX_BYTES` at most.

    When the young are full they become the old, and the old are forgotten unless they came again.
    """

    def __init__(self) -> None:
        self._young: dict[bytes, KnownHead] = {}
        self._old: dict[bytes, KnownHead] = {}
        self._young_bytes = 0

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def find(self, head: bytes) -> KnownHead | None:
        """Return what is known of a head, or None."""
        known = self._young.get(head)
        if known is None and (known := self._old.pop(head, None)) is not None:
            self.note(head, known)
        return known

    def note(self, head: bytes, known: KnownHead) -> None:
        """Remember a head that the strict way allowed."""
        if len(self._young) >= _MAX_ENTRIES or self._young_bytes + len(head) > _MAX_BYTES:
            self._old, self._young = self._young, {}
            self._young_bytes = 0
        self._young[head] = known
        self._young_bytes += len(head)
