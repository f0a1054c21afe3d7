"""Secrets planted in an engine's environment and settings, and where they are looked for."""

from __future__ import annotations

import contextlib
import urllib.parse
from collections.abc import Iterable
from pathlib import Path

import psutil

from tests.live.engines import LiveEngine

__all__ = ["CLOUD_KEYS", "finds_in_files", "finds_in_processes", "spellings"]

_MARK = "planted4711"
CLOUD_KEYS = {
    name: f"{_MARK}-{name.lower()}"
    for name in (
        "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "BOTO_CONFIG",
        "GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_API_KEY", "GCS_ACCESS_TOKEN",
        "CLOUDSDK_AUTH_TOKEN",
        "AZURE_STORAGE_KEY", "HF_TOKEN", "WANDB_API_KEY", "PGPASSWORD", "SSH_AUTH_SOCK",
    )
}  # fmt: skip
"""What a user's shell may hold; each value is found again wherever it goes."""


def spellings(secret: str) -> set[bytes]:
    """Return a secret as it is, and as it stands in a URL."""
    return {secret.encode(), urllib.parse.quote(secret, safe="").encode()}


def finds_in_processes(engine: LiveEngine, secrets: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return who, of all processes of an engine but itself, shows a secret; and all it looked at.

    A process belongs to the engine when it descends from it, or works in its home.
    """
    wanted = {s for secret in secrets for s in spellings(secret)}
    family = {p.pid for p in psutil.Process(engine.pid).children(recursive=True)}
    wrong, seen = [], []
    for process in psutil.process_iter():
        entry = Path(f"/proc/{process.pid}")
        with contextlib.suppress(OSError, psutil.Error):
            shown = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
            here = str(entry.joinpath("cwd").readlink()).startswith(str(engine.home))
            ours = process.pid in family or here or str(engine.home).encode() in shown
            if not ours or process.pid == engine.pid:
                continue
            name = " ".join(process.cmdline())
            seen.append(name)
            wrong += [f"{s!r} in {name}" for s in wanted if s in shown]
    return wrong, seen


def finds_in_files(engine: LiveEngine, secrets: Iterable[str]) -> list[str]:
    """Return which files of a home hold a secret."""
    wanted = {s for secret in secrets for s in spellings(secret)}
    wrong = []
    for path in engine.home.rglob("*"):
        if path.is_file() and not path.is_symlink():
            data = path.read_bytes()
            where = str(path.relative_to(engine.home))
            wrong += [f"{s!r} in {where}" for s in wanted if s in data]
    return wrong
