"""Whether a shortcut answers as the general way does: both are asked, and their bytes compared.

The rows are the golden ones of the version, if it has any, and some hundred drawn at random: of
every magnitude, whole numbers and fractions, zeros, the numbers at which the model changes its mind
and their neighbours. They are asked alone and in company, in bodies of one row and of many.
"""

from __future__ import annotations

import json
import math
import random
import string
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from mlengine.runtime.answers import predictions_answer
from mlengine.runtime.frameworks import Model, ask
from mlengine.runtime.frameworks.tensors import TensorSpec
from mlengine.runtime.instances import RequestError, parse_request
from mlengine.runtime.prediction_error import PredictionError
from mlengine.runtime.shortcuts import Shortcut
from mlengine.runtime.shortcuts.kernel import Kernel
from mlengine.runtime.strictjson import dumps

__all__ = ["Difference", "distance", "drawn_rows", "drawn_values", "prove"]

_ROWS = 256
_MAX_NUMBERS = 1 << 17  # of all drawn rows: an image is as many numbers as a table
_FEWEST_ROWS = 4
_SEED = 20_260
_MAX_ANSWER_BYTES = 64 << 20
_MAX_GOLDEN = 64
_SCALES = (1e-6, 0.01, 1.0, 1.0, 1.0, 10.0, 1e3, 1e6)
_SPECIAL = (0, 1, -1, 0.0, -0.0, 0.5, 1e-300, 1e15, -1e15, 123456789, 2**31, 16777217, 2**53 - 1)


class Difference(NamedTuple):
    """The largest difference of two floats (0: none), and what else differs, if anything."""

    largest: float
    problem: str


def prove(
    model: Model,
    shortcut: Shortcut,
    instances: Sequence[Any],
    *,
    golden: Sequence[Any] = (),
    singles: int,
    tolerance: float = 0.0,
) -> Difference:
    """Ask both ways; return how they differ.

    Args:
        model: Answers the general way.
        shortcut: Answers directly.
        instances: Drawn at random.
        golden: Instances that came with the model.
        singles: How many of the instances are also asked alone.
        tolerance: Floats may differ by so much, relative to the larger or to 1.
    """
    bodies = [dumps({"instances": rows}) for rows in _requests(instances, golden, singles)]
    expected = [_general(model, body) for body in bodies]
    read = [(shortcut.read(body), want) for body, want in zip(bodies, expected, strict=True)]
    asked = [(at, one, want) for at, (one, want) in enumerate(read) if one is not None]
    answered: set[int] = set()  # in some company: one row may spoil a call for all in it
    largest = 0.0
    for group in _groups(asked):
        answers = shortcut.answer([one for _, one, _ in group])
        for got, (at, _, want) in zip(answers, group, strict=True):
            if got is None:
                continue
            if want is None:
                return Difference(0.0, "it answers what the general way refuses")
            answered.add(at)
            if got == want:
                continue
            found = distance(json.loads(want), json.loads(got))
            largest = max(largest, found.largest)
            if found.problem or found.largest > tolerance:
                text = found.problem or f"a float differs by {found.largest:.3g}"
                return Difference(largest, text)
    wanted = sum(want is not None for want in expected)
    if not wanted:
        return Difference(0.0, "the model answers none of the drawn rows")
    if len(answered) < wanted * 3 // 4:
        return Difference(0.0, "it reads too few of the drawn rows")
    return Difference(largest, "")


def distance(wanted: Any, got: Any) -> Difference:
    """Compare two JSON values: floats by their distance, everything else for being the same.

    The distance is relative to the larger float, or to 1 where both are smaller.

    Example:
        >>> distance({"p": [0.5, 1]}, {"p": [0.25, 1]})
        Difference(largest=0.25, problem='')
        >>> distance(["a", 2], ["b", 2]).problem
        '"a" became "b"'
    """
    if type(wanted) is float and type(got) is float:
        scale = max(abs(wanted), abs(got), 1.0)
        return Difference(abs(wanted - got) / scale, "")
    if isinstance(wanted, dict) and isinstance(got, dict) and list(wanted) == list(got):
        pairs = [(wanted[key], got[key]) for key in wanted]
    elif isinstance(wanted, list) and isinstance(got, list) and len(wanted) == len(got):
        pairs = list(zip(wanted, got, strict=True))
    elif type(wanted) is type(got) and wanted == got:
        return Difference(0.0, "")
    else:
        return Difference(0.0, f"{json.dumps(wanted)[:80]} became {json.dumps(got)[:80]}")
    found = [distance(*pair) for pair in pairs]
    problem = next((one.problem for one in found if one.problem), "")
    return Difference(max((one.largest for one in found), default=0.0), problem)


def drawn_rows(kernel: Kernel) -> list[list[float]]:
    """Draw rows of numbers for a kernel, 256 unless they are very wide; the same at each call."""
    chance = random.Random(_SEED)
    rows = [
        [_number(chance, scale) for _ in range(kernel.width)] for scale in _scales(kernel.width)
    ]
    for row in rows[::2]:
        for column, values in kernel.landmarks.items():
            if len(values) and chance.random() < 0.7:
                row[column] = _beside(chance, float(chance.choice(values)))
    rows[0], rows[1] = [0.0] * kernel.width, [1] * kernel.width
    for row in rows[3::9]:
        row[chance.randrange(kernel.width)] = chance.choice(_SPECIAL)
    return rows


def drawn_values(inputs: Sequence[TensorSpec]) -> list[Any]:
    """Draw instances for a model of named tensors."""
    chance = random.Random(_SEED)
    single = len(inputs) == 1
    # Of modest size: what a network was never made for, it magnifies, rounding errors included.
    scales = [min(max(scale, 0.01), 10.0) for scale in _scales(sum(map(_size, inputs)))]
    rows = [{spec.name: _tensor(chance, spec, scale) for spec in inputs} for scale in scales]
    return [row[inputs[0].name] for row in rows] if single else rows


def _scales(numbers: int) -> list[float]:
    """Return the scale of each row that is drawn, of so many numbers."""
    rows = min(_ROWS, max(_FEWEST_ROWS, _MAX_NUMBERS // max(numbers, 1)))
    return [_SCALES[index % len(_SCALES)] for index in range(rows)]


def _size(spec: TensorSpec) -> int:
    return math.prod(size or 1 for size in (spec.shape or ())[1:])


def _number(chance: random.Random, scale: float) -> float:
    kind = chance.random()
    if kind < 0.2:
        return chance.randrange(-5, 100)
    return chance.gauss(0.0, scale) if kind < 0.9 else abs(chance.gauss(0.0, scale))


def _beside(chance: random.Random, value: float) -> float:
    """Return a number or one of its neighbours, in the precision of trees or in ours."""
    single = np.float32(value)
    found = chance.choice([
        value, float(single), np.nextafter(value, np.inf), np.nextafter(value, -np.inf),
        np.nextafter(single, np.float32(np.inf)), np.nextafter(single, np.float32(-np.inf)),
    ])  # fmt: skip
    return float(found)


def _tensor(chance: random.Random, spec: TensorSpec, scale: float) -> Any:
    sizes = [] if spec.shape is None else [size or 1 for size in spec.shape[1:]]
    if sizes == [1]:
        sizes = []

    def value() -> Any:
        if spec.dtype == "string":
            return "".join(chance.choices(string.ascii_letters, k=chance.randrange(1, 9)))
        if spec.dtype == "bool":
            return chance.random() < 0.5
        if spec.dtype.startswith("float"):
            return _number(chance, scale)
        return chance.randrange(0, 4)  # of a small vocabulary, often

    def nested(rest: list[int]) -> Any:
        return [nested(rest[1:]) for _ in range(rest[0])] if rest else value()

    return nested(sizes)


def _requests(instances: Sequence[Any], golden: Sequence[Any], singles: int) -> Iterator[list[Any]]:
    kept = list(golden[:_MAX_GOLDEN])
    yield list(instances)
    if kept:
        yield kept
    for start in range(0, singles // 2, 4):
        yield list(instances[start : start + 2])
    for start in range(0, singles * 2, 33):
        yield list(instances[start : start + 33])
    for one in (*kept[:singles], *instances[:singles]):
        yield [one]


def _groups(asked: list[Any]) -> Iterator[list[Any]]:
    """Ask everything together, in small companies, and alone."""
    yield asked
    for start in range(0, len(asked), 7):
        yield asked[start : start + 7]
    for one in asked:
        yield [one]


def _general(model: Model, body: bytes) -> bytes | None:
    try:
        request = parse_request(body)
        predictions = ask(model, request.instances, request.kwargs)
        return predictions_answer(predictions, max_bytes=_MAX_ANSWER_BYTES).body
    except (RequestError, PredictionError):
        return None
