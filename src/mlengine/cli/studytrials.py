"""Trials of studies as words and tables: ``x=0.5`` ⇄ a parameter, a metric."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import click

from mlengine.core.names import check_trial_id
from mlengine.core.resources import Operation
from mlengine.core.studies import (
    Measurement,
    MetricValue,
    StudyConfig,
    StudyParameter,
    Trial,
    TrialParameter,
)
from mlengine.core.wire import decode_answer, encode

__all__ = [
    "TRIALS_FORMAT",
    "location",
    "measurement_of",
    "parameters_of",
    "rows",
    "trial_id",
    "trials_in",
]

TRIALS_FORMAT = (
    "table(name.basename():label=TRIAL, state:label=STATE, clientId:label=CLIENT:optional, "
    "point:label=PARAMETERS, result:label=RESULT, details.origin:label=ORIGIN:optional)"
)

location = click.option(
    "--location", "--region", "location", default="local", show_default=True,
    help="Where the study lies.",
)  # fmt: skip


def rows(trials: Iterable[Trial], *, plain: bool) -> Iterator[dict[str, Any]]:
    """Write trials as rows; unless `plain`, with a column for the point and one for the result."""
    for trial in trials:
        row = encode(trial)
        if not plain:
            row["point"] = ", ".join(map(_parameter, trial.parameters))
            row["result"] = _result(trial)
        yield row


def trials_in(operation: Operation) -> list[Trial]:
    """Return the trials that an operation ended with."""
    found = (operation.response or {}).get("trials", ())
    return [decode_answer(Trial, trial, at="trial") for trial in found]


def parameters_of(config: StudyConfig | None, words: Iterable[str]) -> list[TrialParameter]:
    """Read ``NAME=VALUE`` by the types that a study gives its parameters."""
    pairs, specs = list(map(_pair, words)), config.parameters if config else ()
    # Of one name there may be several, below different values of a parent.
    kinds = {spec.parameter: spec.type for spec in _flat(specs)} | _active(specs, dict(pairs))
    found = []
    for name, value in pairs:
        kind = kinds.get(name, "")
        try:
            if kind == "INTEGER":
                found.append(TrialParameter(parameter=name, int_value=int(value)))
            elif kind in ("DOUBLE", "DISCRETE"):
                found.append(TrialParameter(parameter=name, float_value=float(value)))
            else:
                found.append(TrialParameter(parameter=name, string_value=value))
        except ValueError:
            raise click.UsageError(
                f"argument --param: {name} is {kind}, and {value!r} is not."
            ) from None
    return found


def measurement_of(words: Iterable[str], *, step: int = 0) -> Measurement | None:
    """Read ``METRIC=VALUE``; None if there is none."""
    metrics = []
    for name, value in map(_pair, words):
        try:
            metrics.append(MetricValue(metric=name, value=float(value)))
        except ValueError:
            raise click.UsageError(
                f"argument --metric: {value!r} is not a number, such as {name}=0.5."
            ) from None
    return Measurement(step_count=step, metrics=metrics) if metrics else None


def trial_id(text: str) -> str:
    """Accept a trial's number, or the full name that other commands print."""
    number = text.rpartition("/trials/")[2]
    check_trial_id(number, field="trial")
    return number


def _flat(parameters: Iterable[StudyParameter]) -> Iterator[StudyParameter]:
    for spec in parameters:
        yield spec
        yield from _flat(spec.child_parameter_specs)


def _active(specs: Iterable[StudyParameter], given: Mapping[str, str]) -> dict[str, str]:
    """Return the types of the parameters that a point, as words, has: their parents say so."""
    found = {}
    for spec in specs:
        found[spec.parameter] = spec.type
        value = given.get(spec.parameter, "")
        below = [child for child in spec.child_parameter_specs if _is_below(child, value)]
        found |= _active(below, given)
    return found


def _is_below(child: StudyParameter, value: str) -> bool:
    if child.parent_categorical_values is not None:
        return value in child.parent_categorical_values.values
    numbers = child.parent_int_values or child.parent_discrete_values
    try:
        return numbers is not None and float(value) in numbers.values
    except ValueError:
        return False


def _pair(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals or not name:
        raise click.UsageError(f"{word!r} is not NAME=VALUE.")
    return name, value


def _parameter(parameter: TrialParameter) -> str:
    values = (parameter.float_value, parameter.int_value, parameter.string_value)
    value = next((value for value in values if value is not None), "")
    return (
        f"{parameter.parameter}={value:.6g}"
        if isinstance(value, float)
        else (f"{parameter.parameter}={value}")
    )


def _result(trial: Trial) -> str:
    if trial.trial_infeasible:
        return f"infeasible: {trial.infeasible_reason}" if trial.infeasible_reason else "infeasible"
    final = trial.final_measurement
    return ", ".join(f"{m.metric}={m.value:.6g}" for m in (final.metrics if final else ())
                     if m.value is not None)  # fmt: skip
