"""Files in parts, and texts that name them by other paths."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.runtime.freight import (
    PART_BYTES,
    Writer,
    batches,
    content_digest,
    facts,
    files_of,
    fingerprint,
    parts_of,
    relocate_text,
    stamp,
    tree_of,
)

WORD = st.text("abc._-", min_size=1, max_size=4)


def carry(source: Path, target: Path) -> None:
    """Send a folder as nodes get it: in messages."""
    parts = [
        part
        for path, kind in tree_of(str(source))
        for part in parts_of(path, path[len(str(source)) :], kind)
    ]
    writer = Writer(str(target))
    for message in batches(parts):
        writer.write(message)


def test_a_folder_arrives_as_it_was(tmp_path: Path) -> None:
    source = tmp_path / "a"
    (source / "deep" / "empty").mkdir(parents=True)
    (source / "deep" / "big").write_bytes(os.urandom(PART_BYTES + 7))
    (source / "none").touch()
    (source / "run").write_text("#!/bin/sh\n")
    (source / "run").chmod(0o755)
    (source / "link").symlink_to("deep/big")
    os.utime(source / "run", ns=(5, 1_000_000_007))
    carry(source, tmp_path / "b")
    assert content_digest(str(tmp_path / "b")) == content_digest(str(source))
    assert (tmp_path / "b" / "deep" / "empty").is_dir()
    assert (tmp_path / "b" / "run").stat().st_mtime_ns == 1_000_000_007
    assert (tmp_path / "b" / "link").readlink() == Path("deep/big")


def test_a_message_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(3 * PART_BYTES + 1))
    parts = list(parts_of(str(tmp_path / "big"), "big"))
    assert [len(part[2]) for part in parts] == [PART_BYTES] * 3 + [1]
    assert all(sum(len(p[2]) for p in message) <= PART_BYTES for message in batches(parts))


def test_a_file_is_not_there_before_it_is_whole(tmp_path: Path) -> None:
    writer = Writer(str(tmp_path))
    assert writer.write([("x/y", "f", b"half", 0o644, 0, True, False)]) == []
    assert files_of([str(tmp_path)]) == []
    writer.close()
    assert not any(path.is_file() for path in tmp_path.rglob("*"))
    assert writer.write([("x/y", "f", b"whole", 0o644, 0, True, True)]) == ["x/y"]
    assert (tmp_path / "x" / "y").read_text() == "whole"


@pytest.mark.parametrize("name", ["../out", "a/../../out", "a\0b"])
def test_no_part_leads_out_of_its_root(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="leads elsewhere"):
        Writer(str(tmp_path / "in")).write([(name, "f", b"", 0o600, 0, True, True)])


def test_a_link_in_the_way_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("kept")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.mlengine-part").symlink_to(tmp_path / "secret")
    with pytest.raises(OSError):
        Writer(str(tmp_path / "in")).write([("x", "f", b"bad", 0o600, 0, True, True)])
    assert (tmp_path / "secret").read_text() == "kept"


def test_places_are_files_folders_patterns_and_beginnings(tmp_path: Path) -> None:
    root, names = str(tmp_path), ["d/1", "d/2/3", "f", "p-1.csv", "p-2.csv", "q-1"]
    for number, name in enumerate(names):
        path = tmp_path / "e" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
        os.utime(path, ns=(0, 10**9 * (len(names) - number)))
    (tmp_path / "e" / "d" / "link").symlink_to("1")
    places = ["/e/d", "/e/f", "/e/p-*.csv", "/e/q"]
    assert files_of(places, root) == [f"/e/{name}" for name in reversed(names)]
    assert files_of(["/e/none"], root) == []


@given(old=WORD, new=WORD, before=st.sampled_from(["", "--x=", "a,", "file://"]), rest=WORD)
def test_a_path_is_moved_and_its_neighbours_are_not(
    old: str, new: str, before: str, rest: str
) -> None:
    moves = {f"/e/{old}": f"/n/{new}"}
    assert relocate_text(f"{before}/e/{old}", moves) == f"{before}/n/{new}"
    assert relocate_text(f"{before}/e/{old}/{rest}", moves) == f"{before}/n/{new}/{rest}"
    for other in (f"/e/{old}{rest}", f"gs://e/{old}", f"x/e/{old}"):
        assert relocate_text(other, moves) == other


def test_the_longest_path_wins() -> None:
    moves = {"/e": "/1", "/e/f": "/2"}
    assert relocate_text("/e/f/g:/e/h", moves) == "/2/g:/1/h"


def test_what_is_installed_is_told_by_its_versions(tmp_path: Path) -> None:
    one, two = tmp_path / "1", tmp_path / "2"
    for folder in (one, two):
        (folder / "lib-1.0.dist-info").mkdir(parents=True)
        (folder / "lib.py").write_text(folder.name)
    assert fingerprint(str(one)) == fingerprint(str(two)) != ""
    (two / "lib-1.0.dist-info").rename(two / "lib-1.1.dist-info")
    assert fingerprint(str(one)) != fingerprint(str(two))
    assert fingerprint(str(tmp_path / "none")) == ""


def test_a_checkout_is_told_by_its_files(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("1")
    before = fingerprint(str(tmp_path))
    (tmp_path / "a.py").write_text("12")
    assert fingerprint(str(tmp_path)) != before


def test_who_sees_the_same_file_is_told_by_its_facts(tmp_path: Path) -> None:
    path = tmp_path / "x"
    assert facts(str(path)) == []
    path.write_text("1")
    first, known = facts(str(path)), stamp(str(path))
    path.write_text("22")
    assert facts(str(path)) != first and stamp(str(path)) != known
    assert facts(str(tmp_path))[0] == "d"
