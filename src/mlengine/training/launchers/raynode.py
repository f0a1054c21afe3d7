"""The actor that Ray runs for one replica: it keeps an outpost on its node, and passes bytes.

It is sent to the nodes as source, with the part of `mlengine.runtime` that an outpost needs, so a
node needs Ray and nothing of mlengine; it imports the standard library and Ray alone. What an
outpost says is numbered by bytes and kept until the caller has it: a `pull` that is repeated gets
the same again, so nothing is lost and nothing comes twice.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

__all__ = ["Post"]

_FIRST_PORT, _END_PORT = 20_000, 32_768  # as `training.ports`, and for its reasons
_MOST_KEPT_BYTES = 4 << 20
_READ_BYTES = 256 << 10
_LOOK_S = 5.0  # a folder made a moment ago may come late on a network disk
_ABOVE = 3  # what lies so far above the first probe is old: who does not see it will not


class Post:
    """Watches over one outpost.

    Args:
        code: Zip of the outpost's modules.
        digest: Names it.
        lease_s: As in `mlengine.runtime.farlink`.
    """

    def __init__(self, code: bytes, digest: str, lease_s: float) -> None:
        folder = _unpack(code, digest)
        sys.path.insert(0, str(folder))  # what the node itself may have of mlengine is another's
        self._main = folder / "mlengine" / "runtime" / "outpost.py"
        self._depot: Any = None
        self._tunnels: list[Any] = []
        self._lease_s = lease_s
        self._changed = threading.Condition()
        self._starting = threading.Lock()
        self.renew()

    def renew(self) -> None:
        """Be there for another replica; nothing of the one before is left, nor is on its way."""
        self.touch()
        self._process: subprocess.Popen[bytes] | None = None
        self._kept = bytearray()
        self._first = 0
        self._ended = False
        self._tag = ""
        self._early = b""

    def survey(self, ports: int, avoid: list[int], probes: dict[str, str]) -> dict[str, Any]:
        """Say where this is and what it sees.

        Args:
            ports: How many free ports to find.
            avoid: Ports that others were given.
            probes: Path → text that it must begin with; an empty one need only exist.
        """
        import ray  # where this runs, it is there

        self.touch()
        first = next(iter(probes))
        patience_s = _LOOK_S if Path(first).parents[_ABOVE - 1].exists() else 0.0
        until_s = time.monotonic() + patience_s
        while (missing := _unseen(probes)) and time.monotonic() < until_s:
            with self._changed:
                self._changed.wait(0.2)
        return {
            "node": ray.util.get_node_ip_address(),  # type: ignore[no-untyped-call]
            "ports": _free_ports(ports, avoid),
            "missing": missing,
            "gpus": [str(found) for found in ray.get_gpu_ids()],
        }

    def open_depot(self) -> list[Any]:
        """Make ready for files of the engine's machine; say where they go, and what this one is."""
        from mlengine.runtime.depot import Depot, machine_kind

        if self._depot is None:
            self._depot = Depot(secrets.token_hex(8))
        return [*self._depot.where(), machine_kind()]

    def depot(self, method: str, *arguments: Any) -> Any:
        """Call the `runtime.depot` of this replica."""
        return getattr(self._depot, method)(*arguments)

    def open_tunnels(self, count: int) -> list[int]:
        """Listen for the replica's connections to its helpers; return the ports."""
        from mlengine.runtime.tunnel import Tunnel

        self._tunnels = [Tunnel() for _number in range(count)]
        return [tunnel.port for tunnel in self._tunnels]

    def tunnel(self, number: int, method: str, *arguments: Any) -> Any:
        """Call one of the tunnels."""
        return getattr(self._tunnels[number], method)(*arguments)

    def touch(self) -> None:
        """Take it that the caller is there; `start` must follow soon."""
        self._touched_s = time.monotonic()

    def start(self, order: bytes) -> None:
        """Start the outpost, which starts the replica.

        Raises:
            TimeoutError: The call was long under way: the caller may have given it up.
        """
        if time.monotonic() - self._touched_s > self._lease_s:
            raise TimeoutError("the call to start the replica came too late")
        self._tag = str(json.loads(order)["tag"])
        errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the outpost
        self._errors = errors
        kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "PATH", "TZ")
                if name in os.environ}  # fmt: skip
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(self._main)], env=kept, cwd="/",
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, bufsize=0,
        )  # fmt: skip
        assert process.stdin is not None
        with self._starting:
            process.stdin.write(struct.pack("<I", len(order)) + order + self._early)
            self._process = process
        threading.Thread(target=self._read, daemon=True).start()
        process.wait()  # it lives on as an orphan

    def pull(self, known: int, wait_s: float) -> tuple[bytes, bool]:
        """Return what came after the first `known` bytes, and whether nothing more will come.

        Args:
            known: How much the caller has, for good; that is forgotten here.
            wait_s: How long to wait for more.
        """
        self._send(b".")
        with self._changed:
            del self._kept[: max(known - self._first, 0)]
            self._first = max(self._first, known)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._kept or self._ended, wait_s)
            return bytes(self._kept), self._ended

    def tell(self, order: bytes) -> None:
        """Pass an order to the outpost, once there is one."""
        with self._starting:
            if self._process is None:
                self._early += order
                return
        self._send(order)

    def wreck(self) -> str:
        """Kill what an outpost that died left behind; return the last that it said."""
        subprocess.run(
            [sys.executable, "-I", "-S", str(self._main), "sweep", self._tag],
            env={}, cwd="/", check=False,
        )  # fmt: skip
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace").strip()[-500:]

    def _send(self, data: bytes) -> None:
        process = self._process
        if process is not None and process.stdin is not None:
            try:
                process.stdin.write(data)
            except OSError:  # it has ended: the reader notices
                pass

    def _read(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        while data := os.read(self._process.stdout.fileno(), _READ_BYTES):
            with self._changed:
                self._changed.wait_for(lambda: len(self._kept) < _MOST_KEPT_BYTES)
                self._kept += data
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


def _unpack(code: bytes, digest: str) -> Path:
    """Return the folder with the outpost's modules; whole or not at all, and ours alone."""
    root = Path(tempfile.gettempdir()) / f"mlengine-outpost-{os.getuid()}"
    root.mkdir(mode=0o700, exist_ok=True)
    found = root.lstat()
    if found.st_uid != os.getuid() or found.st_mode & 0o077 or root.is_symlink():
        raise PermissionError(f"{root} is not a folder of this user alone: remove it")
    folder = root / digest
    if not folder.exists():
        aside = Path(tempfile.mkdtemp(dir=root))
        with zipfile.ZipFile(BytesIO(code)) as archive:
            for name in archive.namelist():
                path = aside / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(archive.read(name))
        try:
            aside.rename(folder)
        except OSError:  # somebody else was faster
            shutil.rmtree(aside, ignore_errors=True)
    return folder


def _unseen(probes: dict[str, str]) -> list[str]:
    missing = []
    for path, text in probes.items():
        try:
            seen = not text or Path(path).read_text().startswith(text)
            if not (seen and Path(path).exists()):
                missing.append(path)
        except OSError:
            missing.append(path)
    return missing


def _free_ports(count: int, avoid: list[int]) -> list[int]:
    found: list[int] = []
    every = range(_FIRST_PORT, _END_PORT)
    for port in random.SystemRandom().sample(every, len(every)):
        if len(found) == count:
            break
        if port in avoid:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
        found.append(port)
    return found
