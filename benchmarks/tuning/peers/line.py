"""A searcher's end of the line: JSON objects, one a line, on standard input and output.

    {"begin": {"space": [...], "seed": 3, "budget": 100, "batch": 4, "option": "tpe"}}   -> {}
    {"ask": 4}                                              -> {"points": [...], "cpu_s": 0.3}
    {"tell": {"points": [...], "values": [...]}}            -> {"cpu_s": 0.01}

Values are to be minimised; where "begin" has a number of "metrics" too, each is a list. Seconds are
those of CPU that the call took, of all threads. A call that raises answers ``{"error": ...}``.
Standard library only: it runs in every environment.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, Protocol

__all__ = ["Searcher", "Setup", "active", "plain", "serve"]

Setup = dict[str, Any]


class Searcher(Protocol):
    """What a script makes of a library."""

    def ask(self, count: int) -> list[dict[str, Any]]: ...

    def tell(self, points: list[dict[str, Any]], values: list[Any]) -> None: ...


def serve(make: Callable[[Setup], Searcher]) -> None:
    """Answer until the input ends; what libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    searcher: Searcher | None = None
    for line in sys.stdin:
        asked = json.loads(line)
        begun_s = time.process_time()
        answer: dict[str, Any] = {}
        try:
            if "begin" in asked:
                searcher = make(asked["begin"])
            elif searcher is not None and "ask" in asked:
                answer["points"] = searcher.ask(asked["ask"])
            elif searcher is not None:
                searcher.tell(asked["tell"]["points"], asked["tell"]["values"])
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"[:300]}
        answer["cpu_s"] = time.process_time() - begun_s
        answers.write(json.dumps(answer) + "\n")


def plain(value: Any) -> Any:
    """Return a number or word that JSON can hold, of whatever NumPy made of it."""
    return value.item() if hasattr(value, "item") else value


def active(space: list[Setup], point: dict[str, Any]) -> dict[str, Any]:
    """Return a point without the parameters whose conditions do not hold."""
    kept: dict[str, Any] = {}
    for each in space:  # parents before children
        if not each["parent"] or kept.get(each["parent"]) in each["when"]:
            kept[each["name"]] = point[each["name"]]
    return kept
