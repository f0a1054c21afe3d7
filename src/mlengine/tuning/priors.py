"""Studies that another one begins with (`priorStudies`): it learns from their trials too.

They are read whenever something is to be suggested, so what is measured there meanwhile counts
here; one that was deleted says nothing any more. How much a trial of theirs says in a space that
is not quite its own is `warmstart`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from mlengine.core.errors import InvalidArgument, NotFound
from mlengine.core.names import check_study_id
from mlengine.core.studies import StudyConfig
from mlengine.store import StudyRecord
from mlengine.tuning.books import Book
from mlengine.tuning.configs import algorithm_of, problem_of
from mlengine.tuning.problem import Kind, Problem, Tried
from mlengine.tuning.search import DEFAULT
from mlengine.tuning.warmstart import Earlier, carried

__all__ = ["check_priors", "learnt"]

_MOST = 16  # each is read at every suggestion, and kept in memory meanwhile (`books`)


def check_priors(config: StudyConfig, find: Callable[[str], StudyRecord]) -> None:
    """Raise `InvalidArgument`, naming the field, unless a study can learn from those it names.

    Args:
        config: What was asked for; its other fields are known to make sense.
        find: Returns a study of the same project and location, or raises `NotFound`.
    """
    at = "study.study_config.prior_studies"
    if config.prior_studies and algorithm_of(config) != DEFAULT:
        raise InvalidArgument(
            f"{config.algorithm} does not learn from other studies.",
            "Leave the algorithm out, for Bayesian optimisation, or priorStudies.",
            field=at,
        )
    if config.prior_studies and len(config.metrics) > 1:
        raise InvalidArgument(
            f"Only a study of one metric learns from others, and this has {len(config.metrics)}.",
            "Leave priorStudies out, or measure one.",
            field=at,
        )
    if len(config.prior_studies) > _MOST:
        raise InvalidArgument(
            f"A study learns from {_MOST} others at most, and this names "
            f"{len(config.prior_studies)}.",
            "Name those whose spaces are nearest to its own.",
            field=at,
        )
    for i, study_id in enumerate(config.prior_studies):
        if "/" in study_id:
            raise InvalidArgument(
                f"'{study_id}' is not the id of a study.",
                f"Name one of the same project and location by its id, as "
                f"'{study_id.rpartition('/')[2]}'.",
                field=f"{at}[{i}]",
            )
        check_study_id(study_id, field=f"{at}[{i}]")
        try:
            prior = find(study_id)
        except NotFound as error:
            raise InvalidArgument(error.problem, error.remedy, field=f"{at}[{i}]") from None
        if study_id in config.prior_studies[:i]:
            raise InvalidArgument(
                f"The study '{study_id}' is named twice.", "Name it once.", field=f"{at}[{i}]"
            )
        _check(problem_of(config, uid=""), prior, f"{at}[{i}]")


def learnt(book: Book, priors: Sequence[Book]) -> list[Tried]:
    """Return what a study may know of others, numbered up to 0: before all trials of its own."""
    problem = book.problem
    earlier = [
        Earlier(parameters=prior.problem.parameters, trials=list(prior.trials.values()))
        for prior in priors
        if prior.problem.metrics == problem.metrics  # another may have come under its name
    ]
    found = carried(problem, earlier, list(book.trials.values()))
    first = 1 - len(found)
    return [msgspec.structs.replace(t, number=n) for n, t in enumerate(found, first)]


def _check(problem: Problem, prior: StudyRecord, at: str) -> None:
    if prior.owner:
        raise InvalidArgument(
            f"The study '{prior.study_id}' belongs to a tuning job.",
            "Another tuning job can go on with it, by resumePreviousJobId.",
            field=at,
        )
    before = problem_of(prior.study.study_config or StudyConfig(), uid="")
    if before.metrics != problem.metrics:
        had, wanted = _metrics(before), _metrics(problem)
        raise InvalidArgument(
            f"The objective of '{prior.study_id}' is {had}, not {wanted}.",
            "Name studies of the same metric and goal.",
            field=at,
        )
    known, here = _kinds(before), _kinds(problem)
    shared = known.keys() & here.keys()
    if not shared:
        raise InvalidArgument(
            f"'{prior.study_id}' has the parameters {', '.join(known)}, of which there is none "
            "here.",
            "Leave it out: nothing that was learned there says anything here.",
            field=at,
        )
    for name in sorted(shared):
        if {k is Kind.CATEGORICAL for k in known[name]}.isdisjoint(
            {k is Kind.CATEGORICAL for k in here[name]}
        ):
            raise InvalidArgument(
                f"{name!r} is {' and '.join(known[name])} in '{prior.study_id}' and "
                f"{' and '.join(here[name])} here.",
                "Keep numbers numbers and categories categories, or give it another name.",
                field=at,
            )


def _kinds(problem: Problem) -> dict[str, list[Kind]]:
    found: dict[str, list[Kind]] = {}
    for parameter in problem.parameters:
        kinds = found.setdefault(parameter.name, [])
        if parameter.kind not in kinds:
            kinds.append(parameter.kind)
    return found


def _metrics(problem: Problem) -> str:
    return " and ".join(f"{metric.goal} {metric.name}" for metric in problem.metrics)
