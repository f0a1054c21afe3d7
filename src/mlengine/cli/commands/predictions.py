"""`mlengine predictions`: what request logs keep, and what became of it."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click

from mlengine.cli.errors import CommandError
from mlengine.cli.session import Session, pass_session
from mlengine.cli.tree import Group, command
from mlengine.core.errors import EngineError
from mlengine.core.predictions import LoggedPrediction, PredictionLabel

__all__ = ["predictions"]

predictions = Group(
    "predictions", help="Predictions: what request logs keep, and what became of it."
)

_MOST_AT_ONCE = 1000
_HEADS = ("prediction_id", "predictionId")
_LIST_FORMAT = "table(predictionId, modelVersion, time.date(tz=LOCAL), rawPrediction, groundtruth)"


@command(predictions, "list", form=_LIST_FORMAT, lists=True, has_uris=False)
@click.argument("model")
@click.option("--version", default="", help="Only what this version answered.")
@click.option("--since", default="", metavar="TIME",
              help="Only from then on: 2026-11-21 or 2026-11-21T08:30:00Z.")  # fmt: skip
@pass_session
def list_predictions(session: Session, model: str, version: str, since: str) -> None:
    """List what MODEL was asked and answered, and what became of it, the oldest day first.

    --format json prints whole rows; 'csv(predictionId,rawData,rawPrediction,groundtruth)' columns.
    """
    session.show_all(_rows(session, model, version, since))


@command(predictions, "export")
@click.argument("model")
@click.option("--out", required=True, metavar="FILE",
              help="A file here or in a bucket, gs://BUCKET/FILE, that ends in .parquet or .jsonl. "
                   "One that is there is replaced.")  # fmt: skip
@click.option("--version", default="", help="Only what this version answered.")
@click.option("--since", default="", metavar="TIME",
              help="Only from then on: 2026-11-21 or 2026-11-21T08:30:00Z.")  # fmt: skip
@pass_session
def export(session: Session, model: str, out: str, version: str, since: str) -> None:
    """Write what MODEL was asked and answered, and what became of it, into one file.

    Its columns are those of the table: prediction_id, model, model_version, time, raw_data,
    raw_prediction, groundtruth. Parquet needs DuckDB: pip install 'mlengine[parquet]'.
    """
    from mlengine.cli.rowfiles import check_ending, exported
    from mlengine.engine.places import expanded
    from mlengine.storage.chunks import chunks_of
    from mlengine.storage.paths import is_uri, parse_uri

    check_ending(out)
    place = parse_uri(out, field="--out") if is_uri(out) else None
    target = expanded(out, "--out")
    rows = _rows(session, model, version, since)
    with exported(rows, out, Path(tempfile.gettempdir()) if place else target.parent) as made:
        path, count = made
        if place:
            with path.open("rb") as file:
                session.engine.write_object(place.bucket, place.name, chunks_of(file))
        else:
            path.replace(target)
    session.say(f"Exported {count} {'prediction' if count == 1 else 'predictions'} to [{out}].")


@command(predictions, "label")
@click.argument("prediction", required=False)
@click.argument("value", required=False)
@click.option("--file", "path", metavar="FILE",
              help="CSV with a line PREDICTION,VALUE for each instead.")  # fmt: skip
@pass_session
def label(session: Session, prediction: str | None, value: str | None, path: str | None) -> None:
    """Say that the truth about PREDICTION was VALUE: its row's groundtruth.

    PREDICTION is what its answer's header x-mlengine-prediction-id said. A later label replaces an
    earlier one.
    """
    if (path is None) == (prediction is None) or (prediction is not None and value is None):
        raise click.UsageError("Give PREDICTION and VALUE, or --file FILE.")
    if path is None:
        labels = [PredictionLabel(prediction_id=prediction or "", value=value or "")]
    else:
        labels = _read(path)
    labelled = replaced = 0
    for at in range(0, len(labels), _MOST_AT_ONCE):
        try:
            some = labels[at : at + _MOST_AT_ONCE]
            found = session.engine.label_predictions(session.project, some)
        except EngineError:
            if labelled:  # each lot is written whole or not at all
                session.say(f"Labelled the first {labelled} predictions, and none after them.")
            raise
        labelled, replaced = labelled + found.labelled, replaced + found.replaced
    session.say(f"Labelled {labelled} {'prediction' if labelled == 1 else 'predictions'}.")
    if replaced:
        session.say(f"{replaced} of them had a label already; the new one counts.")


def _rows(session: Session, model: str, version: str, since: str) -> Iterator[LoggedPrediction]:
    engine, project = session.engine, session.project
    return session.walk(
        lambda size, token: engine.list_predictions(
            project, model, version=version, since=since, page_size=size, page_token=token
        )
    )


def _read(path: str) -> list[PredictionLabel]:
    found: dict[str, PredictionLabel] = {}
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as lines:
            for number, line in enumerate(csv.reader(lines), 1):
                if not line or (number == 1 and line[0] in _HEADS):
                    continue
                if len(line) != 2:
                    raise CommandError(
                        f"Line {number} of [{path}] has {len(line)} columns, not PREDICTION,VALUE."
                    )
                found[line[0]] = PredictionLabel(prediction_id=line[0], value=line[1])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CommandError(f"Cannot read [{path}]: {error}") from None
    if not found:
        raise CommandError(f"[{path}] names no predictions.")
    return list(found.values())
