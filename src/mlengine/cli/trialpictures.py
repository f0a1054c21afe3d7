"""Pictures of a search, as SVG that any browser shows: no library draws them.

    history.svg       each trial's objective in the order of the trials, and the best so far
    parallel.svg      each trial as a line through all parameters to its objective
    importance.svg    how much of the objective's spread goes with each parameter alone

Importance is the share of the objective's variance that lies between the groups of trials that have
like values of a parameter (eta squared), less what chance would give. It needs no model; it sees no
interplay of parameters, and with few trials it is a hint at most.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mlengine.cli.drawing import dot, line, plain, svg, text, width
from mlengine.cli.trials import Trial, is_lost, objective

__all__ = ["importance", "pictures"]

_WIDTH, _HEIGHT, _MARGIN = 900, 480, 60
_LEAST_ROOM, _MOST_ROOM = 40.0, 140.0  # of a text beside or under an axis
_LINE = 16.0  # between texts one above the other
_GROUPS = 4
_MAGNITUDES = 100.0
_BLUE, _RED, _GREY = "#1f6feb", "#d1242f", "#8c959f"


class _Seen(NamedTuple):
    """A trial that has a value."""

    number: int
    value: float
    point: Mapping[str, str]


def pictures(trials: Sequence[Trial], *, minimize: bool, tag: str) -> dict[str, str]:
    """Return the pictures by the names of their files; none if no trial has a value that counts."""
    found = [
        _Seen(int(trial["trialId"]), value, trial.get("hyperparameters") or {})
        for trial in trials
        if (value := objective(trial)) is not None and math.isfinite(value) and not is_lost(trial)
    ]
    if not found:
        return {}
    found.sort(key=lambda seen: seen.number)
    return {
        "history.svg": _history(found, minimize=minimize, tag=tag),
        "parallel.svg": _parallel(found, minimize=minimize, tag=tag),
        "importance.svg": _importance(found, tag=tag),
    }


def importance(points: Sequence[Mapping[str, str]], values: Sequence[float]) -> dict[str, float]:
    """Return for each parameter the share of the variance that goes with it, 0 to 1.

    Example:
        >>> points = [{"a": str(n % 2), "b": str(n % 5)} for n in range(20)]
        >>> {
        ...     name: round(x, 2)
        ...     for name, x in importance(points, [n % 2 for n in range(20)]).items()
        ... }
        {'a': 1.0, 'b': 0.0}
    """
    names = dict.fromkeys(name for point in points for name in point)
    return {name: _share([p.get(name, "") for p in points], values) for name in names}


def _share(texts: Sequence[str], values: Sequence[float]) -> float:
    largest = max(map(abs, values)) or 1.0
    values = [value / largest for value in values]  # squares of what floats can be do not fit
    groups: dict[int, list[float]] = {}
    for group, value in zip(_grouped(texts), values, strict=True):
        groups.setdefault(group, []).append(value)
    count, mean = len(values), math.fsum(values) / len(values)
    total = math.fsum((value - mean) ** 2 for value in values)
    if total == 0.0 or len(groups) < 2 or count <= len(groups):
        return 0.0
    within = math.fsum(
        (value - math.fsum(group) / len(group)) ** 2 for group in groups.values() for value in group
    )
    # Epsilon squared: eta squared without what any grouping into so many groups explains.
    chance = within / (count - len(groups)) * (len(groups) - 1)
    return min(max((total - within - chance) / total, 0.0), 1.0)


def _grouped(texts: Sequence[str]) -> list[int]:
    """Put like values into one group: few different ones each by itself, many by their order."""
    numbers = _numbers(texts)
    kinds = sorted(set(texts))
    if numbers is None or len(set(numbers)) <= _GROUPS:
        return [kinds.index(text) for text in texts]
    order = sorted(range(len(numbers)), key=lambda at: numbers[at])
    groups = [0] * len(numbers)
    for place, at in enumerate(order):
        groups[at] = place * _GROUPS // len(order)
    return groups


def _numbers(texts: Sequence[str]) -> list[float] | None:
    try:
        found = [float(text) for text in texts]
    except ValueError:
        return None
    return found if all(math.isfinite(number) for number in found) else None


# --- drawing ------------------------------------------------------------------------------------


def _history(found: Sequence[_Seen], *, minimize: bool, tag: str) -> str:
    ys = _Axis([seen.value for seen in found], _HEIGHT - _MARGIN, _MARGIN)
    left = max(_MARGIN, 14 + max(width(label) for _y, label in ys.ticks()))
    xs = _Axis([seen.number for seen in found], left, _WIDTH - _MARGIN)
    parts = _axes(xs, ys, left, tag)
    best, steps = found[0].value, []
    for seen in found:
        steps.append(
            (xs.at(seen.number), ys.at(best))
        )  # a stair: the best holds until it is beaten
        best = min(best, seen.value) if minimize else max(best, seen.value)
        steps.append((xs.at(seen.number), ys.at(best)))
        parts.append(dot(xs.at(seen.number), ys.at(seen.value), _BLUE,
                         f"trial {seen.number}: {seen.value:g}"))  # fmt: skip
    parts.append(line(steps, _RED, 2.0))
    return svg(parts, f"{tag}: every trial, and the best so far", wide=_WIDTH, high=_HEIGHT)


def _parallel(found: Sequence[_Seen], *, minimize: bool, tag: str) -> str:
    names = list(dict.fromkeys(name for seen in found for name in seen.point))
    columns = [_column([seen.point.get(name, "") for seen in found]) for name in names]
    last = _Axis([seen.value for seen in found], _HEIGHT - _MARGIN, _MARGIN)
    columns.append(([last.at(seen.value) for seen in found], last.ticks()))
    widest = max(
        *(width(plain(name)) for name in [*names, tag]),
        *(width(plain(label)) for _ys, ticks in columns for _y, label in ticks),
    )
    # An axis has as much room as its labels need, within reason: then the picture grows.
    room = min(max(widest, _LEAST_ROOM), _MOST_ROOM)
    gap = max((_WIDTH - 2 * _MARGIN - room) / max(len(names), 1), room + 10)
    left = max(_MARGIN, room / 2 + 4)
    best = sorted(found, key=lambda seen: seen.value if minimize else -seen.value)
    rank = {seen.number: place for place, seen in enumerate(best)}
    parts, texts = [], []
    for at, seen in sorted(enumerate(found), key=lambda pair: -rank[pair[1].number]):
        share = 1.0 - rank[seen.number] / len(found)
        points = [(left + place * gap, ys[at]) for place, (ys, _ticks) in enumerate(columns)]
        colour = _RED if rank[seen.number] == 0 else _BLUE
        parts.append(line(points, colour, 1.0 + 1.5 * share, opacity=0.15 + 0.85 * share))
    for place, (name, (_ys, ticks)) in enumerate(zip([*names, tag], columns, strict=True)):
        x = left + place * gap
        parts.append(line([(x, _MARGIN), (x, _HEIGHT - _MARGIN)], _GREY, 1.0))
        texts.append(text(x, _HEIGHT - _MARGIN + 30, name, room=room))
        texts += [text(x + 4, y + 4, label, room=room, anchor="start") for y, label in ticks]
    title = f"{tag}: every trial through its parameters, the best in red"
    return svg([*parts, *texts], title, wide=left + gap * len(names) + room + 14, high=_HEIGHT)


def _importance(found: Sequence[_Seen], *, tag: str) -> str:
    shares = importance([seen.point for seen in found], [seen.value for seen in found])
    rows = sorted(shares.items(), key=lambda row: -row[1])
    height = max((_HEIGHT - 2 * _MARGIN) / max(len(rows), 1), _LINE)
    name_room = 2 * _MOST_ROOM
    left = 20 + min(max((width(plain(name)) for name in shares), default=0.0), name_room)
    parts = []
    for place, (name, share) in enumerate(rows):
        y = _MARGIN + place * height
        wide = share * (_WIDTH - left - _MARGIN)
        parts.append(text(left - 10, y + height / 2 + 4, name, room=name_room, anchor="end"))
        parts.append(
            f'<rect x="{left:.1f}" y="{y + height * 0.2:.1f}" width="{max(wide, 1):.1f}" '
            f'height="{height * 0.6:.1f}" fill="{_BLUE}"/>'
        )
        parts.append(text(left + wide + 6, y + height / 2 + 4, f"{share:.0%}", room=_MARGIN,
                          anchor="start"))  # fmt: skip
    title = f"{tag}: share of its spread that goes with each parameter alone"
    return svg(parts, title, wide=_WIDTH, high=2 * _MARGIN + height * max(len(rows), 1))


class _Axis:
    """Maps numbers to places between two coordinates."""

    def __init__(self, numbers: Sequence[float], begin: float, end: float) -> None:
        self._low, self._high = min(numbers), max(numbers)
        self._begin, self._end = begin, end

    def at(self, number: float) -> float:
        if self._high == self._low:
            return (self._begin + self._end) / 2
        width, share = self._high - self._low, number - self._low
        if math.isinf(width):  # the ends are as far apart as floats go
            width, share = self._high / 2 - self._low / 2, number / 2 - self._low / 2
        return self._begin + share / width * (self._end - self._begin)

    def ticks(self) -> list[tuple[float, str]]:
        if self._high == self._low:
            return [(self.at(self._low), f"{self._low:.4g}")]
        middle = self._low / 2 + self._high / 2
        return [(self.at(n), f"{n:.4g}") for n in (self._low, middle, self._high)]


def _column(texts: Sequence[str]) -> tuple[list[float], list[tuple[float, str]]]:
    """Return where each value of a parameter lies, and what stands beside its axis.

    Positive numbers of several magnitudes lie by their logarithms: elsewhere the small ones, among
    which a search finds most, would be one point.
    """
    bottom, top = _HEIGHT - _MARGIN, _MARGIN
    numbers = _numbers(texts)
    if numbers is not None and 0 < min(numbers) < max(numbers) / _MAGNITUDES:
        axis = _Axis([math.log10(number) for number in numbers], bottom, top)
        low, high = min(numbers), max(numbers)
        marks = [low, math.sqrt(low) * math.sqrt(high), high]
        ticks = [(axis.at(math.log10(mark)), f"{mark:.4g}") for mark in marks]
        return [axis.at(math.log10(number)) for number in numbers], ticks
    if numbers is not None:
        axis = _Axis(numbers, bottom, top)
        return [axis.at(number) for number in numbers], axis.ticks()
    kinds = sorted(set(texts))
    axis = _Axis([0.0, float(max(len(kinds) - 1, 1))], bottom, top)
    at = {kind: axis.at(place) for place, kind in enumerate(kinds)}
    every = math.ceil(len(kinds) * _LINE / (bottom - top))  # as many as there are lines for
    return [at[text] for text in texts], [(at[kind], kind) for kind in kinds[::every]]


def _axes(xs: _Axis, ys: _Axis, left: float, upwards: str) -> list[str]:
    bottom, right = _HEIGHT - _MARGIN, _WIDTH - _MARGIN
    parts = [line([(left, _MARGIN), (left, bottom), (right, bottom)], _GREY, 1.0)]
    parts += [text(x, bottom + 18, label, room=2 * _MARGIN) for x, label in xs.ticks()]
    parts += [text(left - 6, y + 4, label, room=left, anchor="end") for y, label in ys.ticks()]
    parts.append(text((left + right) / 2, _HEIGHT - 12, "trial", room=_WIDTH))
    parts.append(text(8, _MARGIN - 14, upwards, room=_WIDTH - 16, anchor="start"))
    return parts
