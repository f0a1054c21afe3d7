"""`mlengine.runtime.report` and `save_golden` for trainers in a runtime, which has no mlengine.

A layer brings a package `mlengine` that has these two and nothing else, in the standard library's
terms alone, for every Python that a runtime may have. It lies at the very end of the path: a job on
the engine's own installation has the engine's, and one that brings a package of that name its own.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

__all__ = ["add_trainer_module"]

_FOLDER = "_mlengine_trainer"
_LINK = "zzz_mlengine_trainer.pth"  # sorts after all others, so that its folder comes last
_MODULES = ("report", "golden")
_PACKAGE = '''\
"""What a trainer has of mlengine: `report` and `save_golden`."""

from mlengine.runtime.golden import save_golden
from mlengine.runtime.report import report

__all__ = ["report", "save_golden"]
'''


def add_trainer_module(site_packages: Path) -> None:
    """Let what is installed into these site-packages `import mlengine.runtime`.

    Raises:
        OSError: The disk is full, or it was added before.
    """
    package = site_packages / _FOLDER / "mlengine" / "runtime"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").write_text("")
    (package / "__init__.py").write_text(_PACKAGE)
    for name in _MODULES:
        (package / f"{name}.py").write_bytes(_source(name))
    (site_packages / _LINK).write_text(f"{_FOLDER}\n")


def _source(name: str) -> bytes:
    spec = importlib.util.find_spec(f"mlengine.runtime.{name}")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).read_bytes()
