"""`mlengine studies trials`: what was tried, by whom, and what came of it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from mlengine.cli.session import Session, pass_session
from mlengine.cli.studytrials import (
    TRIALS_FORMAT,
    location,
    measurement_of,
    parameters_of,
    rows,
    trial_id,
)
from mlengine.cli.tree import Group, command
from mlengine.cli.waiting import wait_for
from mlengine.core.studies import CompleteTrialRequest, Trial
from mlengine.core.wire import encode

__all__ = ["trials"]

trials = Group("trials", help="Trials: points of a study that were, or are to be, tried.")

_study = click.option("--study", required=True, help="Whose trial it is.")


def _of_study(function: Callable[..., None]) -> Any:
    """Give a command the flags that say which study it is about, and `place` for both."""

    @functools.wraps(function)
    def run(session: Session, /, study: str, location: str, **named: Any) -> None:
        function(session, (session.project, location, study), **named)

    return location(_study(pass_session(run)))


Place = tuple[str, str, str]

_param = click.option("--param", multiple=True, metavar="NAME=VALUE", help="A parameter.")
_metric = click.option("--metric", multiple=True, metavar="NAME=VALUE", help="What was measured.")


@command(trials, "list", form=TRIALS_FORMAT, lists=True)
@_of_study
def list_trials(session: Session, place: Place) -> None:
    """List the trials of a study by number."""
    found = session.engine.list_trials(*place)
    session.show_all(rows(found, plain=not session.has_own_columns))


@command(trials, "describe")
@click.argument("trial")
@_of_study
def describe(session: Session, place: Place, trial: str) -> None:
    """Show everything about TRIAL, a number."""
    session.show(encode(session.engine.get_trial(*place, trial_id(trial))))


@command(trials, "create")
@_param
@_metric
@_of_study
def create(session: Session, place: Place, param: tuple[str, ...], metric: tuple[str, ...]) -> None:
    """Add a trial: to be handed out first or, with --metric, one that was tried elsewhere."""
    config = session.engine.get_study(*place).study_config
    final = measurement_of(metric)
    wanted = Trial(
        state="COMPLETED" if final else "REQUESTED",
        parameters=parameters_of(config, param),
        final_measurement=final,
    )
    session.show(encode(session.engine.create_trial(*place, wanted)))


@command(trials, "measure")
@click.argument("trial")
@click.option("--step", type=click.IntRange(min=0), default=0, help="After how many steps.")
@_metric
@_of_study
def measure(session: Session, place: Place, trial: str, step: int, metric: tuple[str, ...]) -> None:
    """Note what was measured of TRIAL while it runs."""
    measurement = measurement_of(metric, step=step)
    session.engine.add_trial_measurement(*place, trial_id(trial), measurement)


@command(trials, "complete")
@click.argument("trial")
@_metric
@click.option("--step", type=click.IntRange(min=0), help="After how many steps.")
@click.option("--infeasible", metavar="REASON", help="It cannot work; it is not tried again.")
@_of_study
def complete(
    session: Session,
    place: Place,
    trial: str,
    metric: tuple[str, ...],
    step: int | None,
    infeasible: str | None,
) -> None:
    """Enter what came of TRIAL; without --metric, the last that was measured."""
    if metric and infeasible is not None:
        raise click.UsageError(
            "argument --infeasible: At most one of --infeasible | --metric can be specified."
        )
    if step is not None and not metric:
        raise click.UsageError("argument --step: --metric must go with it.")
    request = CompleteTrialRequest(
        final_measurement=measurement_of(metric, step=step or 0),
        trial_infeasible=infeasible is not None,
        infeasible_reason=infeasible or "",
    )
    session.show(encode(session.engine.complete_trial(*place, trial_id(trial), request)))


@command(trials, "stop")
@click.argument("trial")
@_of_study
def stop(session: Session, place: Place, trial: str) -> None:
    """Ask whoever has TRIAL to come to an end with it."""
    session.engine.stop_trial(*place, trial_id(trial))


@command(trials, "check", form="value(shouldStop.yesno(yes=stop, no=continue))")
@click.argument("trial")
@_of_study
def check(session: Session, place: Place, trial: str) -> None:
    """Say whether TRIAL should stop, by the study's rule: stop or continue."""
    operation = session.engine.check_trial_stopping(*place, trial_id(trial))
    ended = wait_for(session, operation, f"Looking at trial [{trial}]")
    session.show({"shouldStop": bool((ended.response or {}).get("shouldStop"))})


@command(trials, "delete")
@click.argument("trial")
@_of_study
def delete(session: Session, place: Place, trial: str) -> None:
    """Delete TRIAL; its number is not used again."""
    session.confirm(f"This will delete trial [{trial}]...")
    session.engine.delete_trial(*place, trial_id(trial))
    session.say(f"Deleted trial [{trial}].")
