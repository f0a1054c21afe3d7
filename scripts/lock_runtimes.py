"""Resolve what each runtime requires, and write the pins into its file.

Usage: python scripts/lock_runtimes.py [NAME...]

Needs uv, a package index, and an interpreter of the lowest version that the runtime allows: what
installs there installs on the newer ones too. For CPU builds of PyTorch, UV_FIND_LINKS or
UV_INDEX names where they are. Neither is written into a file.
"""

from __future__ import annotations

import re
import subprocess
import sys

from packaging.specifiers import SpecifierSet

from mlengine.environments.catalogue import RUNTIMES_FOLDER, Recipe, read_catalogue
from mlengine.environments.interpreters import find_interpreter

_OPTIONS = ("--quiet", "--no-header", "--no-annotate", "--no-emit-index-url",
            "--no-emit-find-links")  # fmt: skip


def lock(recipe: Recipe) -> list[str]:
    """Return the pins of a runtime, its own requirements' requirements among them."""
    found = find_interpreter(_lowest(recipe.python))
    if found is None:
        sys.exit(f"{recipe.name}: no interpreter for {_lowest(recipe.python)}")
    command = ["uv", "pip", "compile", *_OPTIONS, "--python", str(found.path), "-"]
    done = subprocess.run(
        command, input="\n".join(recipe.requires), capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{recipe.name}: {done.stderr}")
    return done.stdout.split("\n")[:-1]


def _lowest(python: SpecifierSet) -> SpecifierSet:
    minors = [minor for minor in range(6, 30) if python.contains(f"3.{minor}")]
    return SpecifierSet(f"==3.{minors[0]}.*")


def main() -> None:
    """Write the locks of the runtimes that were named, or of all."""
    for recipe in read_catalogue():
        if recipe.requires and (not sys.argv[1:] or recipe.name in sys.argv[1:]):
            path = RUNTIMES_FOLDER / f"{recipe.name}.toml"
            pins = lock(recipe)
            lines = "".join(f'    "{pin}",\n' for pin in pins)
            text = re.sub(
                r"^lock = \[[^]]*\]\n",
                lambda _: f"lock = [\n{lines}]\n",  # noqa: B023
                path.read_text(),
                count=1,
                flags=re.MULTILINE,
            )
            path.write_text(text)
            print(f"{recipe.name}: {len(pins)} pins")


if __name__ == "__main__":
    main()
