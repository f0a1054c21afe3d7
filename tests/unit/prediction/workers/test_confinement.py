"""Which folders are opened to a worker: its interpreter's, and none that a package names."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from mlengine.prediction.workers import confinement
from mlengine.prediction.workers.confinement import plan_of
from mlengine.runtime.limits import Limits

_SITE_PACKAGES = f"lib/python3.{sys.version_info[1]}/site-packages"


def _environment(folder: Path, pth: str, home: Path) -> Path:
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    (folder / "pyvenv.cfg").write_text(f"home = {home}\n")
    (folder / _SITE_PACKAGES).mkdir(parents=True)
    (folder / _SITE_PACKAGES / "some.pth").write_text(pth)
    return folder


def test_only_a_worker_with_gpus_may_open_their_devices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("nvidia0", "nvidiactl", "nvidia-uvm", "nvidia-caps/nvidia-cap1", "sda"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.setattr(confinement, "_DEV", tmp_path)
    given = {"artifact": "/model", "python": sys.executable, "own": tmp_path, "home": tmp_path,
             "limits": Limits(0.0, 0), "network": False}  # fmt: skip
    assert plan_of(**given)["devices"] == []
    names = [
        str(Path(path).relative_to(tmp_path)) for path in plan_of(**given, gpus=True)["devices"]
    ]
    assert names == ["nvidia-caps/nvidia-cap1", "nvidia-uvm", "nvidia0", "nvidiactl"]


def test_a_wheel_opens_nothing_by_the_files_that_it_brings(tmp_path: Path) -> None:
    home, editable, interpreter = tmp_path / "home", tmp_path / "editable", tmp_path / "real"
    token = home / "run" / "token"
    base = _environment(tmp_path / "base", f"{editable}\n", interpreter / "bin")
    hostile = f"/proc/self/fd/0\n/etc\n{token}\nsite.addsitedir('{token.parent}')\n"
    builds = home / "environments" / ".builds"
    layer = _environment(builds / "layer", hostile, home / "run" / "bin")
    (layer / _SITE_PACKAGES / "_mlengine_base.pth").write_text(hostile)  # overwritten by a wheel
    (layer / "environment.json").write_text(json.dumps({"kind": "layer", "base": str(base)}))
    plan = plan_of(
        artifact="/model", python=str(layer / "bin" / "python"), own=home / "own", home=home,
        limits=Limits(0.0, 0), network=False,
    )  # fmt: skip
    read = set(plan["read"])
    assert {"/model", str(layer), str(base), str(editable), str(interpreter)} <= read
    assert not read & {"/proc/self/fd/0", "/etc"}
    inside = {path for path in read if Path(path).is_relative_to(home)}
    assert inside == {str(layer)}
