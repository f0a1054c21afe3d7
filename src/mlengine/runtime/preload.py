"""Imported ahead by the zygotes of workers: the worker itself, and all that it needs."""

from __future__ import annotations

from mlengine.runtime import worker

__all__ = ["worker"]
