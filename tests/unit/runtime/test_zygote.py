"""A forked replica is what ``python -m`` would have started, down to how it ends."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mlengine.training.launchers import AttemptSpec, ExitRecord, SidecarSpec
from mlengine.training.launchers.process import ProcessLauncher
from tests.fakes.warm import Layer, WarmLauncher, end, log_of

PROBE = r"""
import ctypes, gc, locale, os, resource, signal, site, sys, sysconfig, tempfile, threading, warnings
import json, multiprocessing, re

def stream(s):
    inner = getattr(s.buffer, "raw", s.buffer)
    return [s.name, s.mode, s.encoding, s.errors, s.line_buffering, s.write_through, s.seekable(),
            s.isatty(), type(s.buffer).__name__, type(inner).__name__, s.fileno(), inner.closefd]

def link(fd):
    try:
        return re.sub(r"\d+", "N", os.readlink("/proc/self/fd/%s" % fd))
    except OSError:
        return "the listing"

def signals():
    return {n: repr(signal.getsignal(n)) for n in signal.Signals if n not in (9, 19)}

lines = [line.rstrip("\n") for line in open("/proc/self/status")]
status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
libc = ctypes.CDLL(None)
death = ctypes.c_int()
libc.prctl(2, ctypes.byref(death), 0, 0, 0)
reaper = ctypes.c_int()
libc.prctl(37, ctypes.byref(reaper), 0, 0, 0)
parent = open("/proc/%d/cmdline" % os.getppid()).read()
main = sys.modules["__main__"]
facts = {
    "argv": sys.argv, "orig_argv": getattr(sys, "orig_argv", None), "path": sys.path,
    "prefixes": [sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix],
    "executable": sys.executable, "environ": dict(os.environ), "cwd": os.getcwd(),
    "fds": [link(fd) for fd in sorted(os.listdir("/proc/self/fd"), key=int)],
    "signals": {str(n): s for n, s in signals().items()},
    "masks": [status[n] for n in ("SigBlk", "SigIgn", "SigCgt", "SigPnd")],
    "limits": [resource.getrlimit(n) for n in range(16)],
    "main": {n: repr(v) for n, v in vars(main).items() if n.startswith("__")},
    "main_is": vars(main) is globals(), "spec": repr(main.__spec__),
    "flags": repr(sys.flags), "options": [sys.warnoptions, sys._xoptions],
    "streams": [stream(s) for s in (sys.stdin, sys.stdout, sys.stderr)],
    "same": [sys.stdout is sys.__stdout__, sys.stderr is sys.__stderr__],
    "umask": os.umask(0o22), "nice": os.nice(0), "ids": [os.getresuid(), os.getresgid()],
    "groups": os.getgroups(), "affinity": sorted(os.sched_getaffinity(0)),
    "leads": [os.getsid(0) == os.getpid(), os.getpgid(0) == os.getpid()],
    "parent": "supervisor.py" in parent, "death": death.value, "reaper": reaper.value,
    "open": libc.prctl(3, 0, 0, 0, 0),
    "name": status["Name"], "threads": [status["Threads"], threading.active_count()],
    "main_thread": threading.current_thread() is threading.main_thread(),
    "oom": open("/proc/self/oom_score_adj").read(), "limit": sys.getrecursionlimit(),
    "site": [site.PREFIXES, site.ENABLE_USER_SITE], "purelib": sysconfig.get_path("purelib"),
    "locale": locale.setlocale(locale.LC_ALL), "coding": sys.getfilesystemencoding(),
    "tmp": tempfile.gettempdir(), "filters": [str(f) for f in warnings.filters],
    "gc": [gc.isenabled(), gc.get_threshold()], "hook": sys.excepthook is sys.__excepthook__,
    "tag": [v for v in open("/proc/self/environ").read().split("\0") if "ATTEMPT_TAG" in v],
    "foreign": [n for n in sys.modules if n.startswith("mlengine")],
    "bytes": sys.dont_write_bytecode,
    "meta": [getattr(f, "__name__", type(f).__name__) for f in sys.meta_path],
    "layered": __import__("layered").__file__, "spawn": sys.executable,
    "command": open("/proc/self/cmdline").read().replace("\0", " ").strip(),
    "frames": len(__import__("inspect").stack()),
}
json.dump(facts, open(sys.argv[1], "w"))
"""

DIFFERENT = {"frames"}
"""What may differ; `mlengine.runtime.interpreter` says why."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("warm")


@pytest.fixture(scope="module")
def layer(folder: Path) -> Layer:
    made = Layer(folder)
    made.module("probe", PROBE)
    made.module("layered", "")
    made.module("startup", "import os\nSEEN = os.environ.get('MARK')\n")
    (made.site_packages / "zz_start.pth").write_text("import startup\n/nowhere\n")
    return made


@pytest.fixture(scope="module")
def warm(folder: Path) -> Iterator[WarmLauncher]:
    launcher = WarmLauncher(folder / "run")
    yield launcher
    launcher.close()


def run(
    launcher: ProcessLauncher, spec: AttemptSpec, attempt: Path
) -> tuple[ExitRecord, list[str]]:
    if isinstance(launcher, WarmLauncher):
        launcher.heat(spec)
        before = launcher.interpreters.claimed
    launcher.start(attempt, spec)
    if isinstance(launcher, WarmLauncher):
        assert launcher.interpreters.claimed == before + 1  # it is no cold start in disguise
    record = end(launcher, attempt).exit
    assert record is not None
    return record, log_of(attempt)


def plain(value: object) -> Any:
    return json.loads(re.sub(r"0x[0-9a-f]+", "0x", json.dumps(value)).replace("\\u0000", ""))


def test_a_forked_replica_sees_what_an_executed_one_sees(
    layer: Layer, warm: WarmLauncher, tmp_path: Path
) -> None:
    facts = []
    for name, launcher in (("1", ProcessLauncher()), ("2", warm)):
        out = tmp_path / f"facts{name}"
        spec = layer.spec("probe", str(out), "--flag", env={"MARK": "x", "TZ": "Asia/Tokyo"})
        record, log = run(launcher, spec, tmp_path / name)
        assert record.message == "", log
        text = out.read_text().replace(str(out), "OUT")
        tag = json.loads((tmp_path / name / "supervisor.lock").read_text())["tag"]
        facts.append(plain(json.loads(text.replace(tag, "TAG"))))
    cold, forked = facts
    for fact in facts:  # Debian's Python also names folders that there are not, some twice
        fact["path"] = [p for p in fact["path"] if Path(p).exists()]
    different = {name for name in cold if cold[name] != forked[name]}
    assert different == DIFFERENT, {n: (cold[n], forked[n]) for n in different - DIFFERENT}
    assert cold["tag"] == ["MLENGINE_ATTEMPT_TAG=TAG"]


# Says whether its helper has the keys, and how often they are in its own memory and environment.
SEARCH = r"""
import hashlib, os, re, socket
said = []
for word in (b"die", b"die", b"end"):
    with socket.create_connection(("127.0.0.1", int(os.environ["HELPER_PORT"])), 60) as helper:
        helper.sendall(word)
        said.append(helper.recv(99).decode())
seen = set()
with open("/proc/self/mem", "rb", 0) as memory:
    for line in open("/proc/self/maps").read().splitlines():
        span, rights = line.split()[:2]
        if rights.startswith("rw"):
            start, end = (int(side, 16) for side in span.split("-"))
            memory.seek(start)
            try:
                seen.update(re.findall(rb"planted-[0-9a-f]{16}", memory.read(end - start)))
            except OSError:
                pass
files = sorted(os.readlink("/proc/self/fd/%d" % n)[:6] for n in (0, 1, 2))
print("helpers", said[0] == said[1] == said[2], said[0])
print("here", len(seen), len(os.listdir("/proc/self/fd")), files)
"""
HELPER = r"""
import hashlib, os, re, socket, sys
with socket.socket(fileno=int(sys.argv[2])) as envelope:
    (key,) = re.findall(rb"planted-[0-9a-f]{16}", envelope.recv(65536, socket.MSG_PEEK))
assert key not in open("/proc/self/environ", "rb").read()
listener = socket.socket(fileno=int(sys.argv[1]))
listener.setblocking(True)
while True:
    caller, _ = listener.accept()
    word = caller.recv(3)
    caller.sendall(hashlib.sha256(key).hexdigest().encode())
    caller.close()
    if word == b"die":
        os._exit(0)
"""


@pytest.mark.parametrize("start", ["cold", "warm"])
def test_keys_pass_a_supervisor_to_every_helper_and_reach_no_replica(
    layer: Layer, warm: WarmLauncher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: str
) -> None:
    key = f"planted-{secrets.token_hex(8)}"
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key)
    layer.module("search", SEARCH)
    helper = SidecarSpec(
        argv=[sys.executable, "-I", "-c", HELPER, "{fd}", "{keys}"],
        env={}, variables={"HELPER_PORT": "{port}"},
    )  # fmt: skip
    spec = msgspec.structs.replace(layer.spec("search"), sidecars=[helper])
    record, log = run(ProcessLauncher() if start == "cold" else warm, spec, tmp_path / "1")
    assert record.message == "", log
    assert f"helpers True {hashlib.sha256(key.encode()).hexdigest()}" in log
    assert "here 0 4 ['/dev/n', 'pipe:[', 'pipe:[']" in log
    written = [path for path in (tmp_path / "1").rglob("*") if path.is_file()]
    assert not [path for path in written if key.encode() in path.read_bytes()]


ENDS = {
    "in peace": "print('done')",
    "status": "import sys; sys.exit(3)",
    "negative status": "import sys; sys.exit(-1)",
    "no status": "import sys; sys.exit(None)",
    "text": "import sys; sys.exit('no data')",
    "tuple": "import sys; sys.exit((1, 'a'))",
    "exception": "def f():\n    raise ValueError('bad')\ndef g():\n    f()\ng()",
    "chain": "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise KeyError('k') from e",
    "exit in exception": "import sys\ntry:\n    1 / 0\nfinally:\n    sys.exit(4)",
    "interrupted": "import atexit; atexit.register(print, 'bye')\nraise KeyboardInterrupt",
    "killed": "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
    "interrupt signal": "import os, signal; os.kill(os.getpid(), signal.SIGINT)",
    "at exit": "import atexit; atexit.register(print, 'bye'); print('hi')",
    "thread": "import threading\nthreading.Timer(0.05, print, ['late']).start()\nprint('main')",
    "daemon thread": (
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()"
    ),
    "destructor": "class C:\n    def __del__(self): print('gone')\nc = C()",
    "unflushed": "import sys; f = open('left', 'w'); f.write('x'); print('y', end='')",
    "hook": "import sys\nsys.excepthook = lambda *a: print('hook', a[0])\nraise ValueError",
    "bad hook": (
        "import sys\ndef h(*a): raise KeyError('in hook')\nsys.excepthook = h\nraise ValueError"
    ),
    "closed output": "import sys; sys.stdout.close()",
    "no output": "import sys; sys.stdout = sys.stderr = None; raise ValueError",
    "at once": "import os; os._exit(5)",
    "syntax": "def (:",
    "system": "import os; print(os.WEXITSTATUS(os.system('exit 6')))",
    "child": (
        "import subprocess, sys\n"
        "print(subprocess.check_output([sys.executable, '-c', 'import layered; print(1)']))"
    ),
    "fork": (
        "import os\nif os.fork() == 0:\n    print('child'); raise SystemExit\n"
        "os.wait()\nprint('p')"
    ),
    "spawn": (
        "import multiprocessing as m, sys\ndef f(x): return x * x, sys.argv, __name__\n"
        "if __name__ == '__main__':\n    print(m.get_context('spawn').Pool(1).map(f, [3]))"
    ),
    "forkserver": (
        "import multiprocessing as m\ndef f(x): return x * x\n"
        "if __name__ == '__main__':\n    print(m.get_context('forkserver').Pool(1).map(f, [3]))"
    ),
    "pickle of main": (
        "import pickle\nclass A: pass\nprint(pickle.loads(pickle.dumps(A())).__module__)"
    ),
    "main": "import sys; print(sys.modules['__main__'], __import__('__main__').__dict__.keys())",
    "both streams": (
        "import sys\nfor n in range(200):\n"
        "    print(n)\n    print(n, 'on the other', file=sys.stderr)"
    ),
    "recursion": "def f(): f()\ntry:\n    f()\nexcept RecursionError as e: print(e)",
}  # fmt: skip


@pytest.mark.parametrize("code", ENDS.values(), ids=ENDS.keys())
def test_a_forked_replica_ends_as_an_executed_one_ends(
    layer: Layer, warm: WarmLauncher, tmp_path: Path, code: str
) -> None:
    layer.module("task", code)
    spec = layer.spec("task")
    cold, cold_log = run(ProcessLauncher(), spec, tmp_path / "1")
    forked, forked_log = run(warm, spec, tmp_path / "2")
    assert plain(forked_log) == plain(cold_log)
    assert forked.replicas == cold.replicas
    assert forked.message == cold.message


def test_a_replica_that_cannot_be_set_up_says_why(
    layer: Layer, warm: WarmLauncher, tmp_path: Path
) -> None:
    spec = layer.spec("task", cwd=Path("/no/such/folder"))
    cold, _log = run(ProcessLauncher(), spec, tmp_path / "1")
    forked, _log = run(warm, spec, tmp_path / "2")
    assert forked.replicas == cold.replicas
    assert "FileNotFoundError" in forked.replicas[0].spawn_error


def test_no_such_module(layer: Layer, warm: WarmLauncher, tmp_path: Path) -> None:
    spec = layer.spec("absent.module")
    cold, _log = run(ProcessLauncher(), spec, tmp_path / "1")
    forked, _log = run(warm, spec, tmp_path / "2")
    assert forked.replicas == cold.replicas
    assert forked.message == cold.message
