"""A study's configuration as ml.v1 writes it ⇄ the problem that a search sees.

Every field is honoured or refused here, by its name and with the value that offends.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Iterator, Sequence
from typing import TypeVar

from mlengine.core.errors import InvalidArgument, did_you_mean
from mlengine.core.studies import StudyConfig, StudyParameter
from mlengine.tuning.problem import Goal, Kind, Metric, Parameter, Problem, Scale, Value
from mlengine.tuning.search.needs import PLUGGED, SINGLE_METRIC, check_needs
from mlengine.tuning.space import Space

__all__ = ["ALGORITHMS", "algorithm_of", "check_config", "policy_of", "problem_of"]

_AT = "study.study_config"
_SEARCHES = {
    "": "bayesian",
    "ALGORITHM_UNSPECIFIED": "bayesian",
    "GAUSSIAN_PROCESS_BANDIT": "bayesian",
    "GRID_SEARCH": "grid",
    "RANDOM_SEARCH": "random",
    "QUASI_RANDOM_SEARCH": "quasi-random",
    **{name: name for name in PLUGGED},
}
ALGORITHMS = tuple(filter(None, _SEARCHES))
"""What a study may ask for, and a tuning job: Google's names, then this engine's own."""

_SCALES = {
    "": Scale.LINEAR,
    "SCALE_TYPE_UNSPECIFIED": Scale.LINEAR,
    "UNIT_LINEAR_SCALE": Scale.LINEAR,
    "UNIT_LOG_SCALE": Scale.LOG,
    "UNIT_REVERSE_LOG_SCALE": Scale.REVERSE_LOG,
}
_SPECS = {
    Kind.DOUBLE: "double_value_spec",
    Kind.INTEGER: "integer_value_spec",
    Kind.CATEGORICAL: "categorical_value_spec",
    Kind.DISCRETE: "discrete_value_spec",
}
_PARENTS = {
    Kind.INTEGER: "parent_int_values",
    Kind.CATEGORICAL: "parent_categorical_values",
    Kind.DISCRETE: "parent_discrete_values",
}
_DEEPEST = 20
"""Children of children: more is a mistake, and each level is a call of ours."""

E = TypeVar("E", bound=enum.StrEnum)


def check_config(config: StudyConfig | None) -> None:
    """Raise unless a study can have this.

    Raises:
        InvalidArgument: It names field and value.
        FailedPrecondition: Its search needs a library that is not installed here.
    """
    if config is None:
        raise InvalidArgument("A study needs a configuration.", "Send it.", field=_AT)
    algorithm = algorithm_of(config)
    problem = problem_of(config, uid="")
    policy_of(config)
    if algorithm in SINGLE_METRIC and len(config.metrics) > 1:
        raise InvalidArgument(
            f"{algorithm} goes by one metric, and the study has {len(config.metrics)}.",
            "Ask for another algorithm, or measure one.",
            field=f"{_AT}.algorithm",
        )
    at = f"{_AT}.parameters"
    try:
        space = Space(problem.parameters)
        if algorithm == "grid":
            space.points()
    except InvalidArgument as error:
        raise InvalidArgument(error.problem, error.remedy, field=at) from None
    instead = ", where the engine runs; or ask for RANDOM_SEARCH, or GRID_SEARCH."
    check_needs(algorithm, instead=instead, field=f"{_AT}.algorithm")


def algorithm_of(config: StudyConfig) -> str:
    """Return the name of the search that a configuration asks for."""
    found = _SEARCHES.get(config.algorithm)
    if found is None:
        raise _unknown(config.algorithm, ALGORITHMS, f"{_AT}.algorithm")
    return found


def policy_of(config: StudyConfig) -> tuple[str, bool] | None:
    """Return the early stopping policy's name and whether it goes by time; None without one."""
    asked, at = config.automated_stopping_config, f"{_AT}.automated_stopping_config"
    if asked is None:
        return None
    rules = {
        "decay-curve": asked.decay_curve_stopping_config,
        "median": asked.median_automated_stopping_config,
        "asha": asked.asha_stopping_config,
    }
    chosen = [(name, rule.use_elapsed_time) for name, rule in rules.items() if rule is not None]
    if len(chosen) > 1:
        raise InvalidArgument(
            f"{len(chosen)} stopping rules are set.", "Set one of them.", field=at
        )
    if chosen and len(config.metrics) > 1:
        raise InvalidArgument(
            f"Early stopping goes by one metric, and the study has {len(config.metrics)}.",
            "Leave it out, or measure one.",
            field=at,
        )
    return chosen[0] if chosen else None


def problem_of(config: StudyConfig, *, uid: str) -> Problem:
    """Return what a search is to solve.

    Args:
        config: What was asked for.
        uid: The study's; all of its randomness follows from it.
    """
    parameters: list[Parameter] = []
    for i, spec in enumerate(config.parameters):
        parameters += _flat(spec, None, f"{_AT}.parameters[{i}]", 0)
    seed = int.from_bytes(hashlib.sha256(uid.encode()).digest()[:4])
    return Problem(parameters=tuple(parameters), metrics=tuple(_metrics(config)), seed=seed)


def _metrics(config: StudyConfig) -> Iterator[Metric]:
    if not config.metrics:
        raise InvalidArgument(
            "A study needs a metric.", "Name one, with its goal.", field=f"{_AT}.metrics"
        )
    names: set[str] = set()
    for i, spec in enumerate(config.metrics):
        at = f"{_AT}.metrics[{i}]"
        if not spec.metric or spec.metric in names:
            raise InvalidArgument(
                f"The metric name {spec.metric[:64]!r} is empty or used twice.",
                "Give each metric a name of its own.",
                field=f"{at}.metric",
            )
        names.add(spec.metric)
        yield Metric(name=spec.metric, goal=_one_of(Goal, spec.goal, f"{at}.goal"))


def _flat(
    spec: StudyParameter, parent: Parameter | None, at: str, depth: int
) -> Iterator[Parameter]:
    """Write a parameter and its children one after another."""
    if depth > _DEEPEST:
        raise InvalidArgument(
            f"Children lie more than {_DEEPEST} levels deep.", "Flatten the space.", field=at
        )
    if not spec.parameter:
        raise InvalidArgument("A parameter has no name.", "Name it.", field=f"{at}.parameter")
    kind = _one_of(Kind, spec.type, f"{at}.type")
    for other, name in _SPECS.items():
        if other is not kind and getattr(spec, name) is not None:
            raise InvalidArgument(
                f"The parameter '{spec.parameter}' is {kind} and has a {name}.",
                f"Set {_SPECS[kind]} alone.",
                field=f"{at}.{name}",
            )
    found = _parameter(spec, kind, parent, at)
    yield found
    for i, child in enumerate(spec.child_parameter_specs):
        yield from _flat(child, found, f"{at}.child_parameter_specs[{i}]", depth + 1)


def _parameter(spec: StudyParameter, kind: Kind, parent: Parameter | None, at: str) -> Parameter:
    if spec.scale_type not in _SCALES:
        raise _unknown(spec.scale_type, list(_SCALES), f"{at}.scale_type")
    low, high, values = _range(spec, kind, f"{at}.{_SPECS[kind]}")
    return Parameter(
        name=spec.parameter,
        kind=kind,
        low=low,
        high=high,
        values=values,
        scale=_SCALES[spec.scale_type],
        parent=parent.name if parent else "",
        when=_when(spec, parent, at),
    )


def _range(spec: StudyParameter, kind: Kind, at: str) -> tuple[float, float, tuple[Value, ...]]:
    if kind is Kind.CATEGORICAL and spec.categorical_value_spec:
        return 0.0, 0.0, tuple(spec.categorical_value_spec.values)
    if kind is Kind.DISCRETE and spec.discrete_value_spec:
        return 0.0, 0.0, tuple(spec.discrete_value_spec.values)
    ends = spec.double_value_spec if kind is Kind.DOUBLE else spec.integer_value_spec
    if ends is None or kind not in (Kind.DOUBLE, Kind.INTEGER):
        raise InvalidArgument(
            f"The parameter '{spec.parameter}' is {kind} and has no values.", "Set them.", field=at
        )
    if ends.min_value is None or ends.max_value is None:
        raise InvalidArgument(
            f"The range of the parameter '{spec.parameter}' has an open end.",
            "Set minValue and maxValue.",
            field=at,
        )
    return ends.min_value, ends.max_value, ()


def _when(spec: StudyParameter, parent: Parameter | None, at: str) -> tuple[Value, ...]:
    wanted = _PARENTS.get(parent.kind) if parent else None
    for name in _PARENTS.values():
        if name != wanted and getattr(spec, name) is not None:
            raise InvalidArgument(
                f"The parameter '{spec.parameter}' names values of a parent of another type.",
                f"Set {wanted} alone." if wanted else "Its parent has none, or there is none.",
                field=f"{at}.{name}",
            )
    matching = getattr(spec, wanted) if wanted else None
    return tuple(matching.values) if matching else ()


def _one_of(kind: type[E], value: str, at: str) -> E:
    if value not in list(kind):
        raise _unknown(value, [str(member) for member in kind], at)
    return kind(value)


def _unknown(value: str, known: Sequence[str], at: str) -> InvalidArgument:
    names = ", ".join(name for name in known if name)
    return InvalidArgument(
        f"{value[:64]!r} is not known.",
        f"{did_you_mean(value, known)}Use one of {names}.",
        field=at,
    )
