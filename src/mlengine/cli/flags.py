"""Shapes of flags that several commands share: lists, labels, choices, accelerators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

__all__ = [
    "ACCELERATOR",
    "BOOL",
    "LABELS",
    "LIST",
    "Choice",
    "label_updates",
    "merge",
    "region",
    "updated_labels",
]

F = TypeVar("F", bound=Callable[..., Any])


class Choice(click.ParamType[str]):
    """One of the API's names; accepts ``basic-gpu`` for ``BASIC_GPU``."""

    name = "choice"

    def __init__(self, *values: str) -> None:
        self.values = values

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the API's spelling."""
        spelled = str(value).upper().replace("-", "_")
        if spelled not in self.values:
            shown = ", ".join(v.lower().replace("_", "-") for v in self.values)
            self.fail(f"Invalid choice: '{value}' (choose from {shown})", param, ctx)
        return spelled

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """Show the choices in the help."""
        return "[" + "|".join(v.lower().replace("_", "-") for v in self.values) + "]"


class _List(click.ParamType[list[str]]):
    """``A,B``; the flag may also be repeated."""

    name = "list"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[str]:
        return [part.strip() for part in str(value).split(",") if part.strip()]

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return "A,B,..."


class _Map(click.ParamType[dict[str, str]]):
    """``K=V,K2=V2``; the flag may also be repeated, a key may not, whatever its values are.

    The second of two would replace the first without a word: a misspelled version loses its part
    of a split so. The engine refuses such a key in JSON, too, and gcloud's flags across repeats.
    """

    name = "map"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[str, str]:
        found: dict[str, str] = {}
        for part in str(value).split(","):
            key, equals, text = part.strip().partition("=")
            if not key and not equals:
                continue
            if not key or not equals:
                self.fail(
                    f"Bad syntax for dict arg: [{part.strip()}]. Write KEY=VALUE.", param, ctx
                )
            if key in found:
                self.fail(_given_twice(key, found[key], text), param, ctx)
            found[key] = text
        return found

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return "KEY=VALUE,..."


class _Accelerator(_Map):
    """``type=nvidia-tesla-k80,count=2`` → the API's message."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        parts = super().convert(value, param, ctx)
        if "type" not in parts or set(parts) - {"type", "count"}:
            self.fail("Write type=TYPE,count=COUNT.", param, ctx)
        count = parts.get("count", "1")
        if not count.isdecimal() or int(count) < 1:
            self.fail(f"count is '{count}': it must be at least 1.", param, ctx)
        return {"type": parts["type"].upper().replace("-", "_"), "count": count}

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return "type=TYPE,count=COUNT"


LIST, LABELS, ACCELERATOR = _List(), _Map(), _Accelerator()
BOOL = click.BOOL


def merge(values: Sequence[Any]) -> Any:
    """Join what a repeated flag gave; None when it was not given.

    Raises:
        click.UsageError: Two of the repeats give the same key.
    """
    if not values:
        return None
    if not isinstance(values[0], dict):
        return [item for value in values for item in value]
    found: dict[str, Any] = {}
    for value in values:
        for key in value:
            if key in found:
                raise click.UsageError(_given_twice(key, found[key], value[key]))
        found |= value
    return found


def _given_twice(key: str, first: str, second: str) -> str:
    return f"[{key}] is given twice: {key}={first} and {key}={second}. Give each key once."


def region(function: F) -> F:
    """Add ``--region``, which old command lines carry: an engine has one namespace."""
    return click.option("--region", expose_value=False, help="Accepted and not needed here.")(
        function
    )


def label_updates(function: F) -> F:
    """Add ``--update-labels``, ``--clear-labels`` and ``--remove-labels``."""
    for option in (
        click.option("--remove-labels", type=LIST, multiple=True, help="Keys to remove."),
        click.option("--clear-labels", is_flag=True, help="Remove all labels."),
        click.option("--update-labels", type=LABELS, multiple=True, help="Labels to set."),
    ):
        function = option(function)
    return function


def updated_labels(
    labels: dict[str, str],
    *,
    update_labels: Sequence[dict[str, str]],
    clear_labels: bool,
    remove_labels: Sequence[list[str]],
) -> dict[str, str] | None:
    """Return the labels as they are to be, or None when nothing changes.

    Raises:
        click.UsageError: Both --clear-labels and --remove-labels.
    """
    if clear_labels and remove_labels:
        raise click.UsageError(
            "argument --clear-labels: At most one of --clear-labels | --remove-labels can be "
            "specified."
        )
    removed = set(merge(remove_labels) or ())
    kept = {} if clear_labels else {k: v for k, v in labels.items() if k not in removed}
    changed = {**kept, **(merge(update_labels) or {})}
    return None if changed == labels else changed
