"""The interpreter that an environment is built over: where it lies and what it can import.

An environment holds only what a job adds. All else (numpy, tensorflow) is imported from what lies
below it, which is never copied and never written: the engine's own installation, or a runtime.
"""

from __future__ import annotations

import functools
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from packaging.markers import default_environment

from mlengine.core.errors import FailedPrecondition

__all__ = ["Base", "describe_base"]

# Prints what `Base` needs; run in the interpreter in question, because only it knows.
# Python 3.7 and newer: runtimes of old trainers are built over old interpreters.
_PROBE = """
import json, os, platform, site, sys
dirs = site.getsitepackages()
if site.ENABLE_USER_SITE:
    dirs.append(site.getusersitepackages())
real = getattr(sys, "_base_executable", "") or ""
if not real or (sys.version_info < (3, 8) and sys.prefix != sys.base_prefix):
    real = os.path.join(sys.base_prefix, "bin", "python%d.%d" % sys.version_info[:2])
    real = real if os.path.exists(real) else os.path.realpath(sys.executable)
print(json.dumps({
    "executable": os.path.abspath(real),
    "implementation": platform.python_implementation(),
    "version": ".".join(map(str, sys.version_info[:3])),
    "build": sys.version, "prefix": sys.prefix, "base_prefix": sys.base_prefix,
    "site_dirs": [d for d in dirs if os.path.isdir(d)],
}))
"""
_PROBE_LIMIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Base:
    """An interpreter and the folders of its installed libraries.

    Attributes:
        python: The interpreter as the engine starts it; inside a virtual environment, that one's.
        executable: The real interpreter below any virtual environment.
        version: Such as ``3.11.7``.
        site_dirs: Its site-packages, in the order in which they are searched.
        extra_paths: Folders that are importable in the engine but not through `site_dirs`.
    """

    python: Path
    executable: Path
    version: str
    implementation: str
    build: str
    prefix: str
    base_prefix: str
    site_dirs: tuple[Path, ...]
    extra_paths: tuple[Path, ...] = ()

    @property
    def short_version(self) -> str:
        """``3.11``, as it appears in folder names."""
        return ".".join(self.version.split(".")[:2])

    def markers(self) -> dict[str, str]:
        """Return what the markers of requirements are judged by: this Python, on this machine."""
        return {
            **{name: str(value) for name, value in default_environment().items()},
            "python_version": self.short_version,
            "python_full_version": self.version,
            "implementation_version": self.version,
            "platform_python_implementation": self.implementation,
        }

    def fingerprint(self) -> str:
        """Digest the interpreter and the names and versions of all it has installed.

        Only folder names are read (about a millisecond for 150 distributions): a distribution's
        version is part of its folder's name. An editable install is a ``.pth`` line, followed
        when a job starts, so a change in its sources needs no new environment.
        """
        facts = {
            "python": [self.build, str(self.executable), self.prefix, self.base_prefix],
            "paths": [str(path) for path in (*self.site_dirs, *self.extra_paths)],
            "installed": sorted(_metadata_names(self.site_dirs)),
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _metadata_names(folders: Iterable[Path]) -> Iterable[str]:
    for folder in folders:
        try:
            entries = list(folder.iterdir())
        except FileNotFoundError:
            continue
        for entry in entries:
            if entry.suffix in (".dist-info", ".egg-info", ".egg-link", ".pth"):
                yield str(entry)


def describe_base(python: str = sys.executable) -> Base:
    """Ask an interpreter where it lies and what it sees.

    It is asked once, and again when it was replaced: by its file, or by the virtual environment
    that it is in.

    Raises:
        FailedPrecondition: It does not exist, or cannot even print those facts.
    """
    outcome = _describe(python, _stamp(python))
    if isinstance(outcome, FailedPrecondition):
        raise FailedPrecondition(outcome.problem, outcome.remedy)
    return outcome


def _stamp(python: str) -> tuple[int, ...]:
    """Return what changes when an interpreter is replaced."""
    path = Path(python)
    stamps = []
    for place in (path, path.parent.parent / "pyvenv.cfg"):
        try:
            facts = place.stat()
            stamps += [facts.st_mtime_ns, facts.st_size, facts.st_ino]
        except OSError:
            stamps.append(0)
    return tuple(stamps)


class _SlowError(FailedPrecondition):
    """It has not answered in time."""


@functools.lru_cache(maxsize=256)
def _describe(python: str, stamp: tuple[int, ...]) -> Base | FailedPrecondition:
    try:
        facts = _probe(python)
    except _SlowError:
        raise  # not remembered: the machine is busy, and will not be for ever
    except FailedPrecondition as error:
        return error  # remembered too: a search asks every shim on PATH
    site_dirs = tuple(Path(folder) for folder in facts["site_dirs"])
    return Base(
        python=Path(python),
        executable=Path(facts["executable"]),
        version=facts["version"],
        implementation=facts["implementation"],
        build=facts["build"],
        prefix=facts["prefix"],
        base_prefix=facts["base_prefix"],
        site_dirs=site_dirs,
        extra_paths=_own_source(site_dirs) if python == sys.executable else (),
    )


def _probe(python: str) -> Mapping[str, str]:
    remedy = "Start the engine with a working Python 3.11 or newer."
    try:
        answer = subprocess.run(
            [python, "-c", _PROBE],
            capture_output=True,
            check=True,
            timeout=_PROBE_LIMIT_S,
            stdin=subprocess.DEVNULL,
        )
        # sitecustomize and .pth files may print too: the facts are the last line.
        facts: Mapping[str, str] = json.loads(answer.stdout.splitlines()[-1])
        return facts
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip()[-500:]
        raise FailedPrecondition(f"Python '{python}' does not start: {said}", remedy) from None
    except subprocess.TimeoutExpired as error:
        raise _SlowError(f"Python '{python}' does not start: {error}", remedy) from None
    except (OSError, ValueError, IndexError) as error:
        raise FailedPrecondition(f"Python '{python}' does not start: {error}", remedy) from None


def _own_source(site_dirs: tuple[Path, ...]) -> tuple[Path, ...]:
    """Return where mlengine itself is imported from, unless it is simply installed.

    Covers an engine run from a checkout by PYTHONPATH. (An editable install is reached through
    its ``.pth`` as well; naming its folder twice does no harm.)
    """
    source = Path(__file__).resolve().parents[2]
    return () if source in {folder.resolve() for folder in site_dirs} else (source,)
