"""A version's model in another form, made once when the version is created.

    original ──compiler (a process of its own)──▶ .compiled/  compiled.json  what answers what
                 └─ asks both: they must agree                0.onnx         a network's arithmetic
                                                              0.npz          or so, if it is small
                                                              0.pb, 0.later  what ONNX cannot say
                                                              recipe.npz     a table's arithmetic
                                                              golden.jsonl   the original's answers

Networks (`tensorflow`) are answered from it whole. Of models of rows of numbers (`rows`) the plain
requests are, and the original is there for the others. Small networks (`networks`) and tables are
plain numbers: of those the gateway may answer as well (`desk`).

A worker that finds such a folder with the model answers from it, once the rows in it come out
right, and never imports the library that trained the model unless a part of it needs that. A folder
that lacks them, or whose rows come out otherwise, is passed over: the original is there.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

__all__ = [
    "ABOUT_FILE", "AT_ONCE", "DESK_BYTES", "FOLDER", "LATER", "RECIPE_FILE", "TOLERANCE",
    "NotCompiled", "is_numbers",
]  # fmt: skip

FOLDER = ".compiled"
"""In the version's copy of the model directory."""

ABOUT_FILE = "compiled.json"

RECIPE_FILE = "recipe.npz"
"""Of a model of rows of numbers."""

AT_ONCE, LATER = ".pb", ".later"
"""What a TensorFlow graph is called: one that goes first, and one that few requests need."""

DESK_BYTES = 4096
"""Of a body that a gateway answers: a few rows. What takes longer than asking a worker is his."""

TOLERANCE = 1e-5
"""Largest difference of two floats, relative to the larger one or to 1."""


def is_numbers(names: Collection[str]) -> bool:
    """Tell whether a folder with these files holds nothing but plain numbers to compute from."""
    kinds = {Path(name).suffix for name in names}
    return ".npz" in kinds and not kinds & {".onnx", AT_ONCE, LATER}


class NotCompiled(Exception):
    """The model has no other form; the text says why."""
