from __future__ import annotations

import os
import subprocess
import sys

# A process of an ordinary user (root reads everything) looks at another one of the same user.
LOOK = """
import ctypes, os, pathlib, sys
from mlengine.runtime.concealment import conceal

libc = ctypes.CDLL(None)
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    libc.prctl(4, 1, 0, 0, 0)  # a change of user alone closes a process: open it again
reader, writer = os.pipe()
looked, looker = os.pipe()
child = os.fork()
if child == 0:
    os.read(looked, 1)
    assert conceal()
    os.write(writer, b"x")
    os.read(looked, 1)
    os._exit(0)


def look():
    try:
        found = pathlib.Path(f"/proc/{child}/environ").read_bytes()
        return "open" if b"KEY=secret" in found else "empty"
    except PermissionError:
        return "closed"


before = look()
os.write(looker, b"x")
os.read(reader, 1)
after = look()
os.write(looker, b"x")
status = os.waitpid(child, 0)[1]
print(before, after, status)
"""


def test_nobody_of_the_same_user_reads_what_a_concealed_process_was_started_with() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOOK], env={**os.environ, "KEY": "secret"},
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.split() == ["open", "closed", "0"]


def test_what_a_concealed_process_starts_is_open_again() -> None:
    code = (
        "import subprocess, sys\n"
        "from mlengine.runtime.concealment import conceal\n"
        "assert conceal()\n"
        "ask = 'import ctypes; print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))'\n"
        "subprocess.run([sys.executable, '-c', ask], check=True)\n"
        "import ctypes; print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))\n"
    )
    done = subprocess.run(
        [sys.executable, "-u", "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["1", "0"]
