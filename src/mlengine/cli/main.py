"""The entry point: one line in, an exit code out, and never a traceback for a user's mistake.

0 done · 1 the command or the engine says no · 2 the line was wrong · 130 Ctrl-C
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlengine.cli.argv import ArgvError, read_line
from mlengine.cli.errors import CommandError, CommandFailed, error_text
from mlengine.cli.output.escape import printable
from mlengine.cli.root import main_words, root
from mlengine.cli.session import Session
from mlengine.cli.tree import dotted, missing
from mlengine.core.errors import EngineError

if TYPE_CHECKING:
    from mlengine.engine import Engine
    from mlengine.engine.settings import Settings

__all__ = ["main"]

EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130
_NOT_WINDOWS = (
    "Commands run on Linux, and on macOS against an engine on another machine; this is Windows, "
    "whose Python lacks modules that they need. Run it in WSL 2, which is Linux."
)


def main(
    argv: Sequence[str] | None = None, *, connect: Callable[[Settings], Engine] | None = None
) -> int:
    """Run one command line and return its exit code.

    Args:
        argv: The words behind ``mlengine``; the process's own by default.
        connect: Finds the engine; by default the one of the settings, or a local one.
    """
    _open_closed()
    try:
        line = read_line(sys.argv[1:] if argv is None else argv)
    except ArgvError as error:
        _say(f"ERROR: (mlengine) {error}")
        return EXIT_USAGE
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a letter gets its code, not a traceback.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    session = Session(line, connect=connect)
    try:
        code = _run(session, main_words(line.words))
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        _drop_output()  # who read stdout has gone (`| head`)
        return EXIT_FAILED
    except OSError as error:
        return _failed(session, _told(error))


def _open_closed() -> None:
    """Give a process that was started without stdout or stderr (``>&-``) ones that lead nowhere."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  # as long as the process


def _drop_output() -> None:
    """Let what stdout still holds go nowhere: Python would complain once more at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _told(error: OSError) -> CommandError:
    """Say what the system refused: a file, a full disk; it is not our defect."""
    if isinstance(error, FileNotFoundError) and not error.filename and _is_folder_gone():
        return CommandError(
            "The folder that this command was started in is no longer there. Enter one that is "
            "(cd), then run the command again."
        )
    place = f" [{error.filename}]" if error.filename else ""
    return CommandError(f"{error.strerror or error}{place}")


def _is_folder_gone() -> bool:
    """Tell whether the working directory was removed; the system says so without a name."""
    try:
        Path.cwd()
    except FileNotFoundError:
        return True
    return False


def _run(session: Session, words: list[str]) -> int:
    try:
        result = root.main(args=words, prog_name="mlengine", standalone_mode=False, obj=session)
        return result if isinstance(result, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        _say(error.ctx.get_help() if error.ctx else "")
        return EXIT_USAGE
    except click.UsageError as error:
        _usage_error(error, session.command)
        return EXIT_USAGE
    except click.ClickException as error:
        return _failed(session, CommandError(error.format_message()))
    except CommandFailed:
        return EXIT_FAILED
    except (KeyboardInterrupt, click.Abort):
        _say("\n\nCommand killed by keyboard interrupt\n")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        raise
    except (CommandError, EngineError) as error:
        return _failed(session, error)
    except OSError as error:
        return _failed(session, _told(error))
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and sys.platform == "win32":
            return _failed(session, CommandError(_NOT_WINDOWS))
        return _defect(session, error)


def _failed(session: Session, error: Exception) -> int:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError:
        _drop_output()  # it is full; the error itself is still told
    if session.verbosity <= 10:
        import traceback

        traceback.print_exception(error)
    sys.stderr.write(error_text(session.command, error))
    return EXIT_FAILED


def _usage_error(error: click.UsageError, running: str) -> None:
    """Say what is wrong with the line, and which command it was about."""
    command = dotted(error.ctx) if error.ctx else running
    text = error.format_message()
    if isinstance(error, click.NoSuchOption):
        text = f"unrecognized arguments: {error.option_name}{_way_out(error)}"
    elif isinstance(error, click.BadOptionUsage) and text.endswith("requires an argument."):
        text = f"argument {error.option_name}: expected one argument"
    elif isinstance(error, click.MissingParameter) and error.param is not None:
        names = error.param.opts if error.param.param_type_name == "option" else [
            (error.param.name or "").upper()
        ]  # fmt: skip
        text = missing(names[:1])
    elif isinstance(error, click.BadParameter) and error.param is not None:
        text = f"argument {error.param.opts[0]}: {error.message}"
    elif text.startswith("Got unexpected extra argument"):
        text = "unrecognized arguments: " + text.partition("(")[2].rstrip(")")
    _say(f"ERROR: ({command}) {text}")
    if error.ctx:
        _say(error.ctx.get_usage())
        _say(f"For more: {error.ctx.command_path} --help")


def _way_out(error: click.NoSuchOption) -> str:
    """Guess what was meant by a flag that a command has not."""
    near = [name for name in error.possibilities or () if name != "--help"]
    if near:
        return f" (did you mean '{near[0]}'?)"
    takes_rest = error.ctx is not None and getattr(error.ctx.command, "takes_rest", False)
    return " (flags of the trainer itself go behind --)" if takes_rest else ""


def _defect(session: Session, error: Exception) -> int:
    """Tell of our own defect in one line; the traceback goes to a file, or is asked for."""
    import traceback

    text = "".join(traceback.format_exception(error))
    if session.verbosity <= 10:
        sys.stderr.write(printable(text))
        where = ""
    else:
        where = _keep(session, text)
    summary = printable(f"{type(error).__name__}: {error}".strip(), newline=" ")
    _say(f"ERROR: ({session.command}) mlengine has a defect: {summary[:500]}{where}")
    return EXIT_FAILED


def _keep(session: Session, text: str) -> str:
    try:
        from mlengine.engine.home import open_private

        open_private(session.settings.home)
        logs: Path = session.settings.folder("logs")
        logs.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = logs / "cli.log"
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "w") as out:
            out.write(f"mlengine {session.command}\n{text}\n")
    except Exception:  # whatever it is, it may be the very defect that is being told
        return " (run again with --verbosity debug to see where)"
    return f" (see {path}, or run again with --verbosity debug)"


def _say(text: str) -> None:
    sys.stderr.write(printable(text) + "\n")
