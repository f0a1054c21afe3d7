"""Models of rows of numbers that are numbers themselves: to be computed, and to be kept in a file.

    rows ─▶ scalers (double precision) ─▶ trees, or a matrix product ─▶ a rule ─▶ values, or the
                                                                       numbers of labels

A recipe holds no object of a library, so whoever has it needs none. What a library's class computes
is read out of it where the class is known (`sklearn`, `xgboost`); that the recipe computes the same
is proven wherever one is used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mlengine.runtime.shortcuts.archive import read_archive, write_archive
from mlengine.runtime.shortcuts.kernel import Kernel
from mlengine.runtime.shortcuts.walks import Forest, landmarks, walker

__all__ = ["Product", "Recipe", "Rule", "Step", "kernel", "read_recipe", "scaled", "write_recipe"]

_MOST_SUMS = 1 << 16

MakeWalker = Callable[[Forest], Callable[[np.ndarray], np.ndarray]]


class Step(NamedTuple):
    """What is done to all rows: an operation with an array of its own."""

    operation: str
    numbers: np.ndarray


class Product(NamedTuple):
    """A matrix product and a sum.

    Each request has a product of its own, as `numpy.matmul` makes them of a stack of tables: BLAS
    is called with the shapes of that request alone, so its sums are rounded as if nobody else had
    asked.

    Attributes:
        weights: (width, sums), or (width) where a row has one sum.
        intercept: (sums), or one number.
    """

    weights: np.ndarray
    intercept: np.ndarray


class Rule(NamedTuple):
    """How sums become predictions.

    Attributes:
        divisor: By which they are divided.
        link: Then applied, by name; empty: none.
        label: How the number of a label is found, by name; empty: the sums are the predictions.
        flat: A prediction is a number, not a list of one.
    """

    divisor: float = 1.0
    link: str = ""
    label: str = ""
    flat: bool = False


class Recipe(NamedTuple):
    """A model in numbers.

    Attributes:
        name: Of the class that it was read from.
        width: Numbers of a row.
        steps: What is done to rows first, in turn.
        sums: What is computed of them.
        rule: What becomes of that.
        labels: A classifier's classes, as JSON-able values.
    """

    name: str
    width: int
    steps: Sequence[Step]
    sums: Forest | Product
    rule: Rule
    labels: Sequence[Any] | None = None


def kernel(recipe: Recipe, *, make_walker: MakeWalker = walker) -> Kernel:
    """Return the kernel that a recipe is; trees are walked in C if they can be."""
    finish = _rule(recipe.rule)
    if isinstance(recipe.sums, Forest):
        walk = make_walker(recipe.sums)

        def run(table: np.ndarray) -> Any:
            return finish(walk(table.reshape(-1, table.shape[-1]))[np.newaxis])

    else:
        weights, intercept = recipe.sums

        def run(table: np.ndarray) -> Any:
            return finish(table @ weights + intercept)

    rowwise = isinstance(recipe.sums, Forest)
    known = landmarks(recipe.sums) if isinstance(recipe.sums, Forest) else {}
    made = Kernel(recipe.name, recipe.width, run, recipe.labels, rowwise, known)
    return scaled(made, recipe.steps)


def scaled(end: Kernel, steps: Sequence[Step]) -> Kernel:
    """Return a kernel with something done to its rows first."""
    if not steps:
        return end

    def run(table: np.ndarray) -> Any:
        for operation, numbers in steps:
            table = _OPERATIONS[operation](table, numbers)
        if not np.isfinite(table).all():
            raise FloatingPointError("a scaled number is not finite")
        return end.run(np.ascontiguousarray(table))

    return end._replace(run=run, landmarks={})


def write_recipe(recipe: Recipe, file: Path) -> None:
    """Keep a recipe in a file."""
    sums: dict[str, Any] = {"kind": type(recipe.sums).__name__}
    arrays = {f"step{place}": step.numbers for place, step in enumerate(recipe.steps)}
    for field, value in recipe.sums._asdict().items():
        (arrays if isinstance(value, np.ndarray) else sums)[field] = value
    about = {
        "name": recipe.name, "width": recipe.width, "rule": recipe.rule._asdict(), "sums": sums,
        "labels": None if recipe.labels is None else list(recipe.labels),
        "steps": [step.operation for step in recipe.steps],
    }  # fmt: skip
    write_archive(file, about, arrays)


def read_recipe(file: Path) -> Recipe:
    """Read a recipe that was kept.

    Raises:
        OSError: There is no such file.
        ValueError: It is none.
    """
    about, arrays = read_archive(file)
    try:
        operations = about["steps"]
        steps = [Step(name, arrays.pop(f"step{at}")) for at, name in enumerate(operations)]
        kind = {"Forest": Forest, "Product": Product}[about["sums"].pop("kind")]
        sums: Forest | Product = kind(**about["sums"], **arrays)
        rule = Rule(**about["rule"])
        recipe = Recipe(about["name"], about["width"], steps, sums, rule, about["labels"])
        _check(recipe)
    except Exception as error:  # where something else is said, anything may be missing
        raise ValueError(f"no recipe: {error!r}") from error
    return recipe


def _check(recipe: Recipe) -> None:
    """See that nothing a row meets makes more of it than it is.

    Raises:
        ValueError: An array has a shape that no recipe has.
    """
    width, rule = recipe.width, recipe.rule
    if type(width) is not int or width < 1:
        raise ValueError(f"its width is {width!r}")
    if rule.link not in {"", *_LINKS} or rule.label not in {"", *_LABELS}:
        raise ValueError(f"its rule is {rule}")
    for operation, numbers in recipe.steps:
        if operation == "take":
            # A column may be taken once, as those do who choose some.
            if numbers.ndim != 1 or not 0 < len(numbers) <= width or numbers.dtype.kind != "i":
                raise ValueError(f"'take' has the shape {numbers.shape}")
            width = len(numbers)
        elif numbers.shape not in ((width,), (2,) if operation == "clip" else (width,)):
            raise ValueError(f"{operation!r} has the shape {numbers.shape}, not {(width,)}")
    if isinstance(recipe.sums, Forest):
        sums, fits = recipe.sums.targets, recipe.sums.width == width
    else:
        weights, intercept = recipe.sums
        made = weights.shape[1:]
        sums = made[0] if made else 1
        fits = weights.shape[:1] == (width,) and len(made) < 2
        fits = fits and intercept.shape in ((), (1,), made)
    if not fits or not 0 < sums <= _MOST_SUMS:
        raise ValueError(f"its sums are not of rows of {width} numbers")
    # One sum tells two labels apart, more tell as many as they are.
    if rule.label and len(recipe.labels or ()) < max(sums, 2):
        raise ValueError(f"it has {len(recipe.labels or ())} labels for {sums} sums")


def _rule(rule: Rule) -> Callable[[np.ndarray], Any]:
    link = _LINKS[rule.link] if rule.link else None
    label = _LABELS[rule.label] if rule.label else None

    def finish(sums: np.ndarray) -> Any:
        if rule.divisor != 1.0:
            sums = sums / rule.divisor
        if link is not None:
            sums = link(sums)
        if label is not None:
            return label(sums)
        return sums[..., 0] if rule.flat else sums

    return finish


def _sigmoid(sums: np.ndarray) -> np.ndarray:
    one = sums.dtype.type(1.0)
    with np.errstate(over="ignore"):  # what the exponential of a large number is divided into is 0
        found: np.ndarray = one / (one + np.exp(-sums))
    return found


def _softmax(sums: np.ndarray) -> np.ndarray:
    shares = np.exp(sums - sums.max(axis=-1, keepdims=True))
    found: np.ndarray = shares / shares.sum(axis=-1, keepdims=True)
    return found


_LINKS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sigmoid": _sigmoid, "softmax": _softmax, "exp": np.exp,
}  # fmt: skip
_LABELS: dict[str, Callable[[np.ndarray], Any]] = {
    "the largest": lambda sums: np.argmax(sums, axis=-1),
    "above zero": lambda sums: (sums[..., 0] > 0).astype(np.intp),
    "zero or above": lambda sums: (sums[..., 0] >= 0).astype(np.intp),
    "above a half": lambda sums: (sums[..., 0] > 0.5).astype(np.intp),
}
_OPERATIONS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "subtract": np.subtract, "divide": np.divide, "multiply": np.multiply, "add": np.add,
    "clip": lambda table, bounds: np.clip(table, bounds[0], bounds[1]),
    "take": lambda table, columns: table[..., columns],
}  # fmt: skip
