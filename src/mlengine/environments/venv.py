"""Makes an empty virtual environment in a few milliseconds, without running anything.

The standard library's `venv` copies activation scripts and runs `ensurepip` (seconds). A job needs
three things only: an interpreter that knows where its prefix is, a site-packages of its own, and
sight of the libraries behind it: the engine's, or a runtime's.
"""

from __future__ import annotations

from pathlib import Path

from mlengine.environments.base import Base

__all__ = ["make_venv", "python_of", "site_packages_of"]

# Sorts before the .pth files of user packages; the name tells a reader whose it is.
_LINK_FILE = "_mlengine_base.pth"


def python_of(path: Path) -> Path:
    """Return the environment's interpreter."""
    return path / "bin" / "python"


def site_packages_of(path: Path, base: Base) -> Path:
    """Return the folder that holds what was installed into the environment."""
    return path / "lib" / f"python{base.short_version}" / "site-packages"


def make_venv(path: Path, base: Base, *, linked: bool = True) -> None:
    """Write an environment over `base` into `path`, which holds none yet.

    Args:
        path: Its folder; made when it does not exist.
        base: The interpreter.
        linked: Whether what the base has installed is importable in it too.

    Its own site-packages come first on ``sys.path``, so a job's newer library wins over the
    base's; the base's follow through `site.addsitedir`, which, unlike a plain path line,
    also honours *their* ``.pth`` files. That is what makes editable installs importable.

    Raises:
        OSError: The disk is full, or there is an environment already.
    """
    site_packages = site_packages_of(path, base)
    path.mkdir(mode=0o700, exist_ok=True)
    site_packages.mkdir(mode=0o700, parents=True)
    binaries = path / "bin"
    binaries.mkdir(mode=0o700)
    (path / "pyvenv.cfg").write_text(
        f"home = {base.executable.parent}\n"
        "include-system-site-packages = false\n"
        f"version = {base.version}\n"
        f"executable = {base.executable}\n"
    )
    (binaries / "python").symlink_to(base.executable)
    for alias in ("python3", f"python{base.short_version}"):
        (binaries / alias).symlink_to("python")
    if not linked:
        return
    lines = [f"import site; site.addsitedir({str(folder)!r})" for folder in base.site_dirs]
    lines += [str(folder) for folder in base.extra_paths]
    (site_packages / _LINK_FILE).write_text("\n".join(lines) + "\n")
