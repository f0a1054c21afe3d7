"""Packages are unpacked by our own rules before an installer sees them."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from mlengine.core.errors import FailedPrecondition
from mlengine.environments import Environments


def _sdist(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for info, data in [(_file("t-0/setup.py"), b"print('ran')"), *members]:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def _file(name: str) -> tarfile.TarInfo:
    return tarfile.TarInfo(name)


def _link(name: str, target: str, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def _wheel(path: Path, name: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, "x")


HOSTILE: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "a link out": (
        "t-0.tar.gz",
        lambda p: _sdist(p, (_link("t-0/x", "/etc/passwd", tarfile.SYMTYPE), b"")),
        "t-0/x",
    ),
    "a hard link": (
        "t-0.tar.gz",
        lambda p: _sdist(p, (_link("t-0/x", "t-0/setup.py", tarfile.LNKTYPE), b"")),
        "t-0/x",
    ),
    "a name that climbs": (
        "t-0.tar.gz",
        lambda p: _sdist(p, (_file("t-0/../../x"), b"x")),
        "plain",
    ),
    "a bomb": (
        "t-0.tar.gz",
        lambda p: _sdist(p, (_file("t-0/zeros"), bytes(64 << 20))),
        "grow",
    ),
    "two folders": (
        "t-0.tar.gz",
        lambda p: _sdist(p, (_file("u-0/setup.py"), b"")),
        "no source distribution",
    ),
    "a wheel with a name that climbs": (
        "t-0-py3-none-any.whl",
        lambda p: _wheel(p, "../x"),
        "plain",
    ),
}


@pytest.mark.parametrize(("name", "make", "text"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_package_is_refused_before_its_code_runs(
    tmp_path: Path, name: str, make: Callable[[Path], None], text: str
) -> None:
    package = tmp_path / name
    make(package)
    said: list[str] = []
    environments = Environments(tmp_path / "environments")
    with pytest.raises(FailedPrecondition, match=text) as caught:
        environments.prepare([package], log=said.append)
    assert f"User-provided package {name} failed to install" in str(caught.value)
    assert not any(line.startswith("Running command") for line in said)
