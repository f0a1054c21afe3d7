"""Whether a tuning job can be taken on: what its search needs, and the study that it goes on with.

`hyperparameters` checks a specification by itself, which this asks for first; then it looks at the
engine and at other jobs.
"""

from __future__ import annotations

from mlengine.core.errors import InvalidArgument, NotFound
from mlengine.core.resources import Job, TrainingInput
from mlengine.store import Store
from mlengine.training.trials.books import search_of
from mlengine.training.trials.hyperparameters import (
    HyperparameterSpec,
    ParameterSpec,
    check_hyperparameters,
    hyperparameters_of,
    is_tuning,
)
from mlengine.tuning.problem import Kind
from mlengine.tuning.search.needs import check_needs
from mlengine.tuning.stopping import POLICIES

__all__ = ["check_tuning"]

_AT = "training_input.hyperparameters"


def check_tuning(store: Store, project: str, job: Job) -> None:
    """Raise unless a job, if it is a tuning job at all, can look for what it asks.

    Raises:
        FailedPrecondition: Its search needs a library that is not installed here.
        InvalidArgument: Its hyperparameters make no sense, or it is to go on with what is no
            study, still goes on, or has another objective or nothing in common; the message
            names the field.
    """
    _check_stopping(job)
    if not is_tuning(job):
        return
    # First: what follows reads the types and bounds as if they were right.
    asked = check_hyperparameters(job.training_input or TrainingInput())
    check_needs(
        search_of(asked),
        instead=", where the engine runs; or set RANDOM_SEARCH, or GRID_SEARCH.",
        field=f"{_AT}.algorithm",
    )
    if asked.resume_previous_job_id:
        _check_previous(asked, _previous(store, project, asked.resume_previous_job_id))


def _check_stopping(job: Job) -> None:
    rule = job.options.trial_early_stopping if job.options is not None else ""
    if not rule:
        return
    field = "job.options.trial_early_stopping"
    if not is_tuning(job):
        raise InvalidArgument(
            f"{rule!r} stops trials, and this job has none.",
            "Leave it out, or say in 'trainingInput.hyperparameters' what to try.",
            field=field,
        )
    if rule not in POLICIES:
        raise InvalidArgument(
            f"There is no early stopping rule {rule!r}.",
            f"Use one of {', '.join(POLICIES)}.",
            field=field,
        )


def _previous(store: Store, project: str, name: str) -> HyperparameterSpec:
    """Return what an earlier job asked for, which must be over."""
    field = f"{_AT}.resume_previous_job_id"
    try:
        previous = store.job(project, name)
    except NotFound as error:
        raise InvalidArgument(error.problem, error.remedy, field=field) from None
    if not is_tuning(previous.job):
        raise InvalidArgument(f"'{name}' is no tuning job.", "Name one that is.", field=field)
    if not previous.state.terminal:
        raise InvalidArgument(
            f"The job '{name}' is still {previous.state}.",
            "Cancel it, or wait for its end.",
            field=field,
        )
    return hyperparameters_of(previous.job.training_input or TrainingInput())


def _check_previous(asked: HyperparameterSpec, before: HyperparameterSpec) -> None:
    """Refuse an objective that differs, and parameters that have nothing in common."""
    name = asked.resume_previous_job_id
    for field, was, now in [
        ("goal", _goal(before), _goal(asked)),
        ("hyperparameter_metric_tag", before.tag, asked.tag),
    ]:
        if was != now:
            raise InvalidArgument(
                f"The objective of '{name}' is {was}, not {now}.",
                "A study goes on with the objective that it has.",
                field=f"{_AT}.{field}",
            )
    known = {parameter.parameter_name: parameter for parameter in before.params}
    shared = [p for p in asked.params if p.parameter_name in known]
    if not shared:
        raise InvalidArgument(
            f"'{name}' tuned {', '.join(known)}, of which there is none here.",
            "Tune one of them at least, or leave resumePreviousJobId out: nothing that was "
            "learned there says anything here.",
            field=f"{_AT}.params",
        )
    for parameter in shared:
        was_kind = known[parameter.parameter_name].kind
        if _is_text(parameter) != (was_kind is Kind.CATEGORICAL):
            raise InvalidArgument(
                f"{parameter.parameter_name!r} was {was_kind} in '{name}' and is "
                f"{parameter.kind} here.",
                "Keep numbers numbers and categories categories, or give it another name.",
                field=f"{_AT}.params",
            )


def _goal(asked: HyperparameterSpec) -> str:
    return "MAXIMIZE" if asked.maximize else "MINIMIZE"


def _is_text(parameter: ParameterSpec) -> bool:
    return parameter.kind is Kind.CATEGORICAL
