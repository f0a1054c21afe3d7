"""Turn census CSV files into the JSON lines that online and batch prediction take.

    python samples/census/make_instances.py samples/census/data/adult.test.csv.gz > rows.jsonl
    python samples/census/make_instances.py --objects FILE > objects.jsonl

Without a flag each line is a list in the order of the columns (scikit-learn); with
`--objects` it is an object of columns by name (Keras). Labels are left out; `--labels`
prints them alone, one a line in the same order, to compare predictions with.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

# The reader is part of the trainer packages, so that each of them can be copied alone.
sys.path.insert(0, str(Path(__file__).resolve().parent / "sklearn_trainer"))

from trainer.data import COLUMNS, read

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> None:
    """Print one JSON value for each row of the files."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="+", metavar="CSV", help="plain or gzipped")
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--objects", action="store_true", help="columns by name")
    shape.add_argument("--labels", action="store_true", help="the labels alone, as text")
    parser.add_argument("--limit", type=int, metavar="ROWS", help="stop after so many")
    args = parser.parse_args(argv)

    table = read(args.files)
    if args.labels:
        lines = table.labels
    else:
        rows = ([_plain(value) for value in row] for row in table.rows)
        shaped = (dict(zip(COLUMNS, row, strict=True)) if args.objects else row for row in rows)
        lines = [json.dumps(instance) for instance in shaped]
    sys.stdout.writelines(f"{line}\n" for line in lines[: args.limit])


def _plain(value: float | str) -> float | str | None:
    """Whole numbers as a person types them; JSON has no NaN."""
    if isinstance(value, str):
        return value
    if math.isnan(value):
        return None
    return int(value) if value.is_integer() else value


if __name__ == "__main__":
    main()
