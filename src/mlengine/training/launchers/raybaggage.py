"""What an interpreter needs in order to run elsewhere: folders, and a Python of its version.

The interpreter itself is asked where its modules come from; so a job's layer, the runtime below it,
the engine's own installation and a checkout that it leads to are all found by one rule. Each
becomes a folder that is shipped whole, named by a digest of its content (`runtime.depot`).
"""

from __future__ import annotations

import functools
import hashlib
import json
import subprocess
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mlengine.runtime.freight import content_digest, fingerprint, is_beneath

__all__ = ["Baggage", "baggage_of", "moves_of"]

_PROBE_LIMIT_S = 60.0
_VENV = "pyvenv.cfg"
_ABOVE_MODULES = 4  # PREFIX/lib/python3.11/site-packages

# Python 3.7 and newer.
_PROBE = """
import json, os, platform, sys, sysconfig
version = "%d.%d" % sys.version_info[:2]
real = getattr(sys, "_base_executable", "") or ""
if not real or (sys.version_info < (3, 8) and sys.prefix != sys.base_prefix):
    real = os.path.join(sys.base_prefix, "bin", "python" + version)
own = [sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")]
own.append(os.path.join(own[0], "lib-dynload"))
print(json.dumps({
    "version": version, "implementation": platform.python_implementation(), "python": real,
    "prefix": sys.prefix, "is_venv": sys.prefix != sys.base_prefix,
    "folders": [p for p in sys.path if p and os.path.isdir(p) and p not in own],
}))
"""


class Baggage(NamedTuple):
    """What belongs to one interpreter.

    Attributes:
        version: Such as ``3.11``: a node's own Python must be of it.
        implementation: Such as ``CPython``.
        python: The real interpreter on this machine.
        is_venv: It is one that can be shipped, for it leads to a Python and brings none.
        roots: Folder to be shipped → folders in it from which modules are imported, with their
            fingerprints.
    """

    version: str
    implementation: str
    python: str
    is_venv: bool
    roots: dict[str, dict[str, str]]

    @property
    def folders(self) -> dict[str, str]:
        """All folders of modules with their fingerprints."""
        return {path: told for found in self.roots.values() for path, told in found.items()}

    def unseen(self, seen: Collection[str]) -> list[str]:
        """Return the roots of which a node does not see everything."""
        return [root for root, found in self.roots.items() if not set(found) <= set(seen)]


def baggage_of(program: str, env: Mapping[str, str]) -> Baggage | None:
    """Return what belongs to an interpreter; None if the program is none.

    Args:
        program: What a replica runs.
        env: Its environment, which may add folders.
    """
    if not Path(program).name.startswith("python"):
        return None
    config = Path(program).parent.parent / _VENV
    changed = config.stat().st_mtime_ns if config.exists() else 0
    told = _ask(program, env.get("PYTHONPATH", ""), changed)
    if told is None:
        return None
    roots: dict[str, dict[str, str]] = {str(told["prefix"]): {}} if told["is_venv"] else {}
    for folder in map(str, told["folders"]):
        root = _root_of(folder)
        above = next((other for other in roots if is_beneath(root, other)), root)
        roots.setdefault(above, {})[folder] = fingerprint(folder)
    return Baggage(told["version"], told["implementation"], told["python"], told["is_venv"], roots)


@functools.lru_cache(maxsize=64)
def _ask(program: str, python_path: str, _changed: int) -> dict[str, Any] | None:
    """Ask an interpreter once, and again when its environment was made anew."""
    env = {"PYTHONPATH": python_path} if python_path else {}
    try:
        answer = subprocess.run(
            [program, "-c", _PROBE], env=env, cwd="/", stdin=subprocess.DEVNULL,
            capture_output=True, check=True, timeout=_PROBE_LIMIT_S,
        )  # fmt: skip
        # sitecustomize and .pth files may print too: the facts are the last line.
        told: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    except (OSError, ValueError, IndexError, subprocess.SubprocessError):
        return None
    return told


def _root_of(folder: str) -> str:
    """Return the virtual environment that a folder of modules is in, or the folder itself."""
    for parent in list(Path(folder).parents)[:_ABOVE_MODULES]:
        if (parent / _VENV).exists():
            return str(parent)
    return folder


def moves_of(baggage: Baggage, roots: list[str], python: str, folders: str) -> dict[str, str]:
    """Return root → the place on the node that its content has; blocks while it is read.

    What a folder names is changed to what is there, so the digest covers all that move together.

    Args:
        roots: Those that the node does not see.
        python: The node's interpreter.
        folders: The node's folder for all of them.
    """
    digests = {root: _digest(root, baggage.roots[root]) for root in sorted(roots)}
    facts = [python, sorted(digests.items())]
    keys = {
        root: hashlib.sha256(json.dumps([root, facts]).encode()).hexdigest()[:32] for root in roots
    }
    return {root: f"{folders}/{key}" for root, key in keys.items()}


def _digest(root: str, found: Mapping[str, str]) -> str:
    """Digest a folder; an environment, which only installers change, as long as none did."""
    if (Path(root) / _VENV).exists():
        return _digest_once(root, json.dumps(found))
    return content_digest(root)


@functools.lru_cache(maxsize=64)
def _digest_once(root: str, _found: str) -> str:
    return content_digest(root)
