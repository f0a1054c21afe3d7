"""Runs a module of this package in an interpreter that does not have it: that of a runtime.

A runtime's libraries are its own, and this package is none of them. It is loaded from its folder by
hand, so that nothing else that lies beside it (the engine's own libraries) can be imported.

Standard library only, Python >= 3.7.
"""

from __future__ import annotations

import sys
from pathlib import Path

__all__ = ["LOADER", "boot_command"]

LOADER = """\
import importlib.util, sys
sys.path.pop(0)
_spec = importlib.util.spec_from_file_location(
    "mlengine", sys.argv[1] + "/__init__.py", submodule_search_locations=[sys.argv[1]])
sys.modules["mlengine"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(sys.modules["mlengine"])
"""
"""Program text that makes the folder in ``sys.argv[1]`` the package `mlengine`, off the path."""

_RUN = f"""{LOADER}\
import runpy
del sys.argv[:2]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def boot_command(python: str, module: str, *args: str) -> list[str]:
    """Return the command that runs ``python -m module args`` for any interpreter.

    Args:
        python: The engine's own interpreter has this package; any other is given it.
        module: Full name of a module of this package.

    Example:
        >>> boot_command(sys.executable, "mlengine.runtime.worker", "folder")[1:]
        ['-m', 'mlengine.runtime.worker', 'folder']
    """
    if python == sys.executable:
        return [python, "-m", module, *args]
    package = str(Path(__file__).resolve().parents[1])
    return [python, "-c", _RUN, package, module, *args]
