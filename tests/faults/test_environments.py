"""What happens to environments when builders race, die, hang, leak or run out of disk."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mlengine.core.errors import Cancelled, EngineError, FailedPrecondition, Unavailable
from mlengine.environments import Environment, Environments
from tests.fakes.archives import sdist
from tests.waiting import wait_until

PREPARE = """
import sys
from pathlib import Path
from mlengine.environments import Environments
found = Environments(Path(sys.argv[1])).prepare([Path(sys.argv[2])])
print(found.path, found.hit)
"""

# Hangs in its setup.py until somebody removes the file; says that it does, and which process it is.
HANG = """
import os, pathlib, signal
if pathlib.Path({gate!r}).exists():
    pathlib.Path({ready!r}).write_text(str(os.getpid()))
    signal.pause()
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "environments"


class Hanging:
    """An archive whose installation hangs for as long as its gate file exists."""

    def __init__(self, folder: Path) -> None:
        self.gate, self._ready = folder / "gate", folder / "ready"
        self.gate.touch()
        before = HANG.format(gate=str(self.gate), ready=str(self._ready))
        self.archive = sdist(folder, before=before)

    def wait(self) -> int:
        wait_until(lambda: self._ready.exists() and self._ready.read_text(), 60)
        return int(self._ready.read_text())


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def process(root: Path, archive: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PREPARE, str(root), str(archive)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def builds(root: Path) -> list[Path]:
    return list((root / ".builds").iterdir())


def test_eight_threads_and_two_processes_build_it_once(root: Path, tmp_path: Path) -> None:
    archive = sdist(tmp_path)
    environments = Environments(root)
    others = [process(root, archive) for _ in range(2)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: environments.prepare([archive]), range(8)))
    printed = [other.communicate(timeout=120)[0].split() for other in others]
    assert {str(item.path) for item in found} | {path for path, _ in printed} == {
        str(builds(root)[0])
    }
    assert len(builds(root)) == 1
    assert [item.hit for item in found].count(False) + [hit for _, hit in printed].count(
        "False"
    ) == 1


def test_those_who_waited_for_a_build_that_failed_do_not_try_again(
    root: Path, tmp_path: Path
) -> None:
    tries = tmp_path / "tries"
    archive = sdist(tmp_path, before=f"open({str(tries)!r}, 'a').write('x')\nraise SystemExit(3)")
    environments = Environments(root)
    gathered = threading.Barrier(4)

    def prepare(_: int) -> EngineError:
        gathered.wait(60)
        with pytest.raises(FailedPrecondition) as caught:
            environments.prepare([archive])
        return caught.value

    with ThreadPoolExecutor(4) as pool:
        errors = list(pool.map(prepare, range(4)))
    assert tries.read_text() == "x"
    assert len({str(error) for error in errors}) == 1
    with pytest.raises(FailedPrecondition):
        environments.prepare([archive])  # asked anew, it is tried anew
    assert tries.read_text() == "xx"


def test_a_builder_that_was_killed_leaves_nothing_that_is_used(root: Path, tmp_path: Path) -> None:
    hanging = Hanging(tmp_path)
    builder = process(root, hanging.archive)
    orphan = hanging.wait()
    builder.kill()
    builder.communicate(timeout=30)
    assert is_running(orphan)
    hanging.gate.unlink()
    environments = Environments(root)
    built = environments.prepare([hanging.archive])
    assert not built.hit
    assert len(builds(root)) == 2
    assert environments.sweep() == 1
    wait_until(lambda: not is_running(orphan))
    assert builds(root) == [built.path]
    assert environments.prepare([hanging.archive]).hit


def test_sweeping_spares_what_somebody_is_building(root: Path, tmp_path: Path) -> None:
    hanging = Hanging(tmp_path)
    builder = process(root, hanging.archive)
    installing = hanging.wait()
    assert Environments(root).sweep() == 0
    assert len(builds(root)) == 1
    copy = shutil.copytree(root, tmp_path / "copy", symlinks=True)
    assert Environments(copy).sweep() == 1  # there, nobody does
    assert is_running(installing)
    os.kill(builder.pid, signal.SIGINT)
    builder.communicate(timeout=30)
    assert builds(root) == []  # interrupted, it tidied up by itself


def test_an_installation_that_hangs_is_killed_and_says_so(root: Path, tmp_path: Path) -> None:
    hanging = Hanging(tmp_path)
    with pytest.raises(FailedPrecondition, match="install timed out"):
        Environments(root, timeout_s=3).prepare([hanging.archive])
    pid = hanging.wait()
    wait_until(lambda: not is_running(pid))  # the kernel takes a moment to be rid of it
    assert builds(root) == []


def test_a_cancelled_installation_is_killed_at_once(root: Path, tmp_path: Path) -> None:
    hanging = Hanging(tmp_path)
    cancel = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        environments = Environments(root)
        first = pool.submit(environments.prepare, [hanging.archive], cancelled=cancel.is_set)
        pid = hanging.wait()
        waiter = pool.submit(environments.prepare, [hanging.archive])
        hanging.gate.unlink()
        cancel.set()
        with pytest.raises(Cancelled):
            first.result(30)
        # Whoever waited for it still wants it, and gets it.
        assert isinstance(waiter.result(60), Environment)
    wait_until(lambda: not is_running(pid))


def test_a_process_that_setup_py_leaves_behind_is_killed_too(root: Path, tmp_path: Path) -> None:
    child = tmp_path / "child"
    before = (
        "import subprocess, pathlib\n"
        f"p = pathlib.Path({str(child)!r})\n"
        "if not p.exists():\n"
        "    p.write_text(str(subprocess.Popen(['sleep', '300'], stdout=-3, stderr=-3).pid))\n"
    )
    built = Environments(root, timeout_s=60).prepare([sdist(tmp_path, before=before)])
    wait_until(lambda: not is_running(int(child.read_text())))
    assert built.path.is_dir()


def test_an_installation_sees_no_secret_and_no_open_file(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MLENGINE_TOKEN", "AWS_SECRET_ACCESS_KEY", "DATABASE_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.setenv(name, "hunter2")
    seen = tmp_path / "seen.json"
    before = (
        "import json, os\n"
        "fds = [os.readlink(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd')"
        " if os.path.exists(f'/proc/self/fd/{n}')]\n"
        f"open({str(seen)!r}, 'w').write(json.dumps([dict(os.environ), fds]))\n"
    )
    secret = tmp_path / "secret"
    secret.write_text("hunter2")
    with secret.open() as file:
        os.set_inheritable(file.fileno(), True)
        Environments(root).prepare([sdist(tmp_path, before=before)])
    variables, files = json.loads(seen.read_text())
    assert "hunter2" not in json.dumps(variables)
    assert variables["HOME"].startswith(str(root))
    assert str(secret) not in files


def test_a_flood_of_output_is_cut(root: Path, tmp_path: Path) -> None:
    before = "print(('x' * 100 + chr(10)) * 5_000 + 'y' * 1_000_000, flush=True)"
    lines: list[str] = []
    archive = sdist(tmp_path, before=f"{before}\nraise SystemExit(1)")
    with pytest.raises(FailedPrecondition) as caught:
        Environments(root, installer="pip").prepare([archive], log=lines.append)
    assert len(str(caught.value)) < 50_000
    assert sum(map(len, lines)) < 500_000


def test_a_full_disk_is_worth_a_retry_and_leaves_nothing(root: Path, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.touch()
    code = errno.ENOSPC
    before = (
        "import os, pathlib\n"
        f"if pathlib.Path({str(full)!r}).exists():\n"
        f"    raise OSError({code}, os.strerror({code}))\n"
    )
    archive = sdist(tmp_path, before=before)
    environments = Environments(root)
    with pytest.raises(Unavailable, match="No space is left"):
        environments.prepare([archive])
    assert builds(root) == []
    full.unlink()
    assert not environments.prepare([archive]).hit


def test_a_disk_that_fills_while_we_write_ourselves_is_told_apart_from_a_bug(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Unavailable, match="No space is left"):
        Environments(root).prepare([sdist(tmp_path)])
    monkeypatch.undo()
    assert builds(root) == []
    assert not Environments(root).prepare([sdist(tmp_path)]).hit


def test_no_installer_says_what_to_run(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlengine.environments.installers.uv.find_uv", lambda python: None)
    monkeypatch.setattr("mlengine.environments.installers.pip.has_pip", lambda base: False)
    with pytest.raises(FailedPrecondition, match=r"pip install 'mlengine\[uv\]'"):
        Environments(root).prepare([sdist(tmp_path)])
