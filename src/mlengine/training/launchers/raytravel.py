"""Brings to a node what a replica needs and the node does not see; and home what it wrote.

    look what the node has ─▶ its Python ─▶ folders, unless another job brought them ─▶ files
        ─▶ the replica runs, by paths of the node ─▶ its files come home ─▶ the attempt goes on

What the node sees under the same path is used where it is. What it does not is brought: the
environment and what lies below it, content-addressed and kept there (`runtime.depot`); the places
that the attempt names, its working folder, and files that its environment points to, for the
replica alone (`raycarry`). Its helpers stay here, with the keys; the node has a tunnel to them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shlex
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import mlengine
from mlengine.runtime.depot import machine_kind
from mlengine.runtime.freight import (
    Part,
    batches,
    facts,
    is_beneath,
    parts_of,
    relocate_text,
    tree_of,
)
from mlengine.storage.shims import CONFIG_VARIABLE
from mlengine.storage.shims.programs import PROGRAMS
from mlengine.training.launchers.raybaggage import Baggage, baggage_of, moves_of
from mlengine.training.launchers.raycarry import Call, Carrier
from mlengine.training.launchers.raytunnel import TunnelEnd

__all__ = ["Journey", "Stranded"]

_EVERY_S = 5.0
_BUSY_S = 0.5
_POINTED_AT_BYTES = 4 << 20
_HOMES = ("HOME", "TMPDIR", "XDG_CACHE_HOME")


class Stranded(Exception):
    """The replica can never run on its node; says why, and what to do."""


class Journey:
    """One replica that runs where not all of the engine's folders are seen.

    Args:
        call: Calls a method of the replica's post by its name.
        order: What the attempt asked for.
        replica: Its entry there.
        survey: What its post said of the node.
    """

    def __init__(
        self, call: Call, order: dict[str, Any], replica: dict[str, Any], survey: dict[str, Any]
    ) -> None:
        self._call, self._order, self._replica = call, order, replica
        self._node, self._missing = str(survey["node"]), list(survey["missing"])
        self._attempt_dir = str(order["attempt_dir"])
        self._env: dict[str, str] = replica["env"]
        self._added: dict[str, str] = {}
        self._moves: dict[str, str] = {}
        self._carrier = Carrier(self._depot, [], Path(self._attempt_dir))
        self._tasks: list[asyncio.Task[None]] = []
        self.told = ""

    async def arrive(self) -> None:
        """Have all there that the replica needs.

        Raises:
            Stranded: The node cannot run it.
        """
        began_s = time.monotonic()
        scratch, folders, kind = await self._call("open_depot")
        await self._check_program()
        brought = await self._bring_environment(folders, kind)
        await self._bring_files(scratch)
        await self._open_helpers()
        how = "brought" if brought else "was there"
        self.told = (
            f"The node {self._node} does not see the folders of the engine's machine: its "
            f"environment {how}, with {self._carrier.files} file(s) "
            f"({self._carrier.size_bytes / 1e6:,.1f} MB) in {time.monotonic() - began_s:.1f} s."
        )

    def order(self, order: dict[str, Any]) -> dict[str, Any]:
        """Return what the outpost is told, by the node's own paths."""
        replica = order["replica"]
        env = {**self._added, **replica["env"]}
        replica = {
            **replica,
            "argv": [self._moved(word) for word in replica["argv"]],
            "cwd": self._moved(replica["cwd"]),
            "env": {name: self._moved(value) for name, value in env.items()},
        }
        attempt_dir = self._moved(self._attempt_dir)
        return {**order, "attempt_dir": attempt_dir, "sidecars": [], "replica": replica}

    def begin(self, *, with_others: bool) -> None:
        """Carry files while it runs; those that others of its attempt write too."""
        self._tasks.append(asyncio.create_task(self._carry(with_others)))

    async def finish(self) -> None:
        """Have here all that it wrote; it has ended.

        Raises:
            Exception: Whatever Ray, or the disk, says.
        """
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._carrier.fetch()

    async def leave(self) -> None:
        """Clear the node of what is the replica's alone."""
        for task in self._tasks:
            task.cancel()
        await self._call("depot", "close")

    async def _carry(self, with_others: bool) -> None:
        while True:
            await asyncio.sleep(_EVERY_S)
            with contextlib.suppress(Exception):  # the last time counts, and says what is wrong
                await self._carrier.fetch()
                if with_others:
                    await self._carrier.send()

    async def _depot(self, method: str, *arguments: Any) -> Any:
        return await self._call("depot", method, *arguments)

    def _moved(self, text: str) -> str:
        return relocate_text(str(text), self._moves)

    # --- the environment ---

    async def _check_program(self) -> None:
        """Look at what is run; refuse what is no environment of ours and is not there."""
        program = str(self._replica["argv"][0])
        self._baggage: Baggage | None = await asyncio.to_thread(baggage_of, program, self._env)
        found = self._baggage
        if program in self._missing and (found is None or not found.is_venv):
            raise Stranded(
                f"the node {self._node} has no {program}. Install the runtime's interpreter on "
                "every node at the same path"
            )

    async def _bring_environment(self, folders: str, kind: list[str]) -> bool:
        """Bring the folders that the interpreter needs; return whether one was on its way."""
        baggage = self._baggage
        if baggage is None:
            return False
        seen = await self._depot("seen", baggage.folders, {})
        roots = baggage.unseen(seen)
        program = str(self._replica["argv"][0])
        if not roots and program not in self._missing:
            return False
        # What leads to the others names them by their paths.
        roots += [r for r in baggage.roots if is_beneath(program, r) and r not in roots]
        python = await self._python(baggage, kind)
        self._moves = await asyncio.to_thread(moves_of, baggage, roots, python, folders)
        brought = False
        for root in roots:
            brought |= await self._ship(root, python)
        if not baggage.is_venv:  # then nothing of it says where its modules are
            self._added["PYTHONPATH"] = ":".join(map(self._moved, baggage.folders))
        return brought

    async def _python(self, baggage: Baggage, kind: list[str]) -> str:
        """Return the node's own interpreter for what is brought."""
        mine = machine_kind()
        if kind != mine:
            raise Stranded(
                f"the node {self._node} is {' '.join(kind)}, and does not see the environment, "
                f"which was built on {' '.join(mine)}. Use nodes like the engine's machine"
            )
        found: str = await self._depot(
            "python", baggage.version, baggage.implementation, baggage.python
        )
        if not found:
            version = f"{baggage.implementation} {baggage.version}"
            raise Stranded(
                f"the node {self._node} has no {version}, which the job's environment is made for. "
                f"Install it there, on PATH as python{baggage.version}; what it imports is brought"
            )
        return found

    async def _ship(self, root: str, python: str) -> bool:
        """Have a folder there; return whether it was not yet."""
        key = Path(self._moves[root]).name
        while (state := await self._depot("claim", key)) == "busy":
            await asyncio.sleep(_BUSY_S)
        if state == "there":
            return False
        messages = batches(_folder_parts(root))
        while (batch := await asyncio.to_thread(next, messages, None)) is not None:
            await self._depot("take", key, batch)
        await self._depot("commit", key, self._moves, python)
        return True

    # --- files ---

    async def _bring_files(self, scratch: str) -> None:
        """Bring what the replica reads, and take note of what it will write."""
        cwd = str(self._replica["cwd"])
        places = {place.rstrip("/") for place in self._order.get("places") or []}
        places |= {path for path in (cwd, *self._written()) if is_beneath(path, self._attempt_dir)}
        seen = {*await self._depot("seen", {}, {path: facts(path) for path in places})}
        seen = (seen | self._shared()) - {str(Path(path).parent) for path in self._missing}
        unseen = sorted(path for path in places - seen if path.startswith("/"))
        fixed = await self._depot("lacks", self._pointed_at())
        brought = (*unseen, *self._moves)
        fixed = [path for path in fixed if not any(is_beneath(path, one) for one in brought)]
        lacking = await self._depot("lacks", [self._attempt_dir, cwd])
        programs = {str(Path(path).parent) for path in fixed if Path(path).name in PROGRAMS}
        self._moves |= {path: scratch + path for path in (*lacking, *unseen, *fixed, *programs)}
        self._carrier = Carrier(self._depot, unseen, Path(self._attempt_dir) / "arriving")
        folders = [path for path in (*lacking, *unseen) if Path(path).is_dir()]
        await self._carrier.put(map(_folder, folders))
        await self._carrier.send()
        await self._carrier.put([part for path in fixed for part in await self._fixed(path)])
        homes = [self._env[name] for name in _HOMES if name in self._env]
        for path in await self._depot("lacks", homes):
            self._moves.setdefault(path, scratch)

    def _shared(self) -> set[str]:
        """Return the job directory, if the node found our mark in it."""
        job_dir = self._env.get("MLENGINE_JOB_DIR", "")
        return {job_dir.rstrip("/")} if job_dir.startswith("/") else set()

    def _written(self) -> list[str]:
        """Return the folders of files that its environment names and that are not there yet."""
        values = [value for value in self._env.values() if value.startswith("/")]
        return [
            str(Path(value).parent)
            for value in values
            if Path(value).parent != Path(self._attempt_dir) and not Path(value).exists()
        ]

    def _pointed_at(self) -> list[str]:
        """Return small files that it is told of by name, and the bucket commands."""
        found = []
        for value in (*self._env.values(), *self._replica["argv"][1:]):
            path = Path(value) if value.startswith("/") and "\n" not in value else None
            with contextlib.suppress(OSError):
                if path and path.is_file() and path.stat().st_size <= _POINTED_AT_BYTES:
                    found.append(value)
        first = Path(self._env.get("PATH", "").split(":")[0])
        if CONFIG_VARIABLE in self._env:
            found += [str(first / name) for name in PROGRAMS if (first / name).is_file()]
        return list(dict.fromkeys(found))

    async def _fixed(self, path: str) -> list[Part]:
        """Return a file as it is on the node: by its paths, and with nobody's keys."""
        data, mode = Path(path).read_bytes(), Path(path).stat().st_mode & 0o777
        parts = []
        if path == self._env.get(CONFIG_VARIABLE):
            root = f"{self._moved(path)}.folders"
            data = json.dumps(_for_node(json.loads(data), root)).encode()
            parts.append(_folder(f"{path}.folders"))
        elif Path(path).name in PROGRAMS:
            data = await self._program(Path(path).name, data.decode())
        else:
            with contextlib.suppress(UnicodeDecodeError):  # then it names no path
                data = self._moved(data.decode()).encode()
        return [*parts, (path, "f", data, mode, 0, True, True)]

    async def _program(self, name: str, text: str) -> bytes:
        """Return a bucket command for the node: it runs there, or says why it cannot."""
        needed = [self._moved(path) for path in (sys.executable, str(Path(mlengine.__file__)))]
        lacking = await self._depot("lacks", needed)
        if not lacking:
            return self._moved(text).encode()
        said = (
            f"{name}: the node {self._node} has no {lacking[0]}, which this command runs on. Let "
            "the trainer use a client library (google.cloud.storage, tf.io.gfile), or install "
            "mlengine on the node as it is on the engine's machine."
        )
        return f"#!/bin/sh\necho {shlex.quote(said)} >&2\nexit 1\n".encode()

    # --- helpers ---

    async def _open_helpers(self) -> None:
        """Have a port there for every helper here, and name it to the replica."""
        ports = list(self._order.get("helper_ports") or [])
        if not ports:
            return
        theirs = await self._call("open_tunnels", len(ports))
        specs = self._order.get("sidecars") or []
        for number, (mine, port) in enumerate(zip(ports, theirs, strict=True)):
            for name, value in specs[number]["variables"].items():
                self._added[name] = value.replace("{port}", str(port))
            end = TunnelEnd(_numbered(self._call, number), mine)
            self._tasks.append(asyncio.create_task(end.serve()))


def _numbered(call: Call, number: int) -> Call:
    async def one(method: str, *arguments: Any) -> Any:
        return await call("tunnel", number, method, *arguments)

    return one


def _folder(path: str) -> Part:
    return (path, "d", b"", 0o700, 0, True, True)


def _folder_parts(root: str) -> Iterable[Part]:
    for path, kind in tree_of(root):
        with contextlib.suppress(OSError):
            yield from parts_of(path, path[len(root) :], kind)


def _for_node(config: dict[str, Any], root: str) -> dict[str, Any]:
    """Return what the bucket commands are told on a node: all buckets are the helper's there."""
    there = Path(str(config["root"]))
    own = [p.name for p in there.iterdir() if p.is_dir() and not p.name.startswith(".")]
    named = {str(bucket["name"]): bucket for bucket in config["buckets"]}
    buckets = [{**named.get(name, {"name": name}), "backing": f"gcs://{name}"}
               for name in dict.fromkeys([*own, *named])]  # fmt: skip
    return {"secret": config["secret"], "root": root, "buckets": buckets}
