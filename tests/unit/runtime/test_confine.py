"""A process that confined itself: what it may, and what the kernel refuses it from then on."""

from __future__ import annotations

import errno
import json
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mlengine.runtime import landlock, seccomp
from mlengine.runtime.confine import command
from mlengine.runtime.limits import Limits

PROGRAM = """
import json, os, socket, sys
def tried(act):
    try:
        act()
    except OSError as error:
        return error.errno
    return 0
def internet():
    socket.socket().close()
def unix():
    socket.socket(socket.AF_UNIX).close()
def pair():
    [end.close() for end in socket.socketpair()]
def read():
    open("secret").close()
def large():
    with open("own/large", "wb", buffering=0) as file:
        file.seek(1 << 20)
        file.write(b"x")
def write():
    open("own/small", "w").close()
def escape():
    os.symlink("/", "new")
def signal():
    os.kill(os.getppid(), 0)
def truncate():
    os.truncate("secret", 0)
def harm():
    os.chmod("secret", 0o777)
    os.chown("secret", 65534, 65534)
    os.utime("secret", (1, 1))
    os.setxattr("secret", "user.villain", b"was here")
acts = internet, unix, pair, read, large, write, escape, signal, truncate, harm
print(json.dumps({act.__name__: tried(act) for act in acts}))
"""


def confined(folder: Path, **plan: Any) -> dict[str, int]:
    (folder / "own").mkdir()
    secret = folder / "secret"
    secret.write_text("s")
    before = secret.stat()
    file = folder / "plan.json"
    # The first is a pipe, which Landlock has no rule for: it takes no other with it.
    read = ["/proc/self/fd/0", sys.prefix, sys.base_prefix, *filter(None, sys.path)]
    file.write_text(json.dumps({
        "read": read, "write": [str(folder / "own")], "limits": {"file_bytes": 1 << 20}, **plan,
    }))  # fmt: skip
    done = subprocess.run(
        command(sys.executable, file, [sys.executable, "-c", PROGRAM]),
        cwd=folder, capture_output=True, text=True, check=True, timeout=60, input="",
    )  # fmt: skip
    found: dict[str, int] = json.loads(done.stdout)
    assert secret.stat() == before and secret.read_text() == "s"
    assert os.listxattr(secret) == []
    return found


@pytest.mark.skipif(landlock.version() < 6, reason="NOT TESTED: this kernel holds back less")
@pytest.mark.parametrize("network", [False, True])
def test_it_has_its_own_files_and_no_more(tmp_path: Path, network: bool) -> None:
    assert confined(tmp_path, network=network) == {
        "internet": 0 if network else errno.EACCES, "unix": errno.EACCES, "pair": 0,
        "read": errno.EACCES, "large": errno.EFBIG, "write": 0, "escape": errno.EACCES,
        "signal": errno.EPERM, "truncate": errno.EPERM, "harm": 0,
    }  # fmt: skip


def test_a_group_that_is_gone_or_never_was_is_named_and_does_not_stop_it(tmp_path: Path) -> None:
    missing = Limits(0.0, 1 << 30, 64).plan()  # no group of these was made
    (tmp_path / "plan.json").write_text(json.dumps({
        "gaps": missing["gaps"], "groups": [str(tmp_path / "none")],
        "read": [sys.prefix, sys.base_prefix, *sys.path],
    }))  # fmt: skip
    done = subprocess.run(
        command(sys.executable, tmp_path / "plan.json", [sys.executable, "-c", "print(1)"]),
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout == "1\n"
    assert "not confined in full: its control group cannot be entered" in done.stderr
    assert "not confined in full: each of its processes may hold as much memory" in done.stderr
    assert "not confined in full: its processes are not counted apart" in done.stderr


FEIGNED = -1
CHANGES = ("chmod", "fchmod", "chown", "fchown", "lchown", "utime", "setxattr", "lsetxattr",
           "fsetxattr", "removexattr", "lremovexattr", "fremovexattr")  # fmt: skip


def verdict(machine: str, call: int, *arguments: int, network: bool = False) -> int:
    """Run a filter as the kernel does; return 0 when the call is allowed, or the error.

    The error is `FEIGNED` when the call does nothing, and nobody is told.
    """
    architecture = seccomp._MACHINES[machine][0]
    words = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("<IIQ6Q", call, architecture, 0, *words)
    code = seccomp.program(machine, network=network)
    lines = [struct.unpack_from("HBBI", code, at) for at in range(0, len(code), 8)]
    at, held = 0, 0
    while True:
        kind, if_true, if_false, value = lines[at]
        at += 1
        if kind == seccomp._LOAD:
            (held,) = struct.unpack_from("<I", data, value)
        elif kind == seccomp._RETURN:
            return 0 if value == seccomp._ALLOW else value & 0xFFFF or FEIGNED
        else:
            tests = {
                seccomp._EQUAL: held == value, seccomp._AT_LEAST: held >= value,
                seccomp._ANY_BIT: bool(held & value),
            }  # fmt: skip
            at += if_true if tests[kind] else if_false


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_each_call_is_decided_as_written(machine: str) -> None:
    calls = seccomp._MACHINES[machine][1]
    special = {"seccomp", "socket", "clone", "clone3", "prlimit64", "setpriority"}
    assert len(set(calls.values())) == len(calls)
    for name in calls.keys() - special:
        expected = FEIGNED if name.startswith(CHANGES) or name == "futimesat" else errno.EPERM
        assert verdict(machine, calls[name]) == expected, name
    for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, 17, 40):
        assert verdict(machine, calls["socket"], family) == errno.EACCES
    assert verdict(machine, calls["socket"], socket.AF_INET, network=True) == 0
    assert verdict(machine, calls["socket"], socket.AF_UNIX, network=True) == errno.EACCES
    assert verdict(machine, calls["clone3"]) == errno.ENOSYS
    assert verdict(machine, calls["clone"], 0x3D0F00) == 0  # a thread
    assert verdict(machine, calls["clone"], 0x10000000) == errno.EPERM
    assert verdict(machine, calls["prlimit64"], 0, 7) == 0
    assert verdict(machine, calls["prlimit64"], 4711, 7) == errno.EPERM
    assert verdict(machine, calls["setpriority"], 0, 4711) == errno.EPERM
    for harmless in (0, 1, 3, 9):
        assert verdict(machine, harmless) == 0 or harmless in calls.values()
