"""Files to and fro, between this machine and a depot that is called as over Ray."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from mlengine.runtime.depot import Depot
from mlengine.runtime.farlink import ENDED, OUTPUT, STARTED
from mlengine.runtime.frames import pack
from mlengine.training.launchers.raybaggage import Baggage, baggage_of, moves_of
from mlengine.training.launchers.raycarry import Carrier
from mlengine.training.launchers.raystream import Ending


class Far:
    """A node's depot; what crosses is what JSON can say, and bytes."""

    def __init__(self, root: Path) -> None:
        root.mkdir(mode=0o700)
        self.depot = Depot("one", str(root))
        self.root = Path(self.depot.where()[0])

    async def call(self, method: str, *arguments: Any) -> Any:
        return getattr(self.depot, method)(*arguments)

    def path(self, path: Path) -> Path:
        return Path(f"{self.root}{path}")


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Far]:
    far = Far(tmp_path / "node")
    yield far
    far.depot.close()


@pytest.fixture
def near(tmp_path: Path) -> Path:
    (tmp_path / "near" / "out").mkdir(parents=True)
    return tmp_path / "near"


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


def test_what_is_written_there_comes_home(near: Path, far: Far, tmp_path: Path) -> None:
    (near / "in").write_text("input")
    (near / "out" / "old").write_text("old")
    carrier = Carrier(far.call, [f"{near}/in", f"{near}/out"], tmp_path / "aside")
    run(carrier.send())
    assert far.path(near / "in").read_text() == "input"
    assert run(carrier.fetch()) is False
    far.path(near / "out" / "deep").mkdir()
    far.path(near / "out" / "deep" / "model").write_bytes(os.urandom(5 << 20))
    far.path(near / "out" / "old").unlink()
    far.path(near / "elsewhere").write_text("not carried")
    assert run(carrier.fetch()) is True
    wanted = far.path(near / "out" / "deep" / "model").read_bytes()
    assert (near / "out" / "deep" / "model").read_bytes() == wanted
    assert not (near / "out" / "old").exists() and not (near / "elsewhere").exists()
    assert list((tmp_path / "aside").iterdir()) == []
    assert run(carrier.fetch()) is False


def test_what_others_write_here_goes_there(near: Path, far: Far, tmp_path: Path) -> None:
    carrier = Carrier(far.call, [f"{near}/out"], tmp_path / "aside")
    run(carrier.send())
    (near / "out" / "checkpoint").write_text("1")
    run(carrier.send())
    assert far.path(near / "out" / "checkpoint").read_text() == "1"
    assert run(carrier.fetch()) is False, "it is not sent back"
    (near / "out" / "checkpoint").unlink()
    run(carrier.send())
    assert not far.path(near / "out" / "checkpoint").exists()


def test_what_changed_here_is_not_removed_because_it_was_removed_there(
    near: Path, far: Far, tmp_path: Path
) -> None:
    (near / "out" / "x").write_text("1")
    carrier = Carrier(far.call, [f"{near}/out"], tmp_path / "aside")
    run(carrier.send())
    far.path(near / "out" / "x").unlink()
    (near / "out" / "x").write_text("another's, since")
    run(carrier.fetch())
    assert (near / "out" / "x").read_text() == "another's, since"


def test_a_node_writes_nothing_that_is_not_the_jobs(near: Path, far: Far, tmp_path: Path) -> None:
    (near / "out" / "leads-away").symlink_to(tmp_path)
    carrier = Carrier(far.call, [f"{near}/out"], tmp_path / "aside")
    lies = [f"{near}/out/../secret", f"{tmp_path}/secret", f"{near}/out/leads-away/secret", "x"]

    async def call(method: str, *arguments: Any) -> Any:
        if method == "changes":
            return [[(name, [1, 1, 1]) for name in lies], []]
        return [(arguments[0], "f", b"bad", 0o600, 0, True, True)]

    carrier = Carrier(call, [f"{near}/out"], tmp_path / "aside")
    run(carrier.fetch())
    assert not (near / "secret").exists() and not (tmp_path / "secret").exists()


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """An environment over this interpreter, with a link to a checkout."""
    real = Path(sys.executable).resolve()
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    folder, checkout = tmp_path / "venv", tmp_path / "checkout"
    modules = folder / "lib" / f"python{version}" / "site-packages"
    modules.mkdir(parents=True)
    checkout.mkdir()
    (checkout / "far_checkout.py").write_text("WORD = 'from the checkout'\n")
    (modules / "link.pth").write_text(f"{checkout}\n")
    (folder / "bin").mkdir()
    (folder / "bin" / "python").symlink_to(real)
    (folder / "pyvenv.cfg").write_text(
        f"home = {real.parent}\ninclude-system-site-packages = false\nversion = {version}\n"
    )
    return folder


def test_an_interpreter_says_what_belongs_to_it(venv: Path, tmp_path: Path) -> None:
    found = baggage_of(str(venv / "bin" / "python"), {})
    assert found is not None and found.is_venv
    assert set(found.roots) == {str(venv), str(tmp_path / "checkout")}
    assert found.unseen(found.folders) == []
    assert found.unseen([]) == [*found.roots]
    assert baggage_of("/bin/sh", {}) is None
    assert baggage_of("/no/such/python", {}) is None


def test_an_environment_runs_elsewhere(venv: Path, far: Far, tmp_path: Path) -> None:
    """Shipped by the same steps as by an agent, and then its origin is taken away."""
    program = str(venv / "bin" / "python")
    found = baggage_of(program, {})
    assert found is not None and all(Path(root).parent == tmp_path for root in found.roots)
    python = far.depot.python(found.version, found.implementation, "")
    moves = moves_of(found, [*found.roots], python, far.depot.where()[1])
    for root, there in moves.items():
        carry(far.depot, root, Path(there).name, moves, python)
    venv.rename(tmp_path / "venv-gone")
    (tmp_path / "checkout").rename(tmp_path / "checkout-gone")
    code = "import far_checkout; print(far_checkout.WORD)"
    answer = subprocess.run(
        [f"{moves[str(venv)]}/bin/python", "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout == "from the checkout\n"


def carry(depot: Depot, root: str, key: str, moves: dict[str, str], python: str) -> None:
    from mlengine.runtime.freight import parts_of, tree_of

    assert depot.claim(key) == "yours"
    for path, kind in tree_of(root):
        depot.take(key, list(parts_of(path, path[len(root) :], kind)))
    depot.commit(key, moves, python)


def test_what_moves_together_has_one_name(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    root = str(tmp_path / "m")

    def moved(python: str) -> str:
        baggage = Baggage("3.11", "CPython", "/p", True, {root: {root: "told"}})
        return moves_of(baggage, [root], python, "/n")[root]

    before = moved("/p")
    assert moved("/p") == before
    assert moved("/q") != before, "its links lead to another interpreter"
    (tmp_path / "m" / "x").write_text("changed")
    assert moved("/p") != before


@pytest.mark.parametrize("step", [1, 3, 10, 1000])
def test_what_comes_before_a_replicas_end_is_told_apart(step: int) -> None:
    before = pack(0, STARTED) + pack(0, OUTPUT, b"a line\n" * 20)
    end = pack(0, ENDED, json.dumps({"exit_code": 0}).encode())
    said, ending = before + end, Ending()
    parts = [ending.split(said[at : at + step]) for at in range(0, len(said), step)]
    assert b"".join(one + other for one, other in parts) == said
    assert ending.seen
    first = b"".join(one for one, _ in parts)
    # A header that comes in pieces is known when it is whole; what came of it before is no end.
    assert first.startswith(before) and len(first) < len(before) + 10
