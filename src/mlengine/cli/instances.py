"""The instances of a prediction: from a file or stdin, as JSON, as text, or as a whole request."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from mlengine.cli.errors import CommandError
from mlengine.cli.session import Session

__all__ = ["MAX_INSTANCES", "instance_flags", "read_instances", "signature_flag"]

F = TypeVar("F", bound=Callable[..., Any])

MAX_INSTANCES = 100
_MAX_BYTES = 64 << 20


signature_flag = click.option("--signature-name", help="Signature of a SavedModel.")


def instance_flags(function: F) -> F:
    """Add the three flags of which one is needed."""
    for option in (
        click.option("--text-instances", metavar="FILE", help="Each line is a string. - is stdin."),
        click.option("--json-instances", metavar="FILE", help="Each line is JSON. - is stdin."),
        click.option("--json-request", metavar="FILE", help="A whole request. - is stdin."),
    ):
        function = option(function)
    return function


def read_instances(
    session: Session,
    json_request: str | None,
    json_instances: str | None,
    text_instances: str | None,
) -> list[Any]:
    """Return the instances that the one given file holds.

    Of a request only they are used, as `gcloud` does it; a warning names what is not.

    Raises:
        CommandError: It cannot be read, or holds no instances, or too many.
        click.UsageError: None or several of the three are given.
    """
    given = [path for path in (json_request, json_instances, text_instances) if path]
    if len(given) != 1:
        raise click.UsageError(
            "Exactly one of (--json-request | --json-instances | --text-instances) must be "
            "specified."
        )
    text = _read(given[0])
    if json_request:
        return _from_request(session, text)
    lines = text.split("\n")
    if lines and not lines[-1].strip("\r"):
        lines.pop()
    return _from_lines(lines, is_json=bool(json_instances))


def _read(path: str) -> str:
    try:
        if path == "-":
            raw = sys.stdin.buffer.read(_MAX_BYTES + 1)
        else:
            with Path(path).open("rb") as file:
                raw = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise CommandError(f"Unable to read file [{path}]: {error.strerror}") from None
    if len(raw) > _MAX_BYTES:
        raise CommandError(f"[{path}] is larger than {_MAX_BYTES} bytes.")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CommandError(f"[{path}] is not UTF-8 text (byte {error.start}).") from None


def _from_request(session: Session, text: str) -> list[Any]:
    request = _json(text, "The request")
    if not isinstance(request, dict) or "instances" not in request:
        raise CommandError('Invalid JSON request: missing "instances" attribute')
    if not isinstance(request["instances"], list):
        raise CommandError('Invalid JSON request: "instances" must be a list')
    if others := ", ".join(repr(key) for key in request if key != "instances"):
        session.warn(f"Of the request only its instances are sent, not {others}.")
    return request["instances"]


def _from_lines(lines: list[str], *, is_json: bool) -> list[Any]:
    if not lines:
        raise CommandError("No valid instance was found in input file.")
    if len(lines) > MAX_INSTANCES:
        raise CommandError(
            f"The mlengine CLI can currently process no more than {MAX_INSTANCES} instances per "
            "file. Please use the API, or 'mlengine jobs submit prediction', for more."
        )
    instances = []
    for number, line in enumerate(lines, start=1):
        line = line.rstrip("\r")
        if not line:
            raise CommandError(f"Empty line is not allowed in the instances file. (line {number})")
        instances.append(_json(line, f"Line {number}") if is_json else line)
    return instances


def _json(text: str, what: str) -> Any:
    try:
        # NaN and Infinity are no JSON; the engine would refuse them with less to go on.
        return json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise CommandError(f"{what} is nested too deeply.") from None
    except ValueError as error:
        raise CommandError(f"{what} is not JSON: {error}") from None


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not allowed")
