"""Fills the environment of a runtime: exactly what its lock names, and nothing of the machine's.

    interpreter ──▶ an empty environment ──▶ the locked distributions, without asking for more
                ──▶ its overlay, copied, before everything else on the path ──▶ byte-compiled

Layers of user packages lie over it (`build`); it is never written again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from mlengine.core.errors import FailedPrecondition
from mlengine.environments.base import Base
from mlengine.environments.catalogue import OVERLAYS_FOLDER, Recipe
from mlengine.environments.installers import find_installer
from mlengine.environments.venv import make_venv, site_packages_of
from mlengine.environments.workshop import Workshop

__all__ = ["RuntimeBuilder", "runtime_digest"]

# Sorts before other .pth files: what they import may already be the overlay's.
_OVERLAY_LINK = "_mlengine_overlay.pth"
_INSTALLER_FILE = "requirements.txt"


class RuntimeBuilder:
    """Builds one runtime.

    Args:
        recipe: What it is made of.
        base: The interpreter below it.
        prefer: The installer that the engine is set to use; the recipe may insist on another.
        overlays: The folder of overlays.
    """

    def __init__(
        self, recipe: Recipe, base: Base, *, prefer: str, overlays: Path = OVERLAYS_FOLDER
    ) -> None:
        self._recipe = recipe
        self._base = base
        self._prefer = prefer if recipe.installer == "auto" else recipe.installer
        self._overlays = overlays

    def build(self, workshop: Workshop) -> dict[str, Any]:
        """Fill the workshop's folder; return what to note about it.

        Raises:
            FailedPrecondition: A distribution cannot be had.
            Unavailable: The disk is full.
            Cancelled: It was cancelled.
        """
        recipe, base = self._recipe, self._base
        workshop.log(f"Building the runtime '{recipe.name}' over Python {base.version}.")
        make_venv(workshop.path, base, linked=False)
        site_packages = site_packages_of(workshop.path, base)
        if recipe.lock:
            lock = workshop.path / _INSTALLER_FILE
            lock.write_text("".join(f"{pin}\n" for pin in recipe.lock))
            installer = find_installer(self._prefer, base)
            command = installer.install_lock(workshop.python, lock, base, scratch=workshop.scratch)
            workshop.run(
                command,
                subject=f"The runtime '{recipe.name}' could not be built",
                remedy=recipe.remedy
                or "See that the package index can be reached; with "
                f"'mlengine runtimes build {recipe.name}' it is tried again.",
            )
        if recipe.overlay:
            self._add_overlay(workshop, site_packages)
        workshop.log("Byte-compiling.")
        workshop.compile(site_packages)
        workshop.log(f"The runtime '{recipe.name}' is built.")
        return {
            "kind": "runtime",
            "runtime": recipe.name,
            "python": base.version,
            "overlay": recipe.overlay,
        }

    def _add_overlay(self, workshop: Workshop, site_packages: Path) -> None:
        source = self._overlays / self._recipe.overlay
        if not source.is_dir():
            raise FailedPrecondition(
                f"The runtime '{self._recipe.name}' names the overlay '{self._recipe.overlay}', "
                "which is not installed.",
                "Install mlengine again.",
            )
        workshop.log(f"Adding the overlay '{self._recipe.overlay}'.")
        # Copied: the engine may be upgraded while jobs run.
        copy = workshop.path / "overlay"
        ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
        shutil.copytree(source, copy, ignore=ignored)
        line = (
            f"import sys, site; sys.path.insert(0, {str(copy)!r}); site.addsitedir({str(copy)!r})"
        )
        (site_packages / _OVERLAY_LINK).write_text(f"{line}\n")
        workshop.compile(copy)


def runtime_digest(
    recipe: Recipe, base: Base, *, root: Path, overlays: Path = OVERLAYS_FOLDER
) -> str:
    """Digest all that goes into a runtime, before it is built: 64 hexadecimal digits."""
    facts = {
        "root": str(root),  # scripts in it name the place where it is
        "name": recipe.name,
        "lock": sorted(recipe.lock),
        "python": [base.build, str(base.executable), base.base_prefix],
        "overlay": _folder_digest(overlays / recipe.overlay) if recipe.overlay else "",
    }
    return hashlib.sha256(f"runtime 1\n{json.dumps(facts, sort_keys=True)}".encode()).hexdigest()


def _folder_digest(folder: Path) -> str:
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            data = path.read_bytes()
            total.update(f"{path.relative_to(folder)}\n{len(data)}\n".encode() + data)
    return total.hexdigest()
