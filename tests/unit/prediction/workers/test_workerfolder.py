"""A folder that somebody hostile fills is read, measured and removed without harm."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlengine.prediction.workers.workerfolder import held_bytes, make_anew, read_plain, remove, trim
from tests.waiting import wait_until


def test_only_plain_files_of_a_fair_size_are_read(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"said")
    (tmp_path / "link").symlink_to(tmp_path / "plain")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    assert read_plain(tmp_path / "plain") == b"said"
    assert read_plain(tmp_path / "plain", most=3) is None
    for name in ("link", "folder", "pipe", "none"):
        assert read_plain(tmp_path / name) is None, name


def deep(folder: Path, levels: int) -> None:
    here = os.open(folder, os.O_RDONLY)
    for _level in range(levels):
        os.mkdir("deep", dir_fd=here)
        inner = os.open("deep", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)


def test_a_folder_that_is_too_deep_for_a_name_counts_as_full_and_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "file").write_bytes(b"x" * 10_000)
    assert 10_000 <= held_bytes(folder, 1 << 20) <= 30_000
    assert held_bytes(folder, 5_000) > 5_000
    deep(folder, 2000)
    assert held_bytes(folder, 1 << 30) > 1 << 30
    make_anew(folder)
    assert list(folder.iterdir()) == []
    wait_until(lambda: list(tmp_path.iterdir()) == [folder])
    remove(folder)
    remove(folder)
    assert not folder.exists()


def test_too_many_files_count_as_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlengine.prediction.workers.workerfolder._MOST_ENTRIES", 5)
    for number in range(6):
        (tmp_path / str(number)).touch()
    assert held_bytes(tmp_path, 1 << 30) > 1 << 30


def test_a_file_that_is_removed_meanwhile_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("gone", "kept"):
        (tmp_path / name).write_bytes(b"x" * 100_000)
    scandir = os.scandir

    @contextlib.contextmanager
    def and_remove(path: str) -> Iterator[list[os.DirEntry[str]]]:
        with scandir(path) as found:
            entries = sorted(found, key=lambda entry: entry.name)
        (tmp_path / "gone").unlink()
        yield entries

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", and_remove)
        held = held_bytes(tmp_path, 1 << 30)
    assert 100_000 <= held < 200_000


def test_a_log_is_cut_under_its_writer_who_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "w.log"
    with open(log, "ab", buffering=0) as writer:
        writer.write(b"a" * (2 << 20) + b"the end\n")
        assert not trim(log, 3 << 20)
        assert trim(log, 1 << 20)
        writer.write(b"more\n")
    first, last = log.read_bytes().splitlines()
    assert b"too long" in first and last == b"more"
    assert (tmp_path / "w.log.1").read_bytes().endswith(b"the end\n")
    assert not trim(tmp_path / "none", 1)
