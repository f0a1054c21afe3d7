"""Package archives made by hand, so that a test says in one line what its setup.py does."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["sdist", "wheel"]


def sdist(
    folder: Path,
    *,
    name: str = "trainer",
    version: str = "0.0.0",
    requires: Sequence[str] = (),
    before: str = "",
    files: Mapping[str, str] | None = None,
    extra: Mapping[str, str] | None = None,
) -> Path:
    """Write a source distribution with one package.

    Args:
        before: Python that its setup.py runs first.
        files: Modules of the package; by default a `task` that prints ``hello``.
        extra: Further files beside the setup.py.
    """
    modules = files if files is not None else {"task.py": "print('hello')\n"}
    setup_py = (
        f"{before}\nfrom setuptools import setup\n"
        f"setup(name={name!r}, version={version!r}, packages=[{name!r}], "
        f"install_requires={list(requires)!r})\n"
    )
    members = {"setup.py": setup_py, f"{name}/__init__.py": "", **(extra or {})}
    members |= {f"{name}/{file}": text for file, text in modules.items()}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for member, text in members.items():
            data = text.encode()
            entry = tarfile.TarInfo(f"{name}-{version}/{member}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


def wheel(
    folder: Path,
    *,
    name: str,
    version: str,
    requires: Sequence[str] = (),
    script: str = "",
    files: Mapping[str, str] | None = None,
) -> Path:
    """Write a wheel with one module that knows its version, and perhaps a console script."""
    info = f"{name}-{version}.dist-info"
    lines = [f"Requires-Dist: {line}" for line in requires]
    members = {
        f"{name}/__init__.py": f"__version__ = {version!r}\ndef main():\n    print({name!r})\n",
        **{f"{name}/{file}": text for file, text in (files or {}).items()},
        f"{info}/METADATA": "\n".join(
            ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *lines, ""]
        ),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if script:
        members[f"{info}/entry_points.txt"] = f"[console_scripts]\n{script} = {name}:main\n"
    record = f"{info}/RECORD"
    members[record] = "".join(f"{member},,\n" for member in [*members, record])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in members.items():
            entry = zipfile.ZipInfo(member)  # at no time: the same members are the same archive
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, text)
    return path
