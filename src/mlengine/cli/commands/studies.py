"""`mlengine studies`: search spaces, and what is to be tried of them next."""

from __future__ import annotations

import click

from mlengine.cli.session import Session, pass_session
from mlengine.cli.studytrials import TRIALS_FORMAT, location, rows, trials_in
from mlengine.cli.tree import Branch, Group, command
from mlengine.cli.waiting import wait_for
from mlengine.core.resources import Operation
from mlengine.core.states import StudyState
from mlengine.core.studies import Study, StudyConfig, SuggestTrialsRequest
from mlengine.core.wire import decode, encode

__all__ = ["studies"]

studies = Group(
    "studies",
    help="Studies: search spaces, and what was tried of them.",
    branches={"trials": Branch("mlengine.cli.commands.study_trials:trials", "Trials of a study.")},
)

_LIST_FORMAT = (
    "table(name.basename(), state, studyConfig.algorithm:label=ALGORITHM:optional, "
    "studyConfig.metrics[].metric.list():label=METRICS, createTime.date(tz=LOCAL))"
)


@command(studies, "create")
@click.argument("study")
@click.option("--config", required=True, metavar="FILE",
              help="A StudyConfig, or a Study that holds one, as YAML or JSON; - is stdin."
              )  # fmt: skip
@click.option("--prior", "priors", multiple=True, metavar="STUDY",
              help="A study whose trials it learns from too; may be repeated.")  # fmt: skip
@location
@pass_session
def create(
    session: Session, study: str, config: str, priors: tuple[str, ...], location: str
) -> None:
    """Make STUDY, a search space with its goal."""
    from mlengine.cli.configfile import read_config

    found = read_config(config)
    is_study = "studyConfig" in found or "study_config" in found
    wanted = decode(
        Study, found if is_study else {"studyConfig": found}, at="study", own_fields_only=True
    )
    wanted.study_config = wanted.study_config or StudyConfig()
    wanted.study_config.prior_studies = [*wanted.study_config.prior_studies, *priors]
    made = session.engine.create_study(session.project, location, study, wanted)
    session.say(f"Created study [{made.name}].")


@command(studies, "list", form=_LIST_FORMAT, lists=True)
@location
@pass_session
def list_studies(session: Session, location: str) -> None:
    """List studies, newest first."""
    session.show_all(session.engine.list_studies(session.project, location))


@command(studies, "describe")
@click.argument("study")
@location
@pass_session
def describe(session: Session, study: str, location: str) -> None:
    """Show everything about STUDY."""
    session.show(encode(session.engine.get_study(session.project, location, study)))


@command(studies, "delete")
@click.argument("study")
@location
@pass_session
def delete(session: Session, study: str, location: str) -> None:
    """Delete STUDY with all of its trials."""
    session.confirm(f"This will delete study [{study}] with all of its trials...")
    session.engine.delete_study(session.project, location, study)
    session.say(f"Deleted study [{study}].")


@command(studies, "suggest", form=TRIALS_FORMAT, lists=True)
@click.argument("study")
@click.option("--client-id", default="cli", show_default=True,
              help="Who asks; what it has not completed comes again.")  # fmt: skip
@click.option("--count", type=click.IntRange(min=1), default=1, show_default=True,
              help="How many trials.")  # fmt: skip
@location
@pass_session
def suggest(session: Session, study: str, client_id: str, count: int, location: str) -> None:
    """Get what is to be tried next of STUDY."""
    request = SuggestTrialsRequest(suggestion_count=count, client_id=client_id)
    operation = session.engine.suggest_trials(session.project, location, study, request)
    ended = wait_for(session, operation, f"Asking study [{study}]")
    found = trials_in(ended)
    session.show_all(rows(found, plain=not session.has_own_columns))
    if len(found) < count:
        _say_why(session, study, f"{len(found)} of {count} trials", ended)


def _say_why(session: Session, study: str, came: str, ended: Operation) -> None:
    """Say why fewer trials came than were asked for."""
    state = (ended.response or {}).get("studyState", "")
    why = f"is {state}" if state else "has no more"
    if state == StudyState.COMPLETED:
        why += ": each point of its space was tried or is handed out"
    session.say(f"Study [{study}] {why}; {came} came.")


@command(studies, "optimal", form=TRIALS_FORMAT, lists=True)
@click.argument("study")
@location
@pass_session
def optimal(session: Session, study: str, location: str) -> None:
    """List the best trials of STUDY; of several metrics, those that no other beats in all."""
    found = session.engine.list_optimal_trials(session.project, location, study)
    session.show_all(rows(found, plain=not session.has_own_columns))
