"""Attempts that can be started cold and warm, over a layer as the engine builds them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from mlengine.training.launchers import (
    AttemptSpec,
    AttemptStatus,
    Launcher,
    Phase,
    ReplicaSpec,
    WarmStart,
)
from mlengine.training.launchers.process import ProcessLauncher
from mlengine.training.launchers.warm import Claim, WarmInterpreters
from tests.waiting import wait_until

__all__ = ["Layer", "WarmLauncher", "end", "log_of"]

_FACTS = (
    "import json, os, site, sys; print(json.dumps({'version': '%d.%d' % sys.version_info[:2],"
    "'real': os.path.realpath(sys.executable), 'site': site.getsitepackages()}))"
)


class Layer:
    """A virtual environment over `base` with modules in it, and attempts that run them."""

    def __init__(self, folder: Path, base: str = sys.executable) -> None:
        facts = json.loads(subprocess.run(
            [base, "-c", _FACTS], check=True, capture_output=True
        ).stdout)  # fmt: skip
        self.base = base
        self.root = folder / "layer"
        self.site_packages = self.root / f"lib/python{facts['version']}/site-packages"
        self.python = self.root / "bin/python"
        self.work = folder / "work"
        for made in (self.site_packages, self.python.parent, self.work):
            made.mkdir(parents=True)
        real = Path(facts["real"])
        self.python.symlink_to(real)
        (self.root / "pyvenv.cfg").write_text(
            f"home = {real.parent}\ninclude-system-site-packages = false\n"
        )
        lines = [f"import site; site.addsitedir({f!r})\n" for f in facts["site"]]
        (self.site_packages / "_mlengine_base.pth").write_text("".join(lines))

    def module(self, name: str, code: str) -> None:
        path = self.site_packages / f"{name.replace('.', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(code))

    def spec(
        self, module: str, *args: str, modules: Sequence[str] = (), replicas: int = 1,
        env: dict[str, str] | None = None, grace_s: float = 0.5, cwd: Path | None = None,
    ) -> AttemptSpec:  # fmt: skip
        roles = [("master", 0), ("worker", 0), ("worker", 1)][:replicas]
        return AttemptSpec(
            job="projects/p/jobs/j", attempt=1, grace_s=grace_s,
            replicas=[
                ReplicaSpec(
                    task=f"{role}-replica-{index}", role=role, index=index,
                    argv=[str(self.python), "-m", module, *args],
                    env={
                        "PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1", "LANG": "C.UTF-8",
                        **(env or {}),
                    },
                    cwd=str(cwd or self.work),
                )
                for role, index in roles
            ],
            warm=WarmStart(
                base_python=self.base, python=str(self.python),
                site_packages=str(self.site_packages), modules=list(modules),
            ),
        )  # fmt: skip


class _Counting(WarmInterpreters):
    """Warm interpreters that count how often they were of use."""

    claimed = 0

    def claim(self, spec: AttemptSpec) -> Claim | None:
        claim = super().claim(spec)
        self.claimed += claim is not None
        return claim


class WarmLauncher(ProcessLauncher):
    """A launcher whose zygotes can be waited for."""

    def __init__(self, folder: Path, *, limit: int = 2, idle_s: float = 900.0) -> None:
        self.folder = folder
        self.interpreters = _Counting(folder, limit=limit, idle_s=idle_s)
        super().__init__(warm=self.interpreters)

    def heat(self, spec: AttemptSpec) -> int:
        """Have a zygote for attempts like this one; return its process id."""
        if not self.interpreters.ready(spec):
            assert self.interpreters.claim(spec) is None
            wait_until(lambda: self.interpreters.ready(spec), 60, "the zygote")
        return self.interpreters.pids()[-1]

    def close(self) -> None:
        self.interpreters.close()
        wait_until(self.interpreters.reap)
        shutil.rmtree(self.folder, ignore_errors=True)


def end(launcher: Launcher, attempt: Path, timeout_s: float = 20.0) -> AttemptStatus:
    """Wait until the attempt is over."""
    over = (Phase.EXITED, Phase.LOST)
    wait_until(lambda: launcher.poll(attempt).phase in over, timeout_s)
    return launcher.poll(attempt)


def log_of(attempt: Path, task: str = "master-replica-0") -> list[str]:
    """Return the messages that are in a replica's log by now, those of the supervisor included."""
    path = attempt / f"{task}.log.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line)["message"] for line in lines]
