"""Spaces: what is refused, what is active, and how points lie in the unit cube."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.core.errors import InvalidArgument
from mlengine.tuning.axis import Axis
from mlengine.tuning.problem import Kind, Parameter, Scale
from mlengine.tuning.space import Space
from tests.fakes.spaces import problems, spaces


def _double(name: str = "x", low: float = 0.0, high: float = 1.0, **rest: Any) -> Parameter:
    return Parameter(name=name, kind=Kind.DOUBLE, low=low, high=high, **rest)


def _integer(name: str = "n", low: float = 0, high: float = 3, **rest: Any) -> Parameter:
    return Parameter(name=name, kind=Kind.INTEGER, low=low, high=high, **rest)


def _choice(name: str = "c", *values: str, **rest: Any) -> Parameter:
    return Parameter(name=name, kind=Kind.CATEGORICAL, values=values or ("a", "b"), **rest)


def _discrete(name: str = "d", *values: float, **rest: Any) -> Parameter:
    return Parameter(name=name, kind=Kind.DISCRETE, values=values or (1.0, 2.0), **rest)


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("parameter", "said"),
        [
            (_double(""), "empty name"),
            (_double(low=2, high=1), "minimum 2 above its maximum 1"),
            (_double(low=math.nan), "nan"),
            (_double(high=math.inf), "inf"),
            (_double(low=0, scale=Scale.LOG), "smallest value 0"),
            (_double(low=-1, scale=Scale.REVERSE_LOG), "smallest value -1"),
            (_integer(high=2.5), "bound 2.5"),
            (_integer(high=2.0**54), "bound 1.8"),
            (Parameter(name="c", kind=Kind.CATEGORICAL), "has no values"),
            (_choice("c", "a", "a"), "'a' twice"),
            (_choice("c", "a", scale=Scale.LOG), "scale LOG"),
            (Parameter(name="c", kind=Kind.CATEGORICAL, values=(1,)), "value 1"),
            (Parameter(name="d", kind=Kind.DISCRETE), "has no values"),
            (_discrete("d", 2.0, 1.0), "1 after 2"),
            (_discrete("d", 1.0, 1.0), "1 after 1"),
            (_discrete("d", math.inf), "inf"),
            (_discrete("d", 0.0, 1.0, scale=Scale.LOG), "smallest value 0"),
            (_discrete("d", *map(float, range(1001))), "1001 discrete values"),
        ],
    )
    def test_one_parameter(self, parameter: Parameter, said: str) -> None:
        with pytest.raises(InvalidArgument, match=r"(?i)parameter") as caught:
            Space([parameter])
        assert said in str(caught.value)

    @pytest.mark.parametrize(
        ("parameters", "said"),
        [
            ([], "no parameters"),
            ([_double("x"), _integer("x")], "active together"),
            ([_double("x", parent="c", when=("a",)), _choice()], "which is not before it"),
            ([_choice(), _double("x", when=("a",))], "no parent"),
            ([_choice(), _double("x", parent="c")], "names no value"),
            ([_choice(), _double("x", parent="c", when=("z",))], "'z'"),
            ([_double("y"), _double("x", parent="y", when=(0.5,))], "a DOUBLE"),
            (
                [
                    _choice(),
                    _double("x", parent="c", when=("a", "b")),
                    _integer("x", parent="c", when=("b",)),
                ],
                "active together",
            ),
            (
                [
                    _choice(),
                    _choice("n", "u", parent="c", when=("a",)),
                    _choice("n", "v", parent="c", when=("b",)),
                    _double("x", parent="n", when=("u",)),
                ],
                "active when 'n' is 'u', which it never is",
            ),
        ],
    )
    def test_together(self, parameters: list[Parameter], said: str) -> None:
        with pytest.raises(InvalidArgument) as caught:
            Space(parameters)
        assert said in str(caught.value)

    @pytest.mark.parametrize(
        ("point", "said"),
        [
            ({}, "lacks the parameter 'c'"),
            ({"c": "a"}, "lacks the parameter 'n'"),
            ({"c": "z"}, "'z'"),
            ({"c": "b", "n": 1}, "not active there"),
            ({"c": "a", "n": 4}, "cannot be 4"),
            ({"c": "a", "n": 1.0}, "cannot be 1.0"),
            ({"c": "a", "n": True}, "cannot be True"),
            ({"c": "b", "other": 1}, "'other'"),
        ],
    )
    def test_points(self, point: dict[str, Any], said: str) -> None:
        space = Space([_choice(), _integer(parent="c", when=("a",))])
        assert not space.contains(point)
        with pytest.raises(InvalidArgument) as caught:
            space.check(point)
        assert said in str(caught.value)


class TestConditions:
    def test_one_name_may_stand_for_two_parameters_that_are_never_active_together(self) -> None:
        space = Space(
            [
                _choice("optimizer", "sgd", "adam"),
                _double("rate", 0.1, 1.0, parent="optimizer", when=("sgd",)),
                _double("rate", 1e-4, 1e-3, parent="optimizer", when=("adam",)),
            ]
        )
        assert space.contains({"optimizer": "sgd", "rate": 0.5})
        assert not space.contains({"optimizer": "adam", "rate": 0.5})

    def test_also_when_the_exclusion_lies_higher_up(self) -> None:
        space = Space(
            [
                _choice("c", "a", "b"),
                _integer("n", parent="c", when=("a",)),
                _integer("m", parent="c", when=("b",)),
                _double("x", parent="n", when=(1,)),
                _double("x", parent="m", when=(1,)),
            ]
        )
        assert space.contains({"c": "b", "m": 1, "x": 0.5})

    def test_parents_of_one_name_have_each_their_own_children(self) -> None:
        space = Space(
            [
                _choice("optimizer", "sgd", "adam"),
                _choice("schedule", "cosine", parent="optimizer", when=("sgd",)),
                _integer("warmup", 1, 2, parent="schedule", when=("cosine",)),
                _choice("schedule", "cosine", "constant", parent="optimizer", when=("adam",)),
                _integer("warmup", 5, 7, parent="schedule", when=("constant",)),
            ]
        )
        points = list(space.points())
        assert [tuple(point.values()) for point in points] == [
            ("sgd", "cosine", 1),
            ("sgd", "cosine", 2),
            ("adam", "cosine"),
            ("adam", "constant", 5),
            ("adam", "constant", 6),
            ("adam", "constant", 7),
        ]
        assert space.size == len({space.key(point) for point in points}) == 6
        assert all(map(space.contains, points))
        assert not space.contains({"optimizer": "adam", "schedule": "cosine", "warmup": 1})

    def test_a_tree_is_counted_and_listed(self) -> None:
        space = Space(
            [
                _choice("c", "a", "b"),
                _integer("n", 0, 2, parent="c", when=("a",)),
                _discrete("d", 1.0, 2.0, parent="n", when=(2,)),
                _choice("e", "x", "y"),
            ]
        )
        assert list(space.points())[:3] == [
            {"c": "a", "n": 0, "e": "x"},
            {"c": "a", "n": 0, "e": "y"},
            {"c": "a", "n": 1, "e": "x"},
        ]
        assert space.size == len(list(space.points())) == (1 + 1 + 2 + 1) * 2

    def test_a_huge_grid_is_listed_lazily(self) -> None:
        space = Space([_integer(name, 0, 2**53) for name in "abc"])
        assert space.size == (2**53 + 1) ** 3
        assert next(space.points()) == {"a": 0, "b": 0, "c": 0}

    def test_a_double_has_no_grid(self) -> None:
        with pytest.raises(InvalidArgument, match="'x' is DOUBLE"):
            Space([_double("x")]).points()

    def test_a_double_of_one_value_does(self) -> None:
        space = Space([_double("x", 2.0, 2.0), _integer("n", 0, 1)])
        assert list(space.points()) == [{"x": 2.0, "n": 0}, {"x": 2.0, "n": 1}]
        assert space.size == 2


class TestScales:
    def test_a_log_scale_gives_each_decade_its_share(self) -> None:
        axis = Axis(_double("x", 1e-4, 1.0, scale=Scale.LOG))
        assert [axis.at(share) for share in (0, 0.25, 0.5, 1)] == pytest.approx(
            [1e-4, 1e-3, 0.01, 1]
        )

    def test_a_reverse_log_scale_spreads_out_the_top(self) -> None:
        axis = Axis(_double("x", 0.001, 1.0, scale=Scale.REVERSE_LOG))
        assert axis.at(0.0) == pytest.approx(0.001)
        assert axis.at(0.5) == pytest.approx(1.001 - math.sqrt(0.001))
        assert axis.at(1.0) == pytest.approx(1.0)

    def test_every_integer_is_as_likely_as_another(self) -> None:
        axis = Axis(_integer("n", 1, 4))
        assert [axis.at((i + 0.5) / 8) for i in range(8)] == [1, 1, 2, 2, 3, 3, 4, 4]

    def test_discrete_values_are_equally_likely_and_lie_where_they_are(self) -> None:
        axis = Axis(_discrete("d", 1.0, 2.0, 5.0))
        assert [axis.at(share) for share in (0.1, 0.5, 0.9, 1.0)] == [1.0, 2.0, 5.0, 5.0]
        assert [axis.place(value) for value in (1.0, 2.0, 5.0)] == [0.0, 0.25, 1.0]

    def test_values_from_elsewhere_have_a_place_outside(self) -> None:
        axis = Axis(_double("x", 1.0, 2.0))
        assert axis.place(0.5) == -0.5
        assert axis.place(1e300) == 2.0
        assert axis.place(math.nan) == 0.5
        assert Axis(_choice("c", "a")).place("z") == -1

    @pytest.mark.parametrize("scale", [Scale.LOG, Scale.REVERSE_LOG])
    def test_nor_does_a_range_of_six_hundred_decades(self, scale: Scale) -> None:
        axis = Axis(_double("x", 1e-300, 1e300, scale=scale))
        ends = (1e-300, 1e300)
        assert (axis.at(0.0), axis.at(1.0)) == pytest.approx(ends, rel=1e-9)
        middle = 1.0 if scale is Scale.LOG else 1e300
        assert axis.at(0.5) == pytest.approx(middle)
        value = 1e-150 if scale is Scale.LOG else 1e300 - 1e290
        assert axis.at(axis.place(value)) == pytest.approx(value, rel=1e-9)
        assert axis.place(value) == pytest.approx(0.25 if scale is Scale.LOG else 1 / 60, rel=1e-5)

    def test_a_value_from_elsewhere_may_be_any_number_of_decades_away(self) -> None:
        assert Axis(_double("x", 1e300, 1e301, scale=Scale.LOG)).place(1e-300) == -1.0

    def test_a_range_of_all_floats_does_not_overflow(self) -> None:
        axis = Axis(_double("x", -1.7e308, 1.7e308))
        assert axis.at(0.5) == 0.0
        assert axis.place(0.0) == 0.5


class TestProperties:
    @given(spaces(), st.integers(0, 2**32))
    def test_what_is_drawn_is_contained_and_comes_back_from_its_places(
        self, space: Space, seed: int
    ) -> None:
        point = space.sample(random.Random(seed))
        space.check(point)
        space.check(space.centre())
        places = space.places(point)
        assert all(math.isnan(place) or place >= 0 for place in places)
        back = space.nearest(places)
        assert list(back) == list(point)
        for axis in space.axes:
            if axis.name in point and axis.count is None:
                assert back[axis.name] == pytest.approx(point[axis.name], rel=1e-6, abs=1e-6)
            else:
                assert back.get(axis.name) == point.get(axis.name)

    @given(spaces(finite=True))
    def test_a_finite_space_lists_what_it_counts_once(self, space: Space) -> None:
        assert space.size is not None
        if space.size > 2000:
            return
        keys = []
        for point in space.points():
            space.check(point)
            keys.append(space.key(point))
        assert len(keys) == len(set(keys)) == space.size

    @given(problems(), st.data())
    def test_any_number_in_the_cube_is_a_point(self, problem: Any, data: Any) -> None:
        space = Space(problem.parameters)
        unit = st.floats(0, 1, allow_nan=False)
        shares = data.draw(st.lists(unit, min_size=len(space), max_size=len(space)))
        space.check(space.at(shares))
