"""Small files: whole or not at all, for their owner only, and nothing is left beside them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.runtime.wholefile import write_whole


@pytest.mark.parametrize("durable", [False, True])
@given(contents=st.lists(st.binary(max_size=2000), min_size=1, max_size=4))
def test_a_file_is_what_was_written_last(
    tmp_path_factory: pytest.TempPathFactory, contents: list[bytes], durable: bool
) -> None:
    path = tmp_path_factory.mktemp("whole") / "file"
    for content in contents:
        write_whole(path, content, durable=durable)
        assert path.read_bytes() == content
    assert [one.name for one in path.parent.iterdir()] == ["file"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_what_cannot_be_written_is_what_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    path = tmp_path / "file"
    write_whole(path, b"old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(*((os, "fsync", fail) if failing == "fsync" else (Path, "replace", fail)))
        with pytest.raises(OSError, match="No space"):
            write_whole(path, b"new", durable=True)
    assert path.read_bytes() == b"old"
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def test_a_file_that_others_could_read_becomes_private(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o644)
    write_whole(path, b"new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"theirs")
    (tmp_path / "file").symlink_to(elsewhere)
    write_whole(tmp_path / "file", b"ours")
    assert elsewhere.read_bytes() == b"theirs"
    assert not (tmp_path / "file").is_symlink()
