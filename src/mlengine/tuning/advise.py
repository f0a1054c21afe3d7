"""The program that chooses what to try next: `python -m mlengine.tuning.advise`.

It keeps no books. A question (problem, history, how many) comes on standard input, its answer
leaves on standard output, one line of JSON each; after a while without a question it ends.
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Sequence
from typing import BinaryIO

import msgspec

from mlengine.tuning.problem import Problem, Tried
from mlengine.tuning.search import Suggestion, open_search

__all__ = ["Answer", "Question", "main"]

_IDLE_S = 120.0


class Question(msgspec.Struct, frozen=True):
    """What is asked: `count` points for a problem, by the search of that name."""

    search: str
    problem: Problem
    history: list[Tried]
    count: int


class Answer(msgspec.Struct, frozen=True):
    """The points, or why there are none."""

    suggestions: list[Suggestion] = []
    error: str = ""


def main(argv: Sequence[str] | None = None) -> int:
    """Answer until nobody asks; return the exit code."""
    idle_s = float(argv[0]) if argv else _IDLE_S
    # What a library prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    questions = sys.stdin.buffer
    while _asked(questions, idle_s):
        line = questions.readline()
        if not line:
            break
        answers.write(msgspec.json.encode(_answer(line)) + b"\n")
        answers.flush()
    return 0


def _asked(questions: BinaryIO, idle_s: float) -> bool:
    # One question at a time is under way, so that nothing waits in the reader's own buffer.
    return bool(select.select([questions], [], [], idle_s)[0])


def _answer(line: bytes) -> Answer:
    try:
        question = msgspec.json.decode(line, type=Question)
        search = open_search(question.search)
        found = search.suggest(question.problem, question.history, question.count)
    except Exception as error:  # whatever a search or a package of others raises
        return Answer(error=f"{type(error).__name__}: {error}")
    return Answer(suggestions=found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
