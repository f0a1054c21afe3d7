"""`mlengine models set-traffic` and what goes with it: share predictions out, compare versions."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from mlengine.cli.errors import CommandError
from mlengine.cli.flags import LABELS, merge, region
from mlengine.cli.session import Session, pass_session
from mlengine.cli.tree import Command
from mlengine.core.traffic import ArmReport, Comparison, Interval, ModelTraffic, Outcome
from mlengine.core.wire import encode

__all__ = ["compare", "describe_traffic", "outcome", "set_traffic"]

_MOST_AT_ONCE = 1000
_NOTHING = "-"


@click.command(cls=Command)
@click.argument("model")
@click.option("--split", type=LABELS, multiple=True,
              help="Versions and their parts of the whole: v1=90,v2=10.")  # fmt: skip
@click.option("--sticky-by", metavar="KEY",
              help="header:NAME or field:NAME; equal values stay with one version.")  # fmt: skip
@click.option("--no-sticky", is_flag=True, help="Draw each prediction by itself.")
@click.option("--shadow", metavar="VERSION", help="Version that gets a copy of each prediction.")
@click.option("--no-shadow", is_flag=True, help="Send no copies.")
@click.option("--clear", is_flag=True, help="Begin with nothing: the default version answers all.")
@region
@pass_session
def set_traffic(
    session: Session,
    model: str,
    split: tuple[dict[str, str], ...],
    sticky_by: str | None,
    no_sticky: bool,
    shadow: str | None,
    no_shadow: bool,
    clear: bool,
) -> None:
    """Share the predictions of MODEL that name no version among its versions.

    What is not named stays as it is; --clear takes all of it away first.
    """
    _exclude("--sticky-by", sticky_by, "--no-sticky", no_sticky)
    _exclude("--shadow", shadow, "--no-shadow", no_shadow)
    engine, project = session.engine, session.project
    if clear and not (split or sticky_by or shadow):
        session.show(encode(engine.clear_traffic(project, model)))
        return
    if not (split or sticky_by or shadow or no_sticky or no_shadow):
        raise click.UsageError("Name at least one of --split, --sticky-by, --shadow, --clear.")
    old = engine.get_traffic(project, model)
    kept = ModelTraffic() if clear else old
    parts = merge(split)
    new = ModelTraffic(
        split=kept.split if parts is None else _parts(parts),
        sticky_by="" if no_sticky else sticky_by or kept.sticky_by,
        shadow=[] if no_shadow else [shadow] if shadow else kept.shadow,
        etag=old.etag,
    )
    made = engine.set_traffic(project, model, new)
    if clear and (old.split or old.shadow):
        # Another experiment begins only where none is; what the engine refuses, it has refused
        # by now, and the running one goes on.
        engine.clear_traffic(project, model)
        made = engine.set_traffic(project, model, msgspec.structs.replace(new, etag=""))
    session.show(encode(made))


@click.command(cls=Command)
@click.argument("model")
@region
@pass_session
def describe_traffic(session: Session, model: str) -> None:
    """Show which versions answer the predictions of MODEL that name no version."""
    session.show(encode(session.engine.get_traffic(session.project, model)))


@click.command(cls=Command)
@click.argument("model")
@click.argument("baseline")
@click.argument("candidate")
@region
@pass_session
def compare(session: Session, model: str, baseline: str, candidate: str) -> None:
    """Compare two versions of MODEL by what they have answered so far.

    Intervals hold however often you look: stop when you like.
    """
    found = session.engine.compare_versions(session.project, model, baseline, candidate)
    if session.is_format_given:
        session.show(encode(found))
    else:
        session.write(_table(found, is_sticky=_is_sticky(session, model, found)))
    for ratio in found.sample_ratios:
        if ratio.alarm:
            session.warn(
                f"[{candidate}] has {ratio.seen or 0:.1%} of the {ratio.of}, not "
                f"{ratio.expected or 0:.1%} (p = {ratio.p_value or 0:.2g}): find out why before "
                "you believe any difference."
            )


@click.command(cls=Command)
@click.argument("model")
@click.argument("prediction", required=False)
@click.argument("value", type=float, required=False)
@click.option("--file", "path", metavar="FILE", help="Lines of PREDICTION VALUE instead.")
@region
@pass_session
def outcome(
    session: Session, model: str, prediction: str | None, value: float | None, path: str | None
) -> None:
    """Say what became of PREDICTION, as a number: 1 for a sale, 0 for none.

    PREDICTION is what its answer's header x-mlengine-prediction-id said; it counts once.
    """
    if (path is None) == (prediction is None) or (prediction is not None and value is None):
        raise click.UsageError("Give PREDICTION and VALUE, or --file FILE.")
    if path is not None:
        outcomes = _read(path)
    else:
        outcomes = [Outcome(prediction_id=prediction or "", value=value)]
    added = known = outdated = 0
    for at in range(0, len(outcomes), _MOST_AT_ONCE):
        found = session.engine.add_outcomes(
            session.project, model, outcomes[at : at + _MOST_AT_ONCE]
        )
        added, known = added + found.added, known + found.known
        outdated += found.outdated
    session.say(f"Outcomes counted for model [{model}]: {added}.")
    if known:
        session.say(f"Predictions that had one already, of which the first counts: {known}.")
    if outdated:
        session.warn(f"Left out, of no experiment that goes on: {outdated}.")


def _exclude(one: str, given: str | None, other: str, is_on: bool) -> None:
    if given and is_on:
        raise click.UsageError(f"argument {one}: At most one of {one} | {other} can be specified.")


def _parts(given: dict[str, str]) -> dict[str, int]:
    found = {}
    for version, text in given.items():
        if not (text.isascii() and text.isdigit() and len(text) <= 9):
            raise click.UsageError(
                f"argument --split: [{version}={text}]: parts are whole numbers: v1=90,v2=10."
            )
        found[version] = int(text)
    return found


def _read(path: str) -> list[Outcome]:
    try:
        lines = Path(path).read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"Unable to read file [{path}]: {error}.") from None
    found = []
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words:
            continue
        try:
            prediction, text = words
            found.append(Outcome(prediction_id=prediction, value=float(text)))
        except ValueError:
            raise CommandError(
                f"[{path}] line {number} is not PREDICTION VALUE: {line[:80]!r}."
            ) from None
    return found


def _table(found: Comparison, *, is_sticky: bool) -> str:
    from mlengine.cli.output.tables import plain_table

    one, two = found.baseline or ArmReport(), found.candidate or ArmReport()
    copies = (str(arm.copies or _NOTHING) for arm in (one, two))
    dropped = (str(arm.copies_dropped or _NOTHING) for arm in (one, two))
    failed = (str(arm.copies_failed or _NOTHING) for arm in (one, two))
    rate = found.agreement.rate if found.agreement else None
    rows = [
        ("requests", str(one.requests), str(two.requests), *_blank()),
        ("error rate", _percent(one.error_rate), _percent(two.error_rate),
         *(_difference(found.error_rate, is_share=True) if not is_sticky
           else (_NOTHING, _NOTHING, "none: sticky"))),
        ("p50, ms", _number(one.p50_ms), _number(two.p50_ms), *_blank()),
        ("p99, ms", _number(one.p99_ms), _number(two.p99_ms), *_blank()),
        ("outcomes", str(one.outcomes), str(two.outcomes), *_blank()),
        ("mean outcome", _number(one.outcome_mean), _number(two.outcome_mean),
         *_difference(found.outcome)),
        ("copies", *copies, *_blank()),
        ("copies failed", *failed, *_blank()),
        ("copies dropped", *dropped, *_blank()),
        ("agreement", _NOTHING, _percent(rate), *_blank()),
    ]  # fmt: skip
    headings = ["MEASURE", one.version, two.version, "DIFFERENCE",
                f"{found.confidence:.0%} INTERVAL", "VERDICT"]  # fmt: skip
    return plain_table(headings, rows)


def _difference(interval: Interval | None, *, is_share: bool = False) -> tuple[str, str, str]:
    if interval is None:
        return _blank()
    if interval.estimate is None or interval.low is None or interval.high is None:
        return _NOTHING, _NOTHING, "too few"
    show = _percent if is_share else _number
    low, high = show(interval.low), show(interval.high)
    return show(interval.estimate), f"{low} to {high}", interval.verdict


def _is_sticky(session: Session, model: str, found: Comparison) -> bool:
    """Whether values were drawn: many errors may then be one value's, and no interval is sure."""
    if found.error_rate is not None:
        return False
    if any(ratio.of == "values" for ratio in found.sample_ratios):
        return True
    # None may have come yet; and of a test that is over, only what came tells.
    return bool(session.engine.get_traffic(session.project, model).sticky_by)


def _blank() -> tuple[str, str, str]:
    return "", "", ""


def _percent(share: float | None) -> str:
    return _NOTHING if share is None else f"{share:.2%}"


def _number(value: float | None) -> str:
    return _NOTHING if value is None else f"{value:.4g}"
