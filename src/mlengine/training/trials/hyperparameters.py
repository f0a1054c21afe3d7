"""What a tuning job asks for: `trainingInput.hyperparameters`, read and checked.

The specification travels as the JSON that its user wrote; this is the only place that takes it
apart. A parameter becomes a flag of the trainer, ``--NAME=VALUE``, spelled as the service spelled
it: names verbatim, integers without a decimal point, floats in full.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence

from mlengine.core import wire
from mlengine.core.errors import InvalidArgument, did_you_mean
from mlengine.core.resources import Job, Resource, TrainingInput
from mlengine.training.metrics import DEFAULT_TAG
from mlengine.tuning.axis import LARGEST_INTEGER
from mlengine.tuning.configs import ALGORITHMS
from mlengine.tuning.problem import Kind, Point, Value

__all__ = [
    "HyperparameterSpec",
    "ParameterSpec",
    "check_hyperparameters",
    "flags",
    "hyperparameters_of",
    "is_tuning",
    "stopping_rule",
    "texts",
]

MAX_PARAMETERS = 16
MAX_VALUES = 1000
MAX_TRIALS = 10_000
_AT = "training_input.hyperparameters"
_NAME = re.compile(r"[A-Za-z_][\w.\-]{0,127}", re.ASCII)
_GOALS = ("MAXIMIZE", "MINIMIZE")
_SCALES = ("", "NONE", "UNIT_LINEAR_SCALE", "UNIT_LOG_SCALE", "UNIT_REVERSE_LOG_SCALE")
_LOG_SCALES = _SCALES[3:]
_OURS = frozenset({"job-dir", "job_dir"})


class ParameterSpec(Resource):
    """One parameter of a tuning job; what it may be depends on its type."""

    parameter_name: str = ""
    type: str = ""
    min_value: float | None = None
    max_value: float | None = None
    categorical_values: list[str] = []
    discrete_values: list[float] = []
    scale_type: str = ""

    @property
    def kind(self) -> Kind:
        """Its type, once it was checked."""
        return Kind(self.type)


class HyperparameterSpec(Resource):
    """Makes a training job a tuning job."""

    goal: str = ""
    params: list[ParameterSpec] = []
    max_trials: int | None = None
    max_parallel_trials: int | None = None
    max_failed_trials: int = 0
    hyperparameter_metric_tag: str = ""
    enable_trial_early_stopping: bool = False
    resume_previous_job_id: str = ""
    algorithm: str = ""

    @property
    def tag(self) -> str:
        """Name of the objective."""
        return self.hyperparameter_metric_tag or DEFAULT_TAG

    @property
    def trials(self) -> int:
        """How many trials there will be; 1 if that is not said."""
        return self.max_trials or 1

    @property
    def parallel(self) -> int:
        """How many of them run at one time; 1 if that is not said."""
        return self.max_parallel_trials or 1

    @property
    def maximize(self) -> bool:
        """Whether more is better, which is so unless it is said."""
        return self.goal != "MINIMIZE"


def is_tuning(job: Job) -> bool:
    """Tell whether a job, as a user submitted it, is a tuning job."""
    return job.training_input is not None and job.training_input.hyperparameters is not None


def hyperparameters_of(spec: TrainingInput) -> HyperparameterSpec:
    """Return what a training input asks to be tuned.

    Raises:
        InvalidArgument: A field that there is not, or a value of the wrong type.

    Example:
        >>> asked = TrainingInput(hyperparameters={"maxTrials": 20, "maxParallelTrials": 2})
        >>> hyperparameters_of(asked).parallel
        2
    """
    return wire.decode(HyperparameterSpec, spec.hyperparameters or {}, at=_AT)


def stopping_rule(job: Job) -> str:
    """Return the name of the rule that stops a job's trials early; empty without one.

    Example:
        >>> spec = TrainingInput(hyperparameters={"enableTrialEarlyStopping": True})
        >>> stopping_rule(Job(training_input=spec))
        'median'
    """
    if job.options is not None and job.options.trial_early_stopping:
        return job.options.trial_early_stopping
    asked = hyperparameters_of(job.training_input or TrainingInput())
    return "median" if asked.enable_trial_early_stopping else ""


def check_hyperparameters(spec: TrainingInput) -> HyperparameterSpec:
    """Check everything about a tuning job that needs no look at other jobs.

    Raises:
        InvalidArgument: The message names the field and what to write instead.
    """
    asked = hyperparameters_of(spec)
    _check_word("goal", asked.goal, _GOALS, also=("GOAL_TYPE_UNSPECIFIED",))
    _check_word("algorithm", asked.algorithm, ALGORITHMS)
    _check_counts(asked)
    if not asked.params:
        raise _bad("params", "There is no parameter to tune.", "Name at least one in 'params'.")
    if len(asked.params) > MAX_PARAMETERS:
        raise _bad("params", f"{len(asked.params)} parameters are too many.",
                   f"Use at most {MAX_PARAMETERS}.")  # fmt: skip
    names: set[str] = set()
    for index, parameter in enumerate(asked.params):
        at = f"params[{index}]"
        _check_name(parameter.parameter_name, at)
        if parameter.parameter_name in names:
            raise _bad(f"{at}.parameter_name", f"{parameter.parameter_name!r} is there twice.",
                       "Give each parameter a name of its own.")  # fmt: skip
        names.add(parameter.parameter_name)
        _check_parameter(parameter, at)
        if asked.algorithm == "GRID_SEARCH" and parameter.type == Kind.DOUBLE:
            raise _bad(f"{at}.type", f"GRID_SEARCH cannot try every DOUBLE that "
                       f"{parameter.parameter_name!r} may be.",
                       "Make it DISCRETE or INTEGER, or leave 'algorithm' out.")  # fmt: skip
    return asked


def texts(asked: HyperparameterSpec, point: Mapping[str, Value]) -> dict[str, str]:
    """Return a point as the trainer and the API see it: every value a text.

    Example:
        >>> rate = ParameterSpec(parameter_name="rate", type="DOUBLE")
        >>> size = ParameterSpec(parameter_name="size", type="DISCRETE")
        >>> texts(HyperparameterSpec(params=[rate, size]), {"rate": 1.0, "size": 64.0})
        {'rate': '1.0', 'size': '64'}
    """
    kinds = {p.parameter_name: p.type for p in asked.params}
    return {name: _text(kinds.get(name, ""), value) for name, value in point.items()}


def flags(asked: HyperparameterSpec, point: Point) -> list[str]:
    """Return the arguments that hand a point to the trainer, in the order of the parameters."""
    found = texts(asked, point)
    names = [p.parameter_name for p in asked.params]
    return [f"--{name}={found[name]}" for name in names if name in found]


# --- checks -------------------------------------------------------------------------------------


def _check_word(attribute: str, given: str, known: Sequence[str], also: Sequence[str] = ()) -> None:
    if given and given not in known and given not in also:
        hint = did_you_mean(given, known)
        raise _bad(attribute, f"{given!r} is no {attribute}.",
                   f"{hint}Use one of: {', '.join(known)}.")  # fmt: skip


def _check_counts(asked: HyperparameterSpec) -> None:
    if asked.max_trials is not None and not 1 <= asked.max_trials <= MAX_TRIALS:
        raise _bad("max_trials", f"maxTrials is {asked.max_trials}.", f"Use 1 to {MAX_TRIALS}.")
    parallel = asked.max_parallel_trials
    if parallel is not None and not 1 <= parallel <= asked.trials:
        of, remedy = f"maxTrials is {asked.trials}", f"Use 1 to {asked.trials}."
        if asked.max_trials is None:
            of, remedy = "maxTrials is not set, so 1", "Set it, or leave maxParallelTrials out."
        problem = f"maxParallelTrials is {parallel}, {of}."
        raise _bad("max_parallel_trials", problem, remedy)
    if asked.max_failed_trials < 0:
        raise _bad("max_failed_trials", f"maxFailedTrials is {asked.max_failed_trials}.",
                   "Use a positive number, or leave it out.")  # fmt: skip


def _check_name(name: str, at: str) -> None:
    if not _NAME.fullmatch(name):
        raise _bad(f"{at}.parameter_name", f"{name!r} cannot be the name of a flag.",
                   "Use letters, digits, '-', '_' and '.'; begin with a letter.")  # fmt: skip
    if name in _OURS:
        raise _bad(f"{at}.parameter_name", f"--{name} is given to every trial already.",
                   "Call the parameter something else.")  # fmt: skip


def _check_parameter(parameter: ParameterSpec, at: str) -> None:
    kinds = [str(kind) for kind in Kind]
    if parameter.type not in kinds:
        hint = did_you_mean(parameter.type, kinds)
        raise _bad(f"{at}.type", f"{parameter.type!r} is no type of a parameter.",
                   f"{hint}Use one of: {', '.join(kinds)}.")  # fmt: skip
    if parameter.scale_type not in _SCALES:
        hint = did_you_mean(parameter.scale_type, _SCALES)
        raise _bad(f"{at}.scale_type", f"{parameter.scale_type!r} is no scale.",
                   f"{hint}Use one of: {', '.join(filter(None, _SCALES))}.")  # fmt: skip
    if parameter.kind in (Kind.DOUBLE, Kind.INTEGER):
        _check_range(parameter, at)
    elif parameter.kind is Kind.CATEGORICAL:
        _check_categories(parameter, at)
    else:
        _check_points(parameter, at)


def _check_range(parameter: ParameterSpec, at: str) -> None:
    name, low, high = parameter.parameter_name, parameter.min_value, parameter.max_value
    for attribute, bound in (("min_value", low), ("max_value", high)):
        if bound is None:
            raise _bad(f"{at}.{attribute}", f"{name!r} has no {wire.camel(attribute)}.",
                       f"A parameter of type {parameter.type} needs both bounds.")  # fmt: skip
        if not math.isfinite(bound):
            raise _bad(f"{at}.{attribute}", f"{bound!r} is no bound.", "Use a number.")
        if parameter.kind is Kind.INTEGER and not bound.is_integer():
            raise _bad(f"{at}.{attribute}", f"{bound!r} is not an integer.",
                       "Use whole numbers, or the type DOUBLE.")  # fmt: skip
        if parameter.kind is Kind.INTEGER and abs(bound) > LARGEST_INTEGER:
            raise _bad(f"{at}.{attribute}", f"{bound:.0f} is too far from 0 for an INTEGER.",
                       "Use numbers between -2^53 and 2^53, or the type DOUBLE.")  # fmt: skip
    assert low is not None and high is not None
    if low > high:
        raise _bad(f"{at}.min_value", f"minValue {low:g} of {name!r} is above maxValue {high:g}.",
                   "Exchange them.")  # fmt: skip
    _check_scale(parameter, at, low)
    if parameter.categorical_values or parameter.discrete_values:
        raise _bad(f"{at}.type", f"{name!r} has values, but its type is {parameter.type}.",
                   "Make it CATEGORICAL or DISCRETE, or leave them out.")  # fmt: skip


def _check_categories(parameter: ParameterSpec, at: str) -> None:
    values = parameter.categorical_values
    where = f"{at}.categorical_values"
    if not values:
        raise _bad(where, f"{parameter.parameter_name!r} has no values.", "Name at least one.")
    if len(values) > MAX_VALUES:
        raise _bad(where, f"{len(values)} values are too many.", f"Use at most {MAX_VALUES}.")
    twice = sorted({value for value in values if values.count(value) > 1})
    if twice:
        raise _bad(where, f"{twice[0]!r} is there twice.", "Name each value once.")
    if any("\0" in value for value in values):
        raise _bad(where, "A value holds a NUL character.", "Remove it.")
    if parameter.scale_type not in ("", "NONE"):
        raise _bad(f"{at}.scale_type", "A CATEGORICAL parameter has no scale.", "Leave it out.")


def _check_points(parameter: ParameterSpec, at: str) -> None:
    values = parameter.discrete_values
    where = f"{at}.discrete_values"
    if not values:
        raise _bad(where, f"{parameter.parameter_name!r} has no values.", "Name at least one.")
    if len(values) > MAX_VALUES:
        raise _bad(where, f"{len(values)} values are too many.", f"Use at most {MAX_VALUES}.")
    if not all(math.isfinite(value) for value in values):
        raise _bad(where, "A value is not finite.", "Use numbers.")
    for before, after in itertools.pairwise(values):
        if after <= before:
            raise _bad(where, f"{after:g} follows {before:g}.", "Write them in increasing order.")
    _check_scale(parameter, at, values[0])


def _check_scale(parameter: ParameterSpec, at: str, low: float) -> None:
    if parameter.scale_type in _LOG_SCALES and low <= 0:
        raise _bad(f"{at}.scale_type", f"{parameter.scale_type} has no place for {low:g}, the "
                   f"smallest value of {parameter.parameter_name!r}.",
                   "Use values above 0, or UNIT_LINEAR_SCALE.")  # fmt: skip


def _bad(attribute: str, problem: str, remedy: str) -> InvalidArgument:
    return InvalidArgument(problem, remedy, field=f"{_AT}.{attribute}")


# --- values -------------------------------------------------------------------------------------


def _text(kind: str, value: Value) -> str:
    if isinstance(value, str):
        return value
    if kind == Kind.INTEGER or (kind == Kind.DISCRETE and float(value).is_integer()):
        return str(int(value))
    return repr(float(value))
