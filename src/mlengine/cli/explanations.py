"""Explanations for people: a bar for each feature, the longest first."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mlengine.cli.errors import CommandError
from mlengine.cli.output.escape import printable

__all__ = ["chart"]

_MOST_BARS = 20
_HALF = 20  # columns of the longest bar, on either side of the axis


def chart(body: bytes, *, ascii: bool = False) -> str:
    """Draw an answer of ``:explain``.

    Args:
        body: The JSON that the engine gave.
        ascii: Use no character beyond ASCII.

    Raises:
        CommandError: It holds no explanations.

    Example:
        >>> found = {
        ...     "attributions": {"age": 0.3, "job": -0.15},
        ...     "baseline_score": 0.5,
        ...     "example_score": 0.65,
        ...     "label_index": 1,
        ...     "output_name": "probability",
        ... }
        >>> answer = {"explanations": [{"attributions_by_label": [found]}]}
        >>> print(chart(json.dumps(answer).encode(), ascii=True), end="")
        Instance 0: probability 1 is 0.65, and 0.5 at the baseline (+0.15)
          age   +0.3                      |####################
          job  -0.15            ##########|
    """
    try:
        explanations = json.loads(body)["explanations"]
        parts = [
            _instance(number, found, ascii)
            for number, one in enumerate(explanations)
            for found in one["attributions_by_label"]
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CommandError(f"The answer holds no explanations: {body[:200]!r}") from None
    return "\n".join(parts)


def _instance(number: int, found: Mapping[str, Any], ascii: bool) -> str:
    example, baseline = float(found["example_score"]), float(found["baseline_score"])
    head = (
        f"Instance {number}: {_name(found['output_name'])} {int(found['label_index'])} is "
        f"{example:.4g}, and {baseline:.4g} at the baseline ({example - baseline:+.4g})"
    )
    return "\n".join([head, *_bars(list(_flat("", found["attributions"])), ascii)]) + "\n"


def _bars(values: Sequence[tuple[str, float]], ascii: bool) -> Iterator[str]:
    ordered = sorted(values, key=lambda one: -abs(one[1]))
    rest = ordered[_MOST_BARS:]
    shown = ordered[:_MOST_BARS]
    if rest:
        shown.append((f"({len(rest)} others)", sum(value for _name, value in rest)))
    if not shown:
        return
    longest = max(abs(value) for _label, value in shown) or 1.0
    names = max(len(label) for label, _value in shown)
    numbers = max(len(f"{value:+.4g}") for _label, value in shown)
    block, axis = ("#", "|") if ascii else ("█", "│")
    for label, value in shown:
        bar = block * round(abs(value) / longest * _HALF)
        left, right = (bar, "") if value < 0 else ("", bar)
        number = f"{value:+.4g}"
        yield f"  {label:<{names}}  {number:>{numbers}}  {left:>{_HALF}}{axis}{right}"


def _flat(name: str, value: Any) -> Iterator[tuple[str, float]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(f"{name}.{_name(key)}" if name else _name(key), item)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _flat(f"{name}[{index}]", item)
    else:
        yield name, float(value)


def _name(text: Any) -> str:
    return printable(str(text), newline="\\n")
