"""What the operator's home folder has for installers: configuration files, a cache of downloads.

All of it is optional, and so is the home: a service may have none (no HOME, no entry in passwd), or
one that is closed to it (systemd's ``ProtectHome=``, a sudo that keeps HOME).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

__all__ = ["configuration_files", "downloads_cache", "home_folder"]

_NOWHERE = Path(os.devnull)  # nothing is in it, and nobody can put something there


def home_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the user's home folder; where nothing says which it is, one that is never there."""
    if environ.get("HOME"):
        return Path(environ["HOME"])
    try:
        return Path.home()
    except RuntimeError:  # no entry in passwd either
        return _NOWHERE


def configuration_files(warn: Callable[[str], None]) -> dict[str, str]:
    """Return the variables that name the installers' configuration files, of those that are there.

    Args:
        warn: Told of those that cannot be looked at; they count as none.
    """
    home = home_folder()
    config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    places = {
        "PIP_CONFIG_FILE": [config / "pip" / "pip.conf", home / ".pip" / "pip.conf"],
        "UV_CONFIG_FILE": [config / "uv" / "uv.toml"],
    }
    found, closed = {}, {}
    for variable, paths in places.items():
        if variable in os.environ:
            continue
        try:
            there = next(filter(_is_file, paths), None)
        except OSError as error:
            closed[variable] = f"{error.filename} ({error.strerror})"
            continue
        if there:
            found[variable] = str(there)
    if closed:
        warn(
            "Packages are installed without what the engine may not look at: "
            f"{', '.join(closed.values())}. Set {' and '.join(closed)} for the engine, to a file "
            f"that it can read or to {os.devnull}."
        )
    return found


def downloads_cache(variable: str, installer: str) -> dict[str, str]:
    """Return the variable that keeps the user's cache of downloads, although a build's HOME is its
    scratch folder; nothing where we may not write to it, so that the cache lies there, too.
    """
    if variable in os.environ:
        return {variable: os.environ[variable]}
    cache = Path(os.environ.get("XDG_CACHE_HOME") or home_folder() / ".cache") / installer
    return {variable: str(cache)} if _may_write(cache) else {}


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _may_write(folder: Path) -> bool:
    """Return whether a folder may be written to, or made."""
    for path in (folder, *folder.parents):
        try:
            is_folder = stat.S_ISDIR(path.stat().st_mode)
        except FileNotFoundError:
            continue
        except OSError:  # below a file, or in a folder that is closed
            return False
        return is_folder and os.access(path, os.W_OK | os.X_OK)
    return False
