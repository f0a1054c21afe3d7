"""Which points a problem allows, and how they lie in a unit cube.

A space is a list of parameters, parents before children. A child is there only while its parent
is, and has one of the values that the child names; so a point holds the active parameters and no
others. Two parameters may share a name if they are never active together; one that names such a
parent means the nearest before it, so each such parent is followed by its own children.

Standard library only: random and grid search need nothing else.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence

from mlengine.core.errors import InvalidArgument
from mlengine.tuning.axis import Axis
from mlengine.tuning.problem import Kind, Parameter, Point, Value

__all__ = ["Key", "Space"]

Key = tuple[Value | None, ...]
"""What makes a point itself: a value for each parameter, None where it is not active."""


class Space:
    """The points over `parameters`.

    Args:
        parameters: Parents before children.

    Raises:
        InvalidArgument: A parameter makes no sense; the message names it and the value.

    Example:
        >>> kernel = Parameter(name="kernel", kind=Kind.CATEGORICAL, values=("rbf", "linear"))
        >>> gamma = Parameter(
        ...     name="gamma", kind=Kind.DOUBLE, low=0, high=1, parent="kernel", when=("rbf",)
        ... )
        >>> Space([kernel, gamma]).contains({"kernel": "linear"})
        True
    """

    def __init__(self, parameters: Sequence[Parameter]) -> None:
        self.parameters = tuple(parameters)
        self.axes = tuple(Axis(parameter) for parameter in self.parameters)
        if not self.axes:
            raise InvalidArgument("There are no parameters.", "Name at least one to tune.")
        self._when = tuple(frozenset(parameter.when) for parameter in self.parameters)
        self._parents = tuple(self._nearest_before(i) for i in range(len(self.axes)))
        self._check_tree()

    def __len__(self) -> int:
        return len(self.axes)

    @property
    def size(self) -> int | None:
        """How many points there are; None if a DOUBLE makes them uncountable."""
        return self._size_below(None)

    def active(self, index: int, point: Mapping[str, Value]) -> bool:
        """Whether the parameter at `index` is active; `point` must hold what is before it."""
        parent = self._parents[index]
        if parent is None:
            return True
        # The value alone may be that of another parameter of the parent's name.
        return point.get(self.axes[parent].name) in self._when[index] and self.active(parent, point)

    def parent(self, index: int) -> int | None:
        """Return the index of the parameter that the one at `index` depends on, if it does."""
        return self._parents[index]

    def build(self, choose: Callable[[int, Axis], Value]) -> Point:
        """Return the point whose active parameters get their values from `choose`, in order."""
        point: Point = {}
        for i, axis in enumerate(self.axes):
            if self.active(i, point):
                point[axis.name] = choose(i, axis)
        return point

    def at(self, shares: Sequence[float]) -> Point:
        """Return the point at the given shares of uniform draws, one a parameter."""
        return self.build(lambda i, axis: axis.at(shares[i]))

    def sample(self, source: random.Random) -> Point:
        """Draw a point: each active parameter uniformly on its scale."""
        return self.build(lambda _, axis: axis.at(source.random()))

    def centre(self) -> Point:
        """Return the point in the middle of every range; of categories the first."""
        return self.build(lambda _, axis: axis.at(0.0 if axis.kind is Kind.CATEGORICAL else 0.5))

    def places(self, point: Mapping[str, Value]) -> list[float]:
        """Return where `point` lies: `Axis.place` of each parameter, NaN where it is not active.

        The point may lie outside of the space, or lack parameters; those are NaN too.
        """
        return [
            axis.place(point[axis.name])
            if axis.name in point and self.active(i, point)
            else math.nan
            for i, axis in enumerate(self.axes)
        ]

    def nearest(self, places: Sequence[float]) -> Point:
        """Return the allowed point nearest to `places`; a NaN counts as the middle, or category 0.

        Example:
            >>> space = Space([Parameter(name="n", kind=Kind.INTEGER, low=1, high=4)])
            >>> space.nearest(space.places({"n": 3}))
            {'n': 3}
        """

        def choose(i: int, axis: Axis) -> Value:
            if math.isnan(places[i]):
                return axis.at(0.0 if axis.kind is Kind.CATEGORICAL else 0.5)
            return axis.nearest(places[i])

        return self.build(choose)

    def key(self, point: Mapping[str, Value]) -> Key:
        """Return what makes `point` itself; equal for equal points only."""
        return tuple(
            point.get(axis.name) if self.active(i, point) else None
            for i, axis in enumerate(self.axes)
        )

    def contains(self, point: Mapping[str, Value]) -> bool:
        """Whether `point` has exactly its active parameters, each with a value it allows."""
        return self._fault(point) is None

    def check(self, point: Mapping[str, Value]) -> None:
        """Raise InvalidArgument, naming parameter and value, unless the space contains `point`."""
        fault = self._fault(point)
        if fault is not None:
            raise fault

    def points(self) -> Iterator[Point]:
        """Yield every point once, the last parameter changing fastest.

        Raises:
            InvalidArgument: A DOUBLE has more than one value.
        """
        for axis in self.axes:
            if axis.count is None:
                raise InvalidArgument(
                    f"The parameter '{axis.name}' is DOUBLE: a grid cannot hold all of its values.",
                    "List the wanted ones as DISCRETE, or choose another algorithm.",
                )
        return self._odometer()

    def _odometer(self) -> Iterator[Point]:
        wheels: list[tuple[int, Iterator[Value]]] = []  # open parameters and their values to come
        point: Point = {}
        i = 0
        while True:
            while i < len(self.axes):
                if self.active(i, point):
                    values = self.axes[i].values()
                    wheels.append((i, values))
                    point[self.axes[i].name] = next(values)
                i += 1
            yield dict(point)
            while wheels:
                i, values = wheels[-1]
                point.pop(self.axes[i].name)
                value = next(values, None)
                if value is not None:
                    point[self.axes[i].name] = value
                    i += 1
                    break
                wheels.pop()
            else:
                return

    def _size_below(self, parent: int | None, value: Value | None = None) -> int | None:
        """Return how many ways the children of `parent` can be set while it has `value`."""
        ways = 1
        for i in range(len(self.axes)):
            if self._parents[i] != parent or (parent is not None and value not in self._when[i]):
                continue
            own = self._size_of(i)
            if own is None:
                return None
            ways *= own
        return ways

    def _size_of(self, index: int) -> int | None:
        axis = self.axes[index]
        if axis.count is None:
            return None
        told = {v for i, when in enumerate(self._when) if self._parents[i] == index
                for v in when if axis.holds(v)}  # fmt: skip
        total = axis.count - len(told)
        for value in told:
            below = self._size_below(index, value)
            if below is None:
                return None
            total += below
        return total

    def _nearest_before(self, index: int) -> int | None:
        """Return where the parent is; None if there is none, or none before its child."""
        name = self.parameters[index].parent
        return max((i for i in range(index) if name and self.axes[i].name == name), default=None)

    def _fault(self, point: Mapping[str, Value]) -> InvalidArgument | None:
        known = set()
        for i, axis in enumerate(self.axes):
            if not self.active(i, point):
                continue
            known.add(axis.name)
            if axis.name not in point:
                return InvalidArgument(
                    f"The point lacks the parameter '{axis.name}'.", "Give it a value."
                )
            if not axis.holds(point[axis.name]):
                return InvalidArgument(
                    f"The parameter '{axis.name}' cannot be {point[axis.name]!r}.",
                    f"It is {_allowed(axis)}.",
                )
        for name in point:
            if name not in known:
                return InvalidArgument(
                    f"The point has the parameter '{name}', which is not active there.",
                    "Leave it out, or change the value of its parent.",
                )
        return None

    def _check_tree(self) -> None:
        before: dict[str, list[int]] = {}
        for i, parameter in enumerate(self.parameters):
            self._check_parent(i)
            for other in before.get(parameter.name, ()):
                self._check_apart(i, other)
            before.setdefault(parameter.name, []).append(i)

    def _check_parent(self, index: int) -> None:
        parameter = self.parameters[index]
        if not parameter.parent:
            if parameter.when:
                raise InvalidArgument(
                    f"The parameter '{parameter.name}' names values of a parent and no parent.",
                    "Name the parent.",
                )
            return
        parent = self._parents[index]
        if parent is None:
            raise InvalidArgument(
                f"The parameter '{parameter.name}' has the parent '{parameter.parent}', which is "
                "not before it.",
                "Name the parent before its children.",
            )
        axis = self.axes[parent]
        if axis.kind is Kind.DOUBLE:
            raise InvalidArgument(
                f"The parameter '{parameter.name}' has the parent '{axis.name}', a DOUBLE.",
                "Parents are INTEGER, CATEGORICAL or DISCRETE.",
            )
        if not parameter.when:
            raise InvalidArgument(
                f"The parameter '{parameter.name}' names no value of its parent '{axis.name}'.",
                "Name those with which it is active.",
            )
        for value in parameter.when:
            if not axis.holds(value):
                raise InvalidArgument(
                    f"The parameter '{parameter.name}' is active when '{axis.name}' is {value!r}, "
                    "which it never is.",
                    f"'{axis.name}' is {_allowed(axis)}.",
                )

    def _check_apart(self, index: int, other: int) -> None:
        """Two parameters of one name must hang below different values of one parent."""
        one, two = self._conditions(index), self._conditions(other)
        if any(name in two and not when & two[name] for name, when in one.items()):
            return
        raise InvalidArgument(
            f"Two parameters are named '{self.parameters[index].name}' and can be active together.",
            "Rename one, or let them depend on different values of the same parent.",
        )

    def _conditions(self, index: int) -> dict[int, frozenset[Value]]:
        """Return the values that each ancestor must have for the parameter to be active."""
        conditions = {}
        while (parent := self._parents[index]) is not None:
            conditions[parent] = self._when[index]
            index = parent
        return conditions


def _allowed(axis: Axis) -> str:
    parameter = axis.parameter
    if axis.kind in (Kind.DOUBLE, Kind.INTEGER):
        whole = "a whole number" if axis.kind is Kind.INTEGER else "a number"
        return f"{whole} from {parameter.low:.17g} to {parameter.high:.17g}"
    values = [repr(value) for value in parameter.values[:10]]
    return "one of " + ", ".join(values) + (", …" if len(parameter.values) > 10 else "")
