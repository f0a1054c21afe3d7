"""A model of rows of numbers, answered from a recipe, and by its library when it has to be.

    a plain request (rows of numbers, as many as the model has columns) ─▶ the recipe
    anything else: null, a keyword, a row that does not fit, an explanation ─▶ the original

The original is loaded by the first request that needs it, which takes as long as importing its
library does; whatever it says is said in its own words. Until then the worker has the arithmetic
alone: it starts at once, and holds a third of the memory.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlengine.runtime.compiled import RECIPE_FILE
from mlengine.runtime.compiled.model import About
from mlengine.runtime.frameworks import Description, Model
from mlengine.runtime.frameworks.signatures import Signature, Signed
from mlengine.runtime.golden import ROWS_FILE
from mlengine.runtime.prediction_error import load_error
from mlengine.runtime.rehearsal import differs, read_rows
from mlengine.runtime.shortcuts import Shortcut
from mlengine.runtime.shortcuts.kernel import Kernel
from mlengine.runtime.shortcuts.recipe import kernel, read_recipe
from mlengine.runtime.shortcuts.rows import Rows
from mlengine.runtime.strictjson import dumps

__all__ = ["Original", "kernel_from", "open_rows", "repeat"]


class Original:
    """Stands for a model that is not loaded yet.

    Args:
        about: What it said of itself when it was compiled.
        load: Loads it.
    """

    def __init__(self, about: About, load: Callable[[], Model]) -> None:
        assert about.description is not None and about.table is not None
        self._description = about.description
        self._signature = about.table.signature
        self._load = load
        self._model: Any = None

    def model(self) -> Any:
        """Load it, once.

        Raises:
            PredictionError: As loading it raises.
        """
        if self._model is None:
            self._model = self._load()
        return self._model

    def predict(self, instances: list[Any], /, **kwargs: Any) -> list[Any]:
        found: list[Any] = self.model().predict(instances, **kwargs)
        return found

    def scores(self, instances: list[Any]) -> dict[str, Any]:
        """Return the scores behind the labels, for those who explain them."""
        found: dict[str, Any] = self.model().scores(instances)
        return found

    def describe(self) -> Description:
        return self._description

    def signatures(self) -> dict[str, Signature]:
        return {self._signature.name: self._signature}

    def default_signature(self) -> str:
        return self._signature.name


def open_rows(directory: Path, about: About, load: Callable[[], Model]) -> tuple[Original, Rows]:
    """Open a compiled table model; it has answered the rows that lie there as the original did.

    Args:
        directory: What the compiler wrote.
        about: Its ``compiled.json``, with a `table`.
        load: Loads the original.

    Raises:
        PredictionError: Class 0: it cannot be read, or a row comes out otherwise.
    """
    assert about.table is not None
    original = Original(about, load)
    shortcut = Rows(kernel_from(directory), original.describe()["inputs"])
    repeat(shortcut, directory)
    return original, shortcut


def kernel_from(directory: Path) -> Kernel:
    """Return the kernel of the recipe that was kept.

    Raises:
        PredictionError: Class 0: it cannot be read.
    """
    try:
        return kernel(read_recipe(directory / RECIPE_FILE))
    except (OSError, ValueError) as error:
        raise load_error(f"{RECIPE_FILE} cannot be read: {error}") from error


def repeat(shortcut: Shortcut, directory: Path) -> None:
    """Ask for the rows beside a compiled form, alone and together.

    Raises:
        PredictionError: Class 0: one comes out otherwise, or there is none.
    """
    rows = read_rows(directory)
    if not rows:
        raise load_error(f"{ROWS_FILE} of the compiled form holds no row")
    for some in ([row] for row in rows), [rows]:
        for asked in some:
            read = shortcut.read(dumps({"instances": [row.instance for row in asked]}))
            answer = shortcut.answer([read])[0] if read is not None else None
            got = json.loads(answer)["predictions"] if answer is not None else [None] * len(asked)
            for row, one in zip(asked, got, strict=True):
                if differs(row.prediction, one):
                    raise load_error(f"golden row {row.line} of the compiled form differs: {one!r}")


_: type[Model] = Original
_signed: type[Signed] = Original
