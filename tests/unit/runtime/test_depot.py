"""What a node keeps of an engine whose folders it does not see."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlengine.runtime import depot as depots
from mlengine.runtime.depot import Depot, machine_kind, node_root

KEY, OTHER = "a" * 32, "b" * 32


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "node").mkdir(mode=0o700)
    return tmp_path / "node"


@pytest.fixture
def depot(root: Path) -> Iterator[Depot]:
    depot = Depot("one", str(root))
    yield depot
    depot.close()


def file(name: str, data: bytes = b"x", mode: int = 0o644) -> tuple[Any, ...]:
    return (name, "f", data, mode, 10**9, True, True)


def fill(depot: Depot, key: str, *parts: tuple[Any, ...], **moves: str) -> Path:
    assert depot.claim(key) == "yours"
    depot.take(key, parts)
    depot.commit(key, moves, "")
    return Path(depot.where()[1]) / key


def test_a_folder_is_filled_once_and_whole(root: Path, depot: Depot) -> None:
    other = Depot("two", str(root))
    assert depot.claim(KEY) == "yours"
    assert other.claim(KEY) == "busy"
    depot.take(KEY, [file("a/b")])
    assert not (root / "folders" / KEY).exists()
    depot.commit(KEY, {}, "")
    assert (root / "folders" / KEY / "a" / "b").read_bytes() == b"x"
    assert other.claim(KEY) == depot.claim(KEY) == "there"
    other.close()


def test_one_of_many_fills_a_folder(root: Path) -> None:
    said: list[str] = []

    def work(number: int) -> None:
        mine = Depot(str(number), str(root))
        while (state := mine.claim(KEY)) == "busy":
            threading.Event().wait(0.01)
        if state == "yours":
            mine.take(KEY, [file("x")])
            mine.commit(KEY, {}, "")
        said.append(state)
        mine.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(said) == ["there"] * 7 + ["yours"]


def test_who_dies_while_filling_leaves_nothing_in_the_way(root: Path) -> None:
    code = f"""
import os, sys
from mlengine.runtime.depot import Depot
depot = Depot("x", sys.argv[1])
assert depot.claim({KEY!r}) == "yours"
depot.take({KEY!r}, [("old", "f", b"", 0, 0, True, True)])
depot.put([("/e/f", "f", b"", 0, 0, True, True)])
os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", code, str(root)], check=False)
    assert (root / "jobs" / "x" / "e" / "f").exists()
    depot = Depot("one", str(root))
    assert not (root / "jobs" / "x").exists(), "the files of a post that died go with the next"
    folder = fill(depot, KEY, file("new"))
    assert sorted(path.name for path in folder.iterdir() if path.name[0] != ".") == ["new"]
    depot.close()


def test_what_is_too_much_goes_but_not_what_is_used(root: Path) -> None:
    depot = Depot("one", str(root), keep_bytes=150)
    old = fill(depot, KEY, file("x", bytes(100)))
    os.utime(f"{old}.lock", (1, 2**31))  # used last
    fill(depot, OTHER, file("x", bytes(100)))
    assert old.exists(), "it is in use"
    depot.close()
    later = Depot("two", str(root), keep_bytes=150)
    os.utime(f"{old}.lock", (2**31, 2**31))
    fill(later, "c" * 32, file("x"))
    assert old.exists() and not (root / "folders" / OTHER).exists()
    later.close()


def test_what_is_old_goes(root: Path) -> None:
    depot = Depot("one", str(root))
    old = fill(depot, KEY, file("x"))
    depot.close()
    os.utime(f"{old}.lock", (1, 1))
    depot = Depot("two", str(root))
    fill(depot, OTHER, file("x"))
    assert not old.exists()
    depot.close()


def test_an_environment_names_what_is_here(depot: Depot, root: Path) -> None:
    python = sys.executable
    parts = [
        file("pyvenv.cfg", b"home = /e/bin\nexecutable = /e/bin/python3.11\nversion = 3.11.1\n"),
        file("lib/python3.11/site-packages/x.pth", b"/e/src\nimport site; site.addsitedir('/e/b')"),
        file("bin/tool", b"#!/e/l/bin/python\nimport x\n", 0o755),
        ("bin/python", "l", b"/e/bin/python3.11", 0, 0, True, True),
        ("bin/python3", "l", b"python", 0, 0, True, True),
    ]
    assert depot.claim(KEY) == "yours"
    depot.take(KEY, parts)
    depot.commit(KEY, {"/e/l": "/n/1", "/e/b": "/n/2"}, python)
    folder = root / "folders" / KEY
    assert (folder / "bin" / "python").readlink() == Path(python)
    assert (folder / "bin" / "python3").readlink() == Path("python")
    assert (
        f"home = {Path(python).parent}\nexecutable = {python}"
        in (folder / "pyvenv.cfg").read_text()
    )
    link = folder / "lib" / "python3.11" / "site-packages" / "x.pth"
    assert link.read_text() == "/e/src\nimport site; site.addsitedir('/n/2')"
    assert (folder / "bin" / "tool").read_text().startswith("#!/n/1/bin/python\n")
    assert os.access(folder / "bin" / "tool", os.X_OK)


def test_files_come_and_go(depot: Depot) -> None:
    scratch = Path(depot.where()[0])
    depot.put([file("/e/in/a", b"1"), file("/e/in/b", b"2"), file("/e/fixed")])
    assert depot.changes(["/e/in"]) == [[], []]
    (scratch / "e/in/a").write_text("changed")
    (scratch / "e/in/b").unlink()
    (scratch / "e/in/c").write_text("new")
    (scratch / "e/in/link").symlink_to("/etc/passwd")
    news, gone = depot.changes(["/e/in"])
    assert sorted(name for name, _ in news) == ["/e/in/a", "/e/in/c"] and gone == ["/e/in/b"]
    depot.settled(news, gone)
    assert depot.changes(["/e/in"]) == [[], []]
    depot.put([], ["/e/in/c"])
    assert not (scratch / "e/in/c").exists()
    assert depot.changes(["/e/in"]) == [[], []]


def test_a_file_that_grows_is_read_as_it_was_told_of(depot: Depot) -> None:
    scratch = Path(depot.where()[0])
    (scratch / "log").write_text("one")
    ((name, told),) = depot.changes(["/log"])[0]
    with (scratch / "log").open("a") as log:
        log.write(" two")
    ((_name, _kind, data, _mode, _time, first, last),) = depot.get(name, told, 0)
    assert (data, first, last) == (b"one", True, True)
    (scratch / "log").unlink()
    assert depot.get(name, told, 0) == []


def test_a_python_of_another_version_is_none(depot: Depot, tmp_path: Path) -> None:
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    found = depot.python(version, "CPython", "")
    assert subprocess.run([found, "-c", "import sys; print(sys.prefix == sys.base_prefix)"],
                          capture_output=True, text=True).stdout == "True\n"  # fmt: skip
    assert depot.python("2.99", "CPython", sys.executable) == ""
    assert depot.python(version, "PyPy", sys.executable) == ""
    broken = tmp_path / "python"
    broken.write_text("no program")
    assert depot.python("2.99", "CPython", str(broken)) == ""


def test_what_is_seen_is_the_same(depot: Depot, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "x.py").write_text("1")
    path, there = str(tmp_path / "m"), depots.fingerprint(str(tmp_path / "m"))
    assert depot.seen({path: there}, {path: depots.facts(path)}) == [path, path]
    assert depot.seen({path: "other", "/none": ""}, {path: [], "/none": []}) == []
    assert depot.lacks([path, "/none"]) == ["/none"]


def test_the_folder_is_this_users_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert node_root() == tmp_path / "mlengine" / "node"
    assert node_root().stat().st_mode & 0o777 == 0o700
    node_root().chmod(0o755)
    with pytest.raises(PermissionError, match="alone"):
        node_root()


def test_a_key_is_a_digest(depot: Depot) -> None:
    with pytest.raises(ValueError, match="no digest"):
        depot.claim("../../x")


def test_a_machine_says_what_it_is() -> None:
    platform, libc = machine_kind()
    assert platform.startswith("linux") and libc
