"""Why trials did not succeed, said once for all that have the same reason.

Two reasons are the same if they differ in such numbers only as say nothing: a trial's own in its
paths, its parameters in its command line. An exit status, a signal or an error's number says why.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

__all__ = ["Reason", "grouped", "told"]

_MOST = 6
"""Reasons that are told; the rarest are counted only."""

_LONGEST = 300
_NUMBER = re.compile(
    r"(?P<why>(?<![\w-])(?:(?:status|code|returncode|signal|errno)(?: of)?|HTTP error)"
    r"[ =:]{1,2}-?\d+(?!\d|[\w.]\d))"
    r"|[-+]?\d+(?:\.\d*)?(?:e[-+]?\d+)?",
    re.IGNORECASE,
)


class Reason(NamedTuple):
    """What became of some trials, and why: as the first of them says it, on one line."""

    trials: tuple[int, ...]
    state: str
    text: str

    @property
    def numbers(self) -> str:
        """The trials, such as ``1-3, 7``."""
        runs: list[list[int]] = []
        for number in self.trials:
            if runs and number == runs[-1][-1] + 1:
                runs[-1].append(number)
            else:
                runs.append([number])
        return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)


def grouped(outcomes: Iterable[tuple[int, str, str]]) -> list[Reason]:
    """Return the reasons of trials, given as number, state and text; the most frequent first.

    Example:
        >>> why = ["no /t/1: exit status 2", "no /t/2: exit status 2", "no /t/3: exit status 9"]
        >>> found = grouped((number, "FAILED", text) for number, text in enumerate(why, 1))
        >>> [reason.trials for reason in found]
        [(1, 2), (3,)]
    """
    found: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for number, state, text in outcomes:
        line = " ".join(text.split())
        found.setdefault((state, _likeness(line)), []).append((number, line))
    reasons = []
    for (state, _text), members in found.items():
        members.sort()
        text = members[0][1]
        short = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
        reasons.append(Reason(tuple(number for number, _line in members), state, short))
    return sorted(reasons, key=lambda reason: (-len(reason.trials), reason.trials))


def told(reasons: Sequence[Reason]) -> str:
    """Write reasons, one a line.

    Example:
        >>> told([Reason((1, 2, 4), "FAILED", "exit status 2"), Reason((3,), "CANCELLED", "")])
        '3 trials failed (1-2, 4): exit status 2\\n1 trial was stopped (3).'
    """
    lines = [_line(reason) for reason in reasons[:_MOST]]
    rest = sum(len(reason.trials) for reason in reasons[_MOST:])
    if rest:
        lines.append(f"{rest} more did not succeed, for {len(reasons) - _MOST} other reasons.")
    return "\n".join(lines)


def _likeness(line: str) -> str:
    """Return what a line has in common with others of the same reason."""
    return _NUMBER.sub(lambda found: found["why"] or "#", line)


def _line(reason: Reason) -> str:
    count = len(reason.trials)
    trials = f"{count} trials" if count > 1 else "1 trial"
    verb = {"FAILED": "failed", "": "never began"}.get(reason.state)
    verb = verb or ("were stopped" if count > 1 else "was stopped")
    return f"{trials} {verb} ({reason.numbers})" + (f": {reason.text}" if reason.text else ".")
