"""Groups and commands: imported when run, refused with a hint when they do not exist."""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from mlengine.cli.argv import dashed

if TYPE_CHECKING:
    from mlengine.cli.session import Session

__all__ = ["Branch", "Command", "Group", "command"]

_CONTEXT = {
    "help_option_names": ["-h", "--help"],
    "max_content_width": 100,
    "token_normalize_func": dashed,
}
_GLOBAL_FLAGS = ("--project", "--home", "--format", "--flatten", "--quiet", "--verbosity",
                 "--log-http")  # fmt: skip
_NEGATIVE = re.compile(r"-([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?", re.ASCII)
_LIST_FLAGS = ("filter", "limit", "page_size", "sort_by", "uri")


class Branch(NamedTuple):
    """Where a group or command is, and its line in the help of the group above."""

    where: str
    help: str
    hidden: bool = False


class Group(click.Group):
    """A group whose members are imported when they are run.

    Args:
        branches: Name → `Branch`, whose `where` is ``module:attribute``.
    """

    def __init__(
        self, *args: Any, branches: Mapping[str, Branch] | None = None, **named: Any
    ) -> None:
        named.setdefault("context_settings", _CONTEXT)
        super().__init__(*args, **named)
        self._branches = branches or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name every member, without importing one."""
        return sorted({*super().list_commands(ctx), *self._branches})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a member."""
        branch = self._branches.get(cmd_name)
        if branch is None:
            return super().get_command(ctx, cmd_name)
        module, _colon, attribute = branch.where.partition(":")
        found: click.Command = getattr(importlib.import_module(module), attribute)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the members, without importing one."""
        rows = []
        for name in self.list_commands(ctx):
            branch = self._branches.get(name)
            if branch is None:
                member = super().get_command(ctx, name)
                hidden, text = (member.hidden, member.get_short_help_str(70)) if member else (1, "")
            else:
                hidden, text = branch.hidden, branch.help
            if not hidden:
                rows.append((name, text))
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a member, or say which ones were perhaps meant."""
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            names = [n for n in self.list_commands(ctx) if not self._is_hidden(n)]
            near = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.5)
            lines = [f"Invalid choice: '{name}'."]
            if near:
                lines += ["Maybe you meant:", *(f"  {ctx.command_path} {n}" for n in near)]
            else:
                lines += [f"Valid choices are: {', '.join(names)}."]
            raise click.UsageError("\n".join(lines), ctx)
        return super().resolve_command(ctx, args)

    def _is_hidden(self, name: str) -> bool:
        return name in self._branches and self._branches[name].hidden


class Command(click.Command):
    """A command that says what it takes of the global flags.

    Args:
        form: The format of its result, when --format is not given.
        lists: It prints a list, so --filter, --limit and the like mean something.
        has_uris: What it lists has addresses, which --uri prints.
        has_limit: It prints no list, and --limit means something all the same.
        takes_rest: It passes on what stands behind ``--``.
    """

    def __init__(
        self,
        *args: Any,
        form: str = "",
        lists: bool = False,
        has_uris: bool = True,
        has_limit: bool = False,
        takes_rest: bool = False,
        **named: Any,
    ) -> None:
        named.setdefault("context_settings", _CONTEXT)
        super().__init__(*args, **named)
        self.form, self.takes_rest = form, takes_rest
        self._has_uris = has_uris
        self._list_flags = _LIST_FLAGS if lists else ("limit",) if has_limit else ()

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Show that something may stand behind ``--``."""
        return [*super().collect_usage_pieces(ctx), *(["[-- ARGS...]"] if self.takes_rest else [])]

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Name the global flags that mean something here; `mlengine --help` explains them."""
        names = [n for n in self._list_flags if n != "uri" or self._has_uris]
        flags = ["--" + name.replace("_", "-") for name in names]
        formatter.write_paragraph()
        formatter.write_text("Also: " + " ".join([*flags, *_GLOBAL_FLAGS]))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the flags; every usage error knows which command it is about."""
        # As with gcloud, -1.5 is a number; a misspelled flag beside it is an argument too many.
        ctx.ignore_unknown_options = any(_NEGATIVE.fullmatch(word) for word in args)
        typed = [word.partition("=")[0] for word in args]
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:  # in the words of the line again
            named = [word for word in typed if dashed(word) == error.option_name]
            name = next(iter(named), error.option_name)
            raise click.NoSuchOption(name, possibilities=error.possibilities, ctx=ctx) from None
        except click.UsageError as error:
            error.ctx = error.ctx or ctx
            raise

    def invoke(self, ctx: click.Context) -> Any:
        """Check the global flags before anything is done, then run."""
        session: Session = ctx.obj
        session.command = dotted(ctx)
        self._check_flags(ctx, session)
        session.form, session.own_form = self._format(ctx, session), self.form
        return super().invoke(ctx)

    def _check_flags(self, ctx: click.Context, session: Session) -> None:
        if session.rest and not self.takes_rest:
            raise click.UsageError(f"unrecognized arguments: -- {' '.join(session.rest)}", ctx)
        given = [name for name in _LIST_FLAGS if getattr(session.flags, name)]
        given = [name for name in given if name not in self._list_flags]
        if given:
            flag = "--" + given[0].replace("_", "-")
            raise click.UsageError(
                f"unrecognized arguments: {flag} (it goes with commands that list)", ctx
            )
        if session.flags.uri and not self._has_uris:
            raise click.UsageError(
                "unrecognized arguments: --uri (what this lists has no addresses)", ctx
            )
        if session.flags.sort_by:
            from mlengine.cli.output import parse_sort
            from mlengine.cli.output.transforms import check_transforms

            _usage(ctx, check_transforms, _usage(ctx, parse_sort, session.flags.sort_by))

    def _format(self, ctx: click.Context, session: Session) -> Any:
        text = session.flags.format or self.form
        if not text:
            return None
        from mlengine.cli.output import parse_format
        from mlengine.cli.output.transforms import check_transforms

        form = _usage(ctx, parse_format, _with_fields(text, self.form))
        _usage(ctx, check_transforms, form.columns)
        return form


def _with_fields(text: str, default: str) -> str:
    """A bare ``table`` or ``csv`` means the command's own columns, as with gcloud."""
    kind, brackets, columns = default.partition("(")
    if text in ("csv", "table", "value") and columns and not kind.startswith("yaml"):
        return text + brackets + columns
    return text


def _usage(ctx: click.Context, read: Callable[[Any], Any], value: Any) -> Any:
    """Read a flag's text; what is wrong with it is the caller's usage."""
    try:
        return read(value)
    except ValueError as error:
        raise click.UsageError(str(error), ctx) from None


def dotted(ctx: click.Context) -> str:
    """Return a command's path as errors name it: ``mlengine.jobs.list``."""
    return ctx.command_path.replace(" ", ".")


def command(group: click.Group, name: str, **named: Any) -> Callable[[Any], Command]:
    """Add a function to a group as a `Command`."""

    def add(function: Any) -> Command:
        made: Command = click.command(name, cls=Command, **named)(function)
        group.add_command(made)
        return made

    return add


def missing(names: Sequence[str]) -> str:
    """Write what is missing as gcloud does."""
    return f"argument {' '.join(names)}: Must be specified."
