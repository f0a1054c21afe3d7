"""Explains models that are asked with rows of JSON: tables, pipelines, code of the user's own."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from mlengine.runtime.explain.baselines import Path, is_b64, leaves, middle, mirror, zero
from mlengine.runtime.explain.metadata import FILE, Input, Metadata, find_name
from mlengine.runtime.explain.outputs import Labels, Scores, by_name, table_of
from mlengine.runtime.explain.subject import Mixed
from mlengine.runtime.frameworks import Model, ask
from mlengine.runtime.instances import kind_of
from mlengine.runtime.prediction_error import input_error, load_error

__all__ = ["ROW", "RowSubject", "Scored"]

ROW = "input"
"""What answers call an instance that has no names in it, and metadata a row of named columns."""


@runtime_checkable
class Scored(Protocol):
    """A model whose predictions are labels, and which can tell the scores behind them."""

    def scores(self, instances: list[Any]) -> dict[str, Any]: ...


class RowSubject:
    """A model asked with rows.

    Args:
        model: As loaded.
        metadata: What lies beside it.
        golden: Instances of its golden rows.

    Raises:
        PredictionError: Class 0: the metadata do not fit the model.
    """

    most_rows = 0

    def __init__(self, model: Model, metadata: Metadata, golden: Sequence[Any]) -> None:
        self.output = metadata.output_tensor
        self.output_name = metadata.output_name
        self._model = model
        self._names = list(model.describe()["inputs"])
        self._inputs = _among(self._names, metadata.inputs)
        self._keys: Mapping[str, Any] = {}
        self._labels: Labels = {}
        self._golden = [_by_both(instance, self._names) for instance in golden]
        self._known = _middles_of(self._golden)
        self._count = _count_of(self._inputs)

    def asked_with(self, keys: Mapping[str, Any]) -> RowSubject:
        """Return the same for one request, asked with these keyword arguments of it."""
        made = copy.copy(self)
        made._keys, made._labels = keys, {}
        return made

    def cases(self, instances: list[Any]) -> list[RowCase]:
        """Take instances apart.

        Raises:
            PredictionError: Class 1: one lacks what the metadata name, or has another form.
        """
        return [RowCase(one, self._parts(one), self._middles, self._count) for one in instances]

    def width(self, instance: Any, most: int) -> int:
        parts = self._parts(instance)
        found = (leaf for _one, path in parts for leaf in leaves(_at(instance, path), path))
        return self._count * sum(1 for _leaf in itertools.islice(found, most + 1))

    def scores(self, mixed: Sequence[Mixed]) -> Scores:
        rows = [row for one in mixed for row in one.case.rows(one.masks, one.baseline)]
        if isinstance(self._model, Scored):
            made = {name: table_of(value) for name, value in self._model.scores(rows).items()}
            return {name: table for name, table in made.items() if table is not None}
        # Code of the user's may edit what it is given, and the next call gets the same keys.
        return by_name(ask(self._model, rows, copy.deepcopy(dict(self._keys))), self._labels)

    def _parts(self, instance: Any) -> list[tuple[Input, Path]]:
        """Say where in an instance each input stands."""
        if isinstance(instance, dict) and not is_b64(instance):
            inputs = self._inputs or [Input(name, name, []) for name in instance]
            if missing := [one.tensor for one in inputs if one.tensor not in instance]:
                raise input_error(f"Input {missing[0]} was missing in at least one input instance.")
            return [(one, (one.tensor,)) for one in inputs]
        is_row = isinstance(instance, list) and len(instance) == len(self._names)
        if self._inputs and is_row and all(one.tensor in self._names for one in self._inputs):
            return [(one, (self._names.index(one.tensor),)) for one in self._inputs]
        if len(self._inputs) <= 1:
            return [(self._inputs[0] if self._inputs else Input(ROW, ROW, []), ())]
        raise input_error(
            f"{FILE} names the inputs {[one.tensor for one in self._inputs]}, "
            f"and an instance is {kind_of(instance)}"
        )

    def _middles(self, paths: Sequence[Path], values: Sequence[Any]) -> list[Any]:
        if all(path in self._known for path in paths):
            return [self._known[path] for path in paths]
        like = [row for row in self._golden if all(path in row for path in paths)]
        if not like:
            return [zero(value) for value in values]
        return [middle([row[path] for row in like]) for path in paths]


class RowCase:
    """One instance taken apart."""

    def __init__(
        self, instance: Any, parts: list[tuple[Input, Path]],
        middles: Callable[[Sequence[Path], Sequence[Any]], list[Any]], count: int,
    ) -> None:  # fmt: skip
        self._instance = instance
        self._parts = [(one, _at(instance, path)) for one, path in parts]
        found = [pair for _one, path in parts for pair in leaves(_at(instance, path), path)]
        self._paths = [path for path, _value in found]
        self._values = _objects([value for _path, value in found])
        self.players = len(found)
        self.baselines = count
        ours = iter(middles(self._paths, self._values.tolist()))
        rows: list[list[Any]] = [[] for _ in range(count)]
        for (one, path), (_same, value) in zip(parts, self._parts, strict=True):
            size = sum(1 for _ in leaves(value, path))
            default = [next(ours) for _ in range(size)]
            for number, row in enumerate(rows):
                row += _baseline(one, value, number, size) if one.baselines else default
        self._baselines = [_objects(row) for row in rows]
        known = itertools.chain(self._values.tolist(), *rows)
        self._has_b64 = any(isinstance(value, dict) for value in known)

    def form(self, values: np.ndarray) -> dict[str, Any]:
        numbers = iter(values.tolist())
        return {one.name: mirror(value, numbers) for one, value in self._parts}

    def rows(self, masks: np.ndarray, baseline: int) -> Iterator[Any]:
        """Put rows together, one for each row of `masks`.

        They share nothing that can be edited, with each other or with the instance: code of the
        user's may do so, and the rows after it are to be what they were.
        """
        mixed = np.where(masks, self._values, self._baselines[baseline]).tolist()
        if self._has_b64:
            mixed = [[_own(value) for value in row] for row in mixed]
        instance, paths = self._instance, self._paths
        if isinstance(instance, list) and paths == [(i,) for i in range(len(instance))]:
            yield from mixed
        elif isinstance(instance, dict) and all(len(path) == 1 for path in paths):
            keys = [path[0] for path in paths]
            held = instance.keys() - keys
            for row in mixed:
                made = {**instance, **dict(zip(keys, row, strict=True))}
                made.update((key, _own(made[key])) for key in held)
                yield made
        else:
            for row in mixed:
                yield _put(instance, paths, row)


def _by_both(instance: Any, names: Sequence[str]) -> dict[Path, Any]:
    """Return the values of a golden row, of a table by the names and the numbers of its columns."""
    found = dict(leaves(instance))
    for position, name in enumerate(names):
        for here, there in (((name,), (position,)), ((position,), (name,))):
            if here in found:
                found[there] = found[here]
    return found


def _middles_of(rows: Sequence[dict[Path, Any]]) -> dict[Path, Any]:
    """Return the middles of rows of one form, once for all requests."""
    if not rows or any(row.keys() != rows[0].keys() for row in rows):
        return {}
    return {path: middle([row[path] for row in rows]) for path in rows[0]}


def _among(columns: Sequence[str], inputs: Sequence[Input]) -> Sequence[Input]:
    """Return inputs as a model calls them; one that knows no columns may call them anything.

    Raises:
        PredictionError: Class 0: one is no column, nor `ROW` alone: no instance would have it.
    """
    if not columns:
        return inputs
    known = columns if len(inputs) > 1 else [*columns, ROW]
    return [one._replace(tensor=find_name(one.tensor, known, "input")) for one in inputs]


def _count_of(inputs: Sequence[Input]) -> int:
    """Return how many baselines there are; an input with one has it for all.

    Raises:
        PredictionError: Class 0: two inputs have several each, and not as many.
    """
    counts = {len(one.baselines) for one in inputs} - {0, 1}
    if len(counts) > 1:
        raise load_error(f"{FILE}: inputs have {sorted(counts)} baselines; give as many to each")
    return counts.pop() if counts else 1


def _baseline(one: Input, value: Any, number: int, size: int) -> list[Any]:
    said = one.baselines[number % len(one.baselines)]
    found = list(leaves(said))
    if len(found) == 1 and found[0][0] == ():
        return [said] * size
    if [path for path, _leaf in found] != [path for path, _leaf in leaves(value)]:
        raise input_error(
            f"the baseline of {one.name!r} in {FILE} is {kind_of(said)}, and the instance has "
            f"{kind_of(value)}: they must be of one form"
        )
    return [leaf for _path, leaf in found]


def _at(value: Any, path: Path) -> Any:
    for step in path:
        value = value[step]
    return value


def _own(value: Any) -> Any:
    """Return a value that nobody else holds; numbers and texts cannot be edited anyway."""
    return copy.deepcopy(value) if isinstance(value, dict | list) else value


def _put(instance: Any, paths: Sequence[Path], row: list[Any]) -> Any:
    made = copy.deepcopy(instance)
    for path, value in zip(paths, row, strict=True):
        if not path:
            return value
        _at(made, path[:-1])[path[-1]] = value
    return made


def _objects(values: list[Any]) -> np.ndarray:
    made = np.empty(len(values), dtype=object)
    for position, value in enumerate(values):
        made[position] = value
    return made
