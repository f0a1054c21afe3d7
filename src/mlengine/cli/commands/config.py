"""`mlengine config`: settings in mlengine.toml; gcloud's property names are understood."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from mlengine.cli.errors import CommandError
from mlengine.cli.session import Session, pass_session
from mlengine.cli.tree import Group, command
from mlengine.engine import settings as engine_settings

__all__ = ["config", "setting_name"]

_PROPERTIES = {
    "ai_platform/region": "region",
    "api_endpoint_overrides/ml": "endpoint",
    "compute/region": "region",
    "core/project": "project",
    "ml_engine/local_python": "local_python",
    "ml_engine/polling_interval": "polling_interval_s",
}

config = Group("config", help="Settings, in mlengine.toml.")


def setting_name(name: str) -> str:
    """Return the setting that a name of ours, or a property of gcloud, means.

    Raises:
        CommandError: The home folder, which cannot be written in itself.
    """
    found = _PROPERTIES.get(name.lower(), name.lower().replace("-", "_"))
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
    variable = f"MLENGINE_{setting.upper()}"
    if os.environ.get(variable):
        session.warn(f"The variable {variable} is set and goes before it.")


@command(config, "unset")
@click.argument("name")
@pass_session
def unset(session: Session, name: str) -> None:
    """Go back to the default of NAME."""
    setting = setting_name(name)
    _check_exists(setting)
    engine_settings.write(_home(session), setting, None)
    session.say(f"Unset setting [{setting}].")


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
@click.option("--all", "all_", is_flag=True, help="Also settings that have their default.")
@pass_session
def list_settings(session: Session, all_: bool) -> None:
    """Show settings and their values; those with their default only with --all."""
    values: dict[str, Any] = {}
    for name, default, _what in engine_settings.describe():
        value = getattr(session.settings, name)
        if name == "home":
            values[name] = str(value)
        elif all_ or value != default:
            values[name] = engine_settings.shown(name, value)
    session.show(values)


def _check_exists(setting: str) -> None:
    from mlengine.core.errors import did_you_mean

    known = [name for name, _default, _what in engine_settings.describe()]
    if setting not in known:
        raise CommandError(
            f"There is no setting '{setting}'. {did_you_mean(setting, known)}"
            "See 'mlengine config list --all'."
        )
