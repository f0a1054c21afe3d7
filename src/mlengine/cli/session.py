"""One run of one command: its flags, settings and engine, and where it prints."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from mlengine.cli.argv import Line
from mlengine.cli.errors import CommandError, answered
from mlengine.cli.output.escape import printable
from mlengine.core.errors import EngineError

if TYPE_CHECKING:
    from mlengine.cli.output import Column, Format, Stream
    from mlengine.core.resources import Resource
    from mlengine.engine import Engine, Page
    from mlengine.engine.settings import Settings

__all__ = ["MAX_PAGE_SIZE", "Session", "pass_session"]

T = TypeVar("T")
MAX_PAGE_SIZE = 100
_CREATED_IN_PROJECT = ("create_job", "create_model")
LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50, "none": 60}


class Session:
    """What every command gets.

    Args:
        line: The command line taken apart.
        connect: Finds or starts the engine; tests hand in a fake.
    """

    def __init__(self, line: Line, *, connect: Callable[[Settings], Engine] | None = None) -> None:
        self.flags, self.rest = line.flags, line.rest
        self.command = "mlengine"
        self.form: Format | None = None
        self.own_form = ""  # the command's, which --format replaces
        self.about: dict[str, Any] = {}  # what `storage -h` says of objects that are written
        self._connect = connect

    # --- what it works with ---------------------------------------------------------------------

    @functools.cached_property
    def settings(self) -> Settings:
        """The settings: flag > variable > file > default."""
        from mlengine.engine.settings import load

        return load(os.environ, home=self.flags.home or None, project=self.flags.project or None)

    @property
    def project(self) -> str:
        """The project that the command acts on."""
        return self.settings.project

    @functools.cached_property
    def engine(self) -> Engine:
        """The engine; the first use finds it, or starts the local one."""
        if self._connect is not None:
            engine = self._connect(self.settings)
        else:
            from mlengine.client.local import connect

            engine = connect(self.settings, say=self.say)
        return cast("Engine", _Marked(engine, self._log_call))

    def _log_call(self, verb: str, args: tuple[Any, ...]) -> None:
        if self.flags.log_http:
            shown = ", ".join(_short(a) for a in args)
            self.say(f"engine call: {verb}({shown})")

    def walk(self, fetch: Callable[[int, str], Page[T]]) -> Iterator[T]:
        """Yield the items of every page; `fetch` gets a page's size and token."""
        size = int(self.flags.page_size) if self.flags.page_size else MAX_PAGE_SIZE
        token = ""
        while True:
            page = fetch(min(size, MAX_PAGE_SIZE), token)
            yield from page.items
            token = page.next_page_token
            if not token:
                return

    # --- what it prints -------------------------------------------------------------------------

    def say(self, text: str = "", *, end: str = "\n") -> None:
        """Tell the person something, on stderr."""
        sys.stderr.write(printable(text) + end)
        sys.stderr.flush()

    def warn(self, text: str) -> None:
        """Warn, on stderr, unless --verbosity asks for less."""
        if self.verbosity <= LEVELS["warning"]:
            self.say(f"WARNING: {text}")

    @property
    def verbosity(self) -> int:
        """From which level on messages are shown, as in `logging`."""
        return LEVELS[self.flags.verbosity.lower() or "warning"]

    @property
    def is_format_given(self) -> bool:
        """Whether --format was given."""
        return bool(self.flags.format)

    @property
    def has_own_columns(self) -> bool:
        """Whether the command says which columns a list has: --format names none."""
        return self.flags.format in ("", "csv", "table")

    def write(self, text: str) -> None:
        """Put a result on stdout."""
        sys.stdout.write(text)

    def show(self, value: Any, *, form: str = "") -> None:
        """Put one result on stdout, in --format or else in `form`."""
        from mlengine.cli.listing import flattened
        from mlengine.cli.output import render

        rows = list(flattened([value], self.flags.flatten))
        self.write(render(self._format(form), rows, single=not self.flags.flatten))

    def show_all(
        self,
        resources: Iterable[Resource] | Iterable[dict[str, Any]],
        *,
        form: str = "",
        keys: Sequence[Column] = (),
    ) -> None:
        """Put a list on stdout, filtered, sorted and cut as the flags say.

        Args:
            resources: What is listed.
            form: How it is shown without --format, where the command has no format of its own.
            keys: Columns that --filter and --sort-by may name too, whether they are shown or not.
        """
        from mlengine.cli.listing import select
        from mlengine.cli.output import render

        rows = select(resources, self.flags, columns=(*self._columns(form), *keys), warn=self.warn)
        if self.flags.uri:
            self.write("".join(self._uri(row) + "\n" for row in rows))
        else:
            self.write(render(self._format(form), rows))
        if not rows:
            self.say("Listed 0 items.")

    def _columns(self, default: str) -> tuple[Column, ...]:
        """Return what --filter and --sort-by may name by its heading, in --format or not."""
        from mlengine.cli.output import parse_format

        text = self.own_form or default
        own = parse_format(text).columns if text else ()
        given = self.form.columns if self.form else ()
        # A field shown by its own name needs no heading to be found, and may be none of the rows'.
        return (*(c for c in given if [str(p).upper() for p in c.path] != [c.heading]), *own)

    def _uri(self, row: dict[str, Any]) -> str:
        """Return where the API has a resource; a job and a bucket have no name of that kind."""
        if "url" in row:
            return printable(str(row["url"]), newline="\\n")
        name = str(row.get("name", ""))
        if "jobId" in row:
            name = f"projects/{self.project}/jobs/{row['jobId']}"
        root = "api/v1" if "/keys/" in name else "v1"  # Google has none of these
        return f"{self.endpoint}/{root}/{name}" if "/" in name else f"gs://{name}/"

    def stream(self, form: str, *, write: Callable[[str], object] | None = None) -> Stream:
        """Return a printer of records that come one by one."""
        from mlengine.cli.output import Stream

        return Stream(self._format(form), write or self._write_now)

    def _write_now(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    @property
    def endpoint(self) -> str:
        """URL of the engine in use, without a slash at the end."""
        if self.settings.endpoint:
            return self.settings.endpoint.rstrip("/")
        from mlengine.engine.home import read_engine_file

        return str((read_engine_file(self.settings.home) or {}).get("url", "")).rstrip("/")

    def _format(self, default: str) -> Format:
        from mlengine.cli.output import parse_format

        if self.form:
            return self.form
        return parse_format(default or "yaml")

    # --- what it asks ---------------------------------------------------------------------------

    def confirm(self, message: str) -> None:
        """Say what will happen and ask to go on; --quiet, or nobody to ask, means yes.

        Raises:
            CommandError: The person said no.
        """
        self.say(message + "\n")
        if self.flags.quiet or not is_someone_there():
            return
        while True:
            self.say("Do you want to continue (Y/n)?  ", end="")
            answer = sys.stdin.readline()
            if answer.strip().lower() in ("", "y", "yes"):
                return
            if answer.strip().lower() in ("n", "no"):
                raise CommandError("Aborted by user.")
            self.say("Please enter 'y' or 'n':  ")


def is_someone_there() -> bool:
    """Tell whether somebody could answer a question."""
    return sys.stdin is not None and sys.stdin.isatty()


class _Marked:
    """An engine whose errors are known to be its answers, not the command's own."""

    def __init__(self, engine: Engine, log: Callable[[str, tuple[Any, ...]], None]) -> None:
        self._engine, self._log = engine, log

    def __getattr__(self, name: str) -> Any:
        verb = getattr(self._engine, name)

        def call(*args: Any, **named: Any) -> Any:
            self._log(name, args)
            try:
                return verb(*args, **named)
            except EngineError as error:
                answered(error, conflict_in=str(args[0]) if name in _CREATED_IN_PROJECT else "")
                raise

        return call


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else text[:197] + "..."


pass_session = click.make_pass_decorator(Session)
