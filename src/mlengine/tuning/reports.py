"""What clients say of trials ⇄ values: parameters, measurements, results."""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterable, Sequence

from mlengine.core.errors import FailedPrecondition, InvalidArgument, did_you_mean
from mlengine.core.states import TrialState
from mlengine.core.studies import Measurement, MetricValue, Trial, TrialDetails, TrialParameter
from mlengine.store import TrialRecord
from mlengine.tuning.problem import Kind, Point, Problem, Tried, Value
from mlengine.tuning.search import Suggestion
from mlengine.tuning.space import Space
from mlengine.tuning.stopping import Curve, Reading

__all__ = [
    "best_of",
    "check_measurement",
    "check_parameters",
    "chosen_final",
    "curve_of",
    "elapsed",
    "finals",
    "parameters_of",
    "point_of",
    "suggested",
    "tried",
    "usable",
]

_FIELDS = {
    Kind.DOUBLE: "float_value",
    Kind.DISCRETE: "float_value",
    Kind.INTEGER: "int_value",
    Kind.CATEGORICAL: "string_value",
}
_VALUES = ("float_value", "int_value", "string_value")


def point_of(trial: Trial) -> Point:
    """Return what a trial tries.

    Example:
        >>> point_of(Trial(parameters=[TrialParameter(parameter="size", int_value=3)]))
        {'size': 3}
    """
    found: Point = {}
    for parameter in trial.parameters:
        values: list[Value | None] = [getattr(parameter, name) for name in _VALUES]
        found[parameter.parameter] = next(value for value in values if value is not None)
    return found


def parameters_of(point: Point) -> list[TrialParameter]:
    """Write a point as a trial's parameters.

    Example:
        >>> parameters_of({"size": 3})[0].int_value
        3
    """
    found = []
    for name, value in point.items():
        if isinstance(value, str):
            found.append(TrialParameter(parameter=name, string_value=value))
        elif isinstance(value, int):
            found.append(TrialParameter(parameter=name, int_value=value))
        else:
            found.append(TrialParameter(parameter=name, float_value=value))
    return found


def check_parameters(problem: Problem, trial: Trial) -> None:
    """Raise `InvalidArgument`, naming field and value, unless a study can have this trial."""
    space, at = Space(problem.parameters), "trial.parameters"
    names: set[str] = set()
    for i, parameter in enumerate(trial.parameters):
        name, here = parameter.parameter, f"{at}[{i}]"
        given = [field for field in _VALUES if getattr(parameter, field) is not None]
        kinds = [spec.kind for spec in problem.parameters if spec.name == name]
        if not kinds:
            known = [spec.name for spec in problem.parameters]
            raise InvalidArgument(
                f"The study has no parameter {name[:64]!r}.",
                f"{did_you_mean(name, known)}It has {', '.join(known)}.",
                field=f"{here}.parameter",
            )
        if len(given) != 1 or given[0] not in [_FIELDS[kind] for kind in kinds]:
            wanted = " or ".join(sorted({_FIELDS[kind] for kind in kinds}))
            raise InvalidArgument(
                f"The parameter '{name}' has {' and '.join(given) or 'no value'}.",
                f"It is {kinds[0]}: set {wanted} alone.",
                field=here,
            )
        if name in names:
            raise InvalidArgument(f"The parameter '{name}' is there twice.", field=here)
        names.add(name)
    try:
        space.check(point_of(trial))
    except InvalidArgument as error:
        raise InvalidArgument(error.problem, error.remedy, field=at) from None


def check_measurement(problem: Problem, measurement: Measurement, at: str) -> None:
    """Raise `InvalidArgument`, naming field and value, unless this can be measured of a study."""
    if measurement.step_count < 0:
        raise InvalidArgument(
            f"The step count {measurement.step_count} is negative.",
            "Steps count from 0.",
            field=f"{at}.step_count",
        )
    known = [metric.name for metric in problem.metrics]
    names: set[str] = set()
    for i, metric in enumerate(measurement.metrics):
        here = f"{at}.metrics[{i}]"
        if metric.metric not in known:
            raise InvalidArgument(
                f"The study has no metric {metric.metric[:64]!r}.",
                f"{did_you_mean(metric.metric, known)}It has {', '.join(known)}.",
                field=f"{here}.metric",
            )
        if metric.metric in names or metric.value is None:
            raise InvalidArgument(
                f"The metric '{metric.metric}' has no value, or two.",
                "Send one; a number, or NaN as a string.",
                field=f"{here}.value",
            )
        names.add(metric.metric)
    if not names:
        raise InvalidArgument("Nothing was measured.", "Send a metric.", field=f"{at}.metrics")


def finals(problem: Problem, measurement: Measurement, *, at: str = "") -> tuple[float, ...] | None:
    """Return the value of each metric in the problem's order; None if one is no finite number.

    Raises:
        InvalidArgument: With `at`, a metric is missing.
    """
    found = {metric.metric: metric.value for metric in measurement.metrics}
    missing = [metric.name for metric in problem.metrics if found.get(metric.name) is None]
    if missing and at:
        raise InvalidArgument(
            f"The final measurement lacks the metric '{missing[0]}'.",
            "Send every metric of the study, or say that the trial is infeasible.",
            field=f"{at}.metrics",
        )
    values = tuple(found.get(metric.name) for metric in problem.metrics)
    usable = [value for value in values if value is not None and math.isfinite(value)]
    return tuple(usable) if len(usable) == len(problem.metrics) else None


def chosen_final(problem: Problem, measurements: Sequence[Measurement]) -> Measurement:
    """Return the last measurement that has every metric.

    Raises:
        FailedPrecondition: There is none.
    """
    for measurement in reversed(measurements):
        if finals(problem, measurement) is not None:
            return measurement
    raise FailedPrecondition(
        "Nothing was measured of the trial that could be its final measurement.",
        "Send a finalMeasurement, or say that the trial is infeasible.",
        field="final_measurement",
    )


def tried(problem: Problem, record: TrialRecord) -> Tried:
    """Return a trial as a search sees it."""
    trial, values = record.trial, None
    is_over = record.state is TrialState.COMPLETED
    if is_over and trial.final_measurement is not None and not trial.trial_infeasible:
        values = finals(problem, trial.final_measurement)
    infeasible = is_over and values is None
    return Tried(number=record.number, point=point_of(trial), values=values, infeasible=infeasible)


def suggested(suggestion: Suggestion, *, seen: int) -> Trial:
    """Write a suggestion as a trial, with what there is to say of where it comes from."""
    details = TrialDetails(
        origin=str(suggestion.how),
        mean=suggestion.mean,
        spread=suggestion.spread,
        why=suggestion.why,
        seen=seen,
    )
    return Trial(parameters=parameters_of(suggestion.point), details=details)


def elapsed(record: TrialRecord, now: datetime.datetime) -> str:
    """Return how long a trial has run, as the API writes it; empty of one that never did."""
    if not record.trial.start_time:
        return ""
    started = datetime.datetime.fromisoformat(record.trial.start_time)
    return f"{max((now - started).total_seconds(), 0.0):.6f}s"


def usable(measurement: Measurement) -> list[MetricValue]:
    """Return the metrics that are numbers: what is NaN or infinite was not reported."""
    return [m for m in measurement.metrics if m.value is not None and math.isfinite(m.value)]


def curve_of(record: TrialRecord, measured: Sequence[Measurement], metric: str) -> Curve:
    """Return what was measured of a trial as a stopping rule sees it.

    Measurements without steps are counted, from 0: trials are compared at as many of them. What is
    not finite was not reported.
    """
    told = [
        (point, value.value)
        for point in measured
        for value in usable(point)
        if value.metric == metric and value.value is not None
    ]
    has_steps = any(point.step_count for point, _value in told)
    readings = [
        Reading(
            value=value,
            step=point.step_count if has_steps else number,
            elapsed_s=float(point.elapsed_time.removesuffix("s")),
        )
        for number, (point, value) in enumerate(told)
    ]
    ended = record.state is TrialState.COMPLETED
    return Curve(number=record.number, readings=tuple(readings), ended=ended)


def best_of(problem: Problem, history: Iterable[Tried]) -> set[int]:
    """Return the numbers of the trials that no other beats in every metric.

    For one metric those are the best and what is as good; for several the Pareto front.
    """
    signs = [1.0 if metric.goal == "MAXIMIZE" else -1.0 for metric in problem.metrics]
    ended = [
        (t.number, [s * v for s, v in zip(signs, t.values, strict=True)])
        for t in history
        if t.values is not None
    ]
    # From the best in the first metric down: who is beaten is beaten by one that came before.
    ended.sort(key=lambda pair: pair[1], reverse=True)
    front: list[tuple[int, list[float]]] = []
    for number, values in ended:
        if not any(_beats(other, values) for _number, other in front):
            front.append((number, values))
    return {number for number, _values in front}


def _beats(one: Sequence[float], other: Sequence[float]) -> bool:
    pairs = list(zip(one, other, strict=True))
    return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)
