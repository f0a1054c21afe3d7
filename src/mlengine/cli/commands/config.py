"""`mlengine config`: settings in mlengine.toml; gcloud's property names are understood."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from mlengine.cli.errors import CommandError
from mlengine.cli.session import Session, pass_session
from mlengine.cli.tree import Branch, Group, command
from mlengine.engine import settings as engine_settings

__all__ = ["OF_COMMANDS", "config", "setting_name"]

OF_COMMANDS = (
    "endpoint", "ca", "token", "region", "staging_bucket", "local_python", "polling_interval_s",
)  # fmt: skip
"""Settings that commands read alone, each time anew; all others are an engine's, or of both."""

config = Group(
    "config",
    help="Settings, in mlengine.toml.",
    branches={
        "get-value": Branch("mlengine.cli.commands.config:get", "As get.", hidden=True),
    },
)


def setting_name(name: str) -> str:
    """Return the setting that a name of ours, or a property of gcloud, means.

    Raises:
        CommandError: The home folder, which cannot be written in itself.
    """
    found = engine_settings.PROPERTIES.get(name.lower(), name.lower().replace("-", "_"))
    if found == "home":
        raise CommandError("The setting 'home' cannot lie in the home itself. Set MLENGINE_HOME.")
    return found


def _home(session: Session) -> Path:
    # Not `session.settings`: a broken file has to be mendable with these very commands.
    return engine_settings.home_folder(os.environ, session.flags.home)


@command(config, "set")
@click.argument("name")
@click.argument("value")
@pass_session
def set_(session: Session, name: str, value: str) -> None:
    """Set NAME to VALUE."""
    setting = setting_name(name)
    engine_settings.write(_home(session), setting, value)
    session.say(f"Updated setting [{setting}].")
    _tell_of_engine(session, setting)
    for variable in engine_settings.variables(setting):
        if os.environ.get(variable):
            session.warn(f"The variable {variable} is set and goes before it.")
            return


@command(config, "unset")
@click.argument("name")
@pass_session
def unset(session: Session, name: str) -> None:
    """Go back to the default of NAME."""
    # Of a home, too, which somebody wrote into the file: it stops all commands but these.
    setting = "home" if name.lower() == "home" else setting_name(name)
    _check_exists(setting)
    engine_settings.write(_home(session), setting, None)
    session.say(f"Unset setting [{setting}].")
    _tell_of_engine(session, setting)


def _tell_of_engine(session: Session, setting: str) -> None:
    """Say that the engine of this home, if one runs, has what it read when it started."""
    from mlengine.engine.home import is_owned

    if setting not in OF_COMMANDS and is_owned(_home(session)):
        session.warn(
            "Commands have it now; the engine that runs keeps what it started with: "
            "run 'mlengine down', then 'mlengine up'."
        )


@command(config, "get")
@click.argument("name")
@pass_session
def get(session: Session, name: str) -> None:
    """Print the value of NAME, wherever it comes from."""
    setting = setting_name(name)
    _check_exists(setting)
    value = getattr(session.settings, setting)
    if session.form:
        session.show(value)
    elif value == "":
        session.say("(unset)")
    else:
        session.write(f"{value}\n")


@command(config, "list", form="config")
@click.argument("name", required=False)
@click.option("--all", "all_", is_flag=True, help="Also settings that have their default.")
@pass_session
def list_settings(session: Session, name: str | None, all_: bool) -> None:
    """Show settings and their values, or only NAME; those with their default only with --all."""
    only = setting_name(name) if name else ""
    if only:
        _check_exists(only)
    values: dict[str, Any] = {
        key: _shown(session, key)
        for key, default, _what in engine_settings.describe()
        if (key == only if only else all_ or getattr(session.settings, key) != default)
    }
    if session.form and session.form.columns:
        values |= _sections(session)  # scripts for gcloud ask for value(core.project)
    session.show(values)


def _sections(session: Session) -> dict[str, dict[str, Any]]:
    """Return the settings once more, as gcloud's properties."""
    found: dict[str, dict[str, Any]] = {}
    for key, setting in engine_settings.PROPERTIES.items():
        section, _slash, name = key.partition("/")
        found.setdefault(section, {})[name] = _shown(session, setting)
    return found


def _shown(session: Session, setting: str) -> Any:
    value = getattr(session.settings, setting)
    return engine_settings.shown(setting, str(value) if isinstance(value, Path) else value)


def _check_exists(setting: str) -> None:
    from mlengine.core.errors import did_you_mean

    known = [name for name, _default, _what in engine_settings.describe()]
    if setting not in known:
        raise CommandError(
            f"There is no setting '{setting}'. {did_you_mean(setting, known)}"
            "See 'mlengine config list --all'."
        )
