"""Signals reach whom they are meant for, and nobody else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlengine.runtime import processes
from mlengine.runtime.processes import Process
from tests.waiting import wait_until


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen(["sleep", "300"], start_new_session=True)
    yield child
    child.kill()
    child.wait()


def row(child: subprocess.Popen[bytes]) -> Process:
    found = processes.look(child.pid)
    assert found is not None
    return found


def test_a_process_is_its_pid_and_its_start(sleeper: subprocess.Popen[bytes]) -> None:
    found = row(sleeper)
    assert (found.parent, found.session, found.alive) == (os.getpid(), sleeper.pid, True)
    assert found == processes.snapshot()[sleeper.pid]._replace(state=found.state)


def test_a_recycled_pid_gets_no_signal(sleeper: subprocess.Popen[bytes]) -> None:
    predecessor = row(sleeper)._replace(started=row(sleeper).started - 1)
    assert processes.send(predecessor, signal.SIGKILL) is False
    assert sleeper.poll() is None
    assert processes.send(row(sleeper), signal.SIGKILL) is True
    assert sleeper.wait() == -signal.SIGKILL


def test_without_pidfds_a_recycled_pid_gets_no_signal_either(
    sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    predecessor = row(sleeper)._replace(started=row(sleeper).started - 1)
    assert processes.send(predecessor, signal.SIGKILL) is False
    assert processes.send(row(sleeper), 0) is True


def test_who_is_gone_gets_no_signal(sleeper: subprocess.Popen[bytes]) -> None:
    was = row(sleeper)
    sleeper.kill()
    wait_until(lambda: not row(sleeper).alive)
    sleeper.wait()
    assert processes.send(was, signal.SIGTERM) is False
    assert processes.look(sleeper.pid) is None


def test_a_name_with_parentheses_is_read(tmp_path: object) -> None:
    code = "open('/proc/self/comm','w').write('a) R 1 (b'); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-I", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None and child.stdin is not None
        child.stdout.readline()
        assert row(child).parent == os.getpid()
        child.stdin.close()
        child.wait()


def a(pid: int, parent: int, state: str = "S") -> Process:
    return Process(pid=pid, started=1, parent=parent, group=1, session=1, state=state)


def test_descendants_are_found_through_zombies_and_without_their_ancestors() -> None:
    rows = {r.pid: r for r in (a(1, 0), a(2, 1), a(3, 2, "Z"), a(4, 3), a(5, 1), a(9, 8))}
    assert sorted(r.pid for r in processes.descendants([2], rows)) == [4]
    assert sorted(r.pid for r in processes.descendants([1], rows)) == [2, 4, 5]
    assert processes.descendants([7], rows) == []


def test_an_attempt_is_found_by_its_tag_and_by_its_sessions() -> None:
    environment = {**os.environ, processes.TAG_VARIABLE: "j/1/x"}
    tagged = subprocess.Popen(["sleep", "300"], env=environment)
    leader = subprocess.Popen(["sleep", "300"], start_new_session=True)
    try:
        wait_until(lambda: [r.pid for r in processes.of_attempt("j/1/x", {})] == [tagged.pid])
        started = row(leader).started
        found = processes.of_attempt("j/1/x", {leader.pid: started})
        assert {r.pid for r in found} == {tagged.pid, leader.pid}
        assert processes.of_attempt("j/1/y", {leader.pid: started - 1}) == []
    finally:
        for child in (tagged, leader):
            child.kill()
            child.wait()


def test_a_note_names_its_process_where_it_was_written(
    sleeper: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    place, copy, link = (tmp_path / name for name in ("place", "copy", "link"))
    place.mkdir()
    copy.mkdir()
    link.symlink_to(place)
    facts = processes.note(sleeper.pid, place)
    for elsewhere in (copy, tmp_path / "none"):
        assert processes.noted(facts, elsewhere) is None
    for here in (place, link, tmp_path / "moved"):
        if here.name == "moved":
            place.rename(here)
        found = processes.noted(facts, here)
        assert found is not None and found.pid == sleeper.pid
    for other in ({"boot_id": "another"}, {"started": facts["started"] + 1}):
        assert processes.noted({**facts, **other}, tmp_path / "moved") is None
    assert processes.noted({}, tmp_path / "moved") is None


def test_a_place_that_was_moved_to_another_disk_is_no_copy(
    sleeper: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    place, elsewhere = tmp_path / "place", tmp_path / "elsewhere"
    elsewhere.mkdir()
    place.mkdir()
    facts = processes.note(sleeper.pid, place)
    assert processes.noted(facts, elsewhere) is None  # a copy: the original is where it was
    place.rename(tmp_path / "kept")  # its inode must not be handed out again
    found = processes.noted(facts, elsewhere)
    assert found is not None and found.pid == sleeper.pid
    place.mkdir()
    assert processes.is_of(elsewhere, facts)  # it is another one
    assert not processes.is_of(tmp_path / "none", facts)
    for other in ({"boot_id": "another"}, {"place": ""}, {"place": f"/{'x' * 300}"}):
        assert not processes.is_of(elsewhere, {**facts, **other})


@pytest.mark.parametrize("name", ["file", "link"])
def test_a_note_says_where_its_place_lies(tmp_path: Path, name: str) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "file")
    with (tmp_path / "file").open("w") as file:
        facts = [processes.note(os.getpid(), place) for place in (file.fileno(), tmp_path / name)]
    assert [one["place"] for one in facts] == [str((tmp_path / "file").resolve())] * 2


def test_a_note_of_nobody_names_nobody(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    facts = processes.note(sleeper.pid, tmp_path)
    sleeper.kill()
    wait_until(lambda: not row(sleeper).alive)
    assert processes.noted(facts, tmp_path) is None  # not reaped: its row is there yet
    sleeper.wait()
    assert processes.noted(processes.note(sleeper.pid, tmp_path), tmp_path) is None
