"""Writes the pages that are read off the code: `docs/api.md`, `docs/fields.md`, `docs/settings.md`.

Run after a change of the route table, of a field's treatment or of a setting; `make check` fails
until it was run.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from mlengine.engine.settings import describe
from mlengine.models.checks import REFUSED_MODEL_FIELDS, REFUSED_VERSION_FIELDS
from mlengine.rest.ml_v1 import METHODS
from mlengine.rest.own import ROUTES as OWN_ROUTES
from mlengine.training.fields import FIELDS

DOCS = Path(__file__).resolve().parent.parent / "docs"
_NOTE = "<!-- Written by scripts/write_docs.py; change the code it is read off instead. -->\n\n"

# What a field that is accepted does here, where that is less than its name promises.
_RECORDED = {
    "PredictionInput": {
        "region": "recorded; there is one place, this machine",
        "runtimeVersion": "recorded; the job runs on the engine's interpreter, its log says so",
        "maxWorkerCount": "an upper limit: one worker is used",
    },
    "Version": {
        "runtimeVersion": "recorded; the worker runs on the engine's interpreter",
        "pythonVersion": "recorded, as runtimeVersion",
        "machineType": "recorded; workers use this machine",
    },
    "Model": {"regions": "recorded; at most one"},
}
_REFUSED = {
    "Model": REFUSED_MODEL_FIELDS,
    "Version": REFUSED_VERSION_FIELDS,
}


def api_page() -> str:
    """Return `docs/api.md`."""
    lines = [
        "# The REST API", "",
        "One URL serves everything. Send `Authorization: Bearer TOKEN` with each request "
        "(`mlengine auth print-access-token`); errors are Google's error object. "
        "`GET /$discovery/rest?version=v1` is the discovery document, `GET /api/v1/openapi.json` the "
        "OpenAPI document.", "",
        "## `ml.googleapis.com/v1`", "",
        "\"not yet\" answers 501 `UNIMPLEMENTED`.", "",
        "| method | HTTP | path below `/v1/projects/{project}` | |", "| --- | --- | --- | --- |",
    ]  # fmt: skip
    for method in METHODS:
        state = "" if method.verb else "not yet"
        lines.append(f"| {method.id} | {method.http} | `{method.path}` | {state} |")
    built = sum(1 for m in METHODS if m.verb)
    lines += ["", f"{built} of {len(METHODS)} methods are built.", ""]
    lines += ["## The engine's own routes", "", "| HTTP | path | what |", "| --- | --- | --- |"]
    for route in OWN_ROUTES:
        call = route.run or route.upload or route.download
        what = ((call.__doc__ or "").strip().splitlines() or [""])[0] if call else ""
        lines.append(f"| {route.method} | `{route.path}` | {what} |")
    lines += ["", "## Fields", "", "Every field of the API is honoured or refused by name; for those of "
              "training jobs see [fields](fields.md). Of the others, those that do less here than their "
              "name promises:", ""]  # fmt: skip
    lines += _table(("field", "what it does here"), _rows(_RECORDED))
    lines += ["", "Refused, with `INVALID_ARGUMENT` naming the field:", ""]
    lines += _table(("field", "why, and what to do"), _rows(_REFUSED))
    return _NOTE + "\n".join(lines) + "\n"


def settings_page() -> str:
    """Return `docs/settings.md`."""
    lines = [
        "# Settings", "",
        "A flag goes before a variable, a variable before `mlengine.toml` in the home folder, and that "
        "before the default. `mlengine config set NAME VALUE` writes the file; the variable of `port` "
        "is `MLENGINE_PORT`. Commands also read `MLENGINE_ENDPOINT` and `MLENGINE_TOKEN` to talk to an "
        "engine elsewhere.", "",
    ]  # fmt: skip
    rows = [(f"`{name}`", f"`{default}`" if default != "" else "", what)
            for name, default, what in describe()]  # fmt: skip
    lines += _table(("setting", "default", "meaning"), rows)
    return _NOTE + "\n".join(lines) + "\n"


def fields_page() -> str:
    """Return `docs/fields.md`."""
    lines = [
        "# What each field of a training job does", "",
        "For every backend: `local` is `mlengine local train`, where flags take the place of fields; "
        "`process` is a job on the engine's own machine. A refused field is answered with "
        "`INVALID_ARGUMENT`, its name, and the last column. `JobOptions` is the engine's own "
        "(`Job.options`); the others are `ml.v1`.", "",
    ]  # fmt: skip
    for owner, rules in FIELDS.items():
        lines += [f"## {owner}", ""]
        rows = [
            (f"`{_camel(name)}`", rule.local or "-", str(rule.process), rule.note)
            for name, rule in rules.items()
        ]
        lines += [*_table(("field", "local", "process", "what it does, or what to do"), rows), ""]
    lines += ["Recorded means kept and shown, without an effect.", ""]
    return _NOTE + "\n".join(lines)


def _rows(fields: dict[str, dict[str, str]]) -> list[tuple[str, str]]:
    return [
        (f"`{owner}.{_camel(name)}`", what)
        for owner, named in fields.items()
        for name, what in named.items()
    ]


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


PAGES = {"api.md": api_page, "fields.md": fields_page, "settings.md": settings_page}


def main() -> int:
    """Write the pages."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
