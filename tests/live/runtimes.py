"""Built runtimes that tests share: built once in this checkout, found again by every later run."""

from __future__ import annotations

import os
from pathlib import Path

from mlengine.environments import Environment, Environments

__all__ = ["prepared", "runtime_home", "share_runtimes"]

_ROOT = Path(__file__).resolve().parents[2] / ".venv" / ".cache" / "environments"


def runtime_home() -> Path:
    """Return the shared root of environments; several processes may use it at one time."""
    root = Path(os.environ.get("MLENGINE_TEST_ENVIRONMENTS", _ROOT))
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    return root


def share_runtimes(home: Path) -> None:
    """Let an engine that has not started yet find the shared runtimes in its home."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    (home / "environments").symlink_to(runtime_home(), target_is_directory=True)


def prepared(runtime: str, *packages: Path, **wish: bool | str) -> Environment:
    """Return the environment of a runtime with these packages over it, building what is missing."""
    environments = Environments(runtime_home(), timeout_s=900)
    return environments.prepare(packages, runtime_version=runtime, **wish)  # type: ignore[arg-type]
