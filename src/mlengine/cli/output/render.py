"""Resources in one format → text."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlengine.cli.output.escape import printable
from mlengine.cli.output.projection import Column, Format
from mlengine.cli.output.tables import boxed_table, plain_table
from mlengine.cli.output.transforms import column_value

__all__ = ["Stream", "render", "sort_rows"]

Row = Mapping[str, Any]

_UNSAFE_IN_JSON = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def render(form: Format, resources: Sequence[Any], *, single: bool = False) -> str:
    """Write resources in a format.

    Args:
        form: From `parse_format`.
        resources: JSON-ready values.
        single: It is one resource, not a list of one: JSON and YAML show that.
    """
    rows = sort_rows(form.columns, resources)
    if form.kind == "json":
        return _json(form, rows, single)
    if form.kind == "yaml":
        return _yaml(form, rows, single)
    return _RENDERERS[form.kind](form, rows)


def sort_rows(columns: Sequence[Column], rows: Sequence[Any]) -> list[Any]:
    """Sort rows by the columns that have an order, the first of them first."""
    keys = sorted((c for c in columns if c.sort), key=lambda c: c.sort)
    ordered = list(rows)
    for column in reversed(keys):
        ordered.sort(key=lambda row: _order(column_value(row, column)), reverse=column.reverse)
    return ordered


def _order(value: Any) -> tuple[int, float, str]:
    """Order what is absent before numbers and those before texts; a number is one for filters."""
    from mlengine.core.filterterms import number_in  # commands that sort nothing start faster

    if value is None:
        return 0, 0.0, ""
    number = number_in(value) if isinstance(value, str) else value
    if isinstance(number, int | float):
        return 1, float(number), ""
    return 2, 0.0, str(value)


# --- structured ---------------------------------------------------------------------------------


def project(form: Format, resource: Any) -> Any:
    """Keep only the format's fields of a resource, nested as they were; absent ones stay absent."""
    if not form.columns:
        return resource
    kept: dict[str, Any] = {}
    for column in form.columns:
        value = column_value(resource, column)
        names = [part for part in column.path if isinstance(part, str)]
        if value is None or value == "" or not names:
            continue
        place = kept
        for name in names[:-1]:
            deeper = place.setdefault(name, {})
            place = deeper if isinstance(deeper, dict) else {}
        place[names[-1]] = value
    return kept


def _json(form: Format, rows: Sequence[Any], single: bool) -> str:
    kept = [project(form, row) for row in rows]
    return json_text(kept[0] if single and len(kept) == 1 else kept) + "\n"


def json_text(value: Any) -> str:
    """Write JSON with sorted keys; what could steer a terminal is escaped, and still the same."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, default=str)
    return _UNSAFE_IN_JSON.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def _yaml(form: Format, rows: Sequence[Any], single: bool) -> str:
    from mlengine.cli.output.yamltext import to_yaml

    start = "" if single else "---\n"
    return "".join(start + to_yaml(project(form, row)) for row in rows)


# --- flat ---------------------------------------------------------------------------------------


def _value(form: Format, rows: Sequence[Any]) -> str:
    separator = form.separator("\t")
    return "".join(
        separator.join(printable(_flat(column_value(row, c))) for c in form.columns) + "\n"
        for row in rows
    )


def _csv(form: Format, rows: Sequence[Any]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n", delimiter=form.separator(","))
    if form.attribute("heading", "true") != "false":
        writer.writerow([c.label or c.heading.lower() for c in form.columns])
    for row in rows:
        writer.writerow([printable(_flat(column_value(row, c))) for c in form.columns])
    return out.getvalue()


def _table(form: Format, rows: Sequence[Any]) -> str:
    if not rows:
        return ""
    cells = [[_cell(column_value(row, c)) for c in form.columns] for row in rows]
    shown = [i for i, c in enumerate(form.columns) if not c.optional or any(r[i] for r in cells)]
    headings = [form.columns[i].heading for i in shown]
    kept = [[row[i] for i in shown] for row in cells]
    if form.attribute("box"):
        lines = [[cell.split("\n") for cell in row] for row in kept]
        return boxed_table(form.attribute("title"), headings, lines)
    flat = [[cell.replace("\n", "\\n") for cell in row] for row in kept]
    return plain_table(headings if form.attribute("heading", "true") != "false" else None, flat)


def _none(form: Format, rows: Sequence[Any]) -> str:
    return ""


def _list(form: Format, rows: Sequence[Any]) -> str:
    lines = []
    for row in rows:
        if form.columns:
            pairs = [(c.heading.lower(), column_value(row, c)) for c in form.columns]
        else:
            pairs = sorted(row.items()) if isinstance(row, Mapping) else [("", row)]
        texts = [f"{k}: {_flat(v)}" if k else _flat(v) for k, v in pairs if v is not None]
        lines += [
            (" - " if i == 0 else "   ") + printable(text, newline="\\n")
            for i, text in enumerate(texts)
        ]
    return "".join(line + "\n" for line in lines)


def _config(form: Format, rows: Sequence[Any]) -> str:
    out = []
    for row in rows:
        if not isinstance(row, Mapping):
            out.append(_flat(row))
            continue
        sections = {k: v for k, v in sorted(row.items()) if isinstance(v, Mapping)}
        plain = {k: v for k, v in sorted(row.items()) if not isinstance(v, Mapping)}
        out += [f"{k} = {_flat(v)}" for k, v in plain.items()]
        for name, values in sections.items():
            out += [f"[{name}]", *(f"{k} = {_flat(v)}" for k, v in sorted(values.items()))]
    return "".join(printable(line, newline="\\n") + "\n" for line in out)


def _flat(value: Any) -> str:
    """Write a value in one cell of value() or csv(): lists by ``;``, maps as ``k=v``."""
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return ";".join(f"{k}={_flat(v)}" for k, v in sorted(value.items()))
    if isinstance(value, list):
        return ";".join(_flat(item) for item in value)
    return str(value)


def _cell(value: Any) -> str:
    """Write a value in a table's cell: lists and maps as gcloud did, ``[0.68]``."""
    return "" if value is None else printable(str(value))


_RENDERERS: Mapping[str, Callable[[Format, Sequence[Any]], str]] = {
    "config": _config,
    "csv": _csv,
    "get": _value,
    "list": _list,
    "none": _none,
    "table": _table,
    "value": _value,
}


class Stream:
    """Writes records one at a time, as they come; `close` ends what needs an end.

    A table is as wide as its widest row, so it alone waits for the end.
    """

    def __init__(self, form: Format, write: Callable[[str], object]) -> None:
        self._form, self._write = form, write
        self._held: list[Any] = []
        self._count = 0

    def add(self, record: Any) -> None:
        """Write one record."""
        form = self._form
        if form.kind in ("table", "config", "list"):
            self._held.append(record)
        elif form.kind == "json":
            text = json_text(project(form, record)).replace("\n", "\n  ")
            self._write(("[\n  " if self._count == 0 else ",\n  ") + text)
        elif form.kind == "csv" and self._count:
            bare = form._replace(attributes=(*form.attributes, ("heading", "false")))
            self._write(render(bare, [record]))
        else:
            self._write(render(form, [record]))
        self._count += 1

    def close(self) -> None:
        """Write what is left."""
        if self._held:
            self._write(render(self._form, self._held))
        if self._form.kind == "json":
            self._write("\n]\n" if self._count else "[]\n")
