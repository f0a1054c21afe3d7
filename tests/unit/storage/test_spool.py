"""What is gathered before it goes to an object store, on a disk that fills up meanwhile."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import random
from pathlib import Path

import pytest

from mlengine.storage.backends import remotes
from mlengine.storage.backends.remotes import Spool

CONTENT = random.Random(1).randbytes(3_000_000)


@pytest.mark.parametrize("in_memory", [0, 1_000_000, 4_000_000])
@pytest.mark.parametrize("piece", [7_001, 500_000, 3_000_000])
def test_it_gives_back_what_it_got(
    monkeypatch: pytest.MonkeyPatch, in_memory: int, piece: int
) -> None:
    monkeypatch.setattr(remotes, "_IN_MEMORY_BYTES", in_memory)
    with contextlib.closing(Spool()) as spool:
        for at in range(0, len(CONTENT), piece):
            spool.append(CONTENT[at : at + piece])
        assert spool.size == len(CONTENT)
        assert spool.read_at(0, spool.size + 1) == CONTENT
        assert spool.read_at(2_999_990, 100) == CONTENT[-10:]
        assert spool.read_at(3_000_000, 100) == b""


@pytest.mark.parametrize("in_memory", [0, 500_000])
def test_what_a_full_disk_took_of_a_chunk_is_not_in_it(
    tiny_disk: Path, monkeypatch: pytest.MonkeyPatch, in_memory: int
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tiny_disk))
    monkeypatch.setattr(remotes, "_IN_MEMORY_BYTES", in_memory)
    with contextlib.closing(Spool()) as spool:
        spool.append(CONTENT[:400_000])
        (tiny_disk / "other").write_bytes(b"x" * 300_000)
        for _again in range(2):
            with pytest.raises(OSError, match="No space left"):
                spool.append(CONTENT[400_000:1_100_000])
        (tiny_disk / "other").unlink()
        spool.append(CONTENT[400_000:600_000])
        assert spool.read_at(0, 1_000_000) == CONTENT[:600_000]
        assert base64.b64decode(spool.md5) == hashlib.md5(CONTENT[:600_000]).digest()
