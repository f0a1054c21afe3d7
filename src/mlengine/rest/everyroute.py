"""Every route of the engine, and those that need no token."""

from __future__ import annotations

import functools

from mlengine.rest import documents, ml_v1, own
from mlengine.rest.routes import Route

__all__ = ["every_route", "open_paths"]


@functools.cache
def every_route() -> tuple[Route, ...]:
    """Return the routes of ml.v1, the engine's own, and those that describe both."""
    tables = (*ml_v1.ROUTES, *own.ROUTES)
    return (*tables, *documents.routes(tables))


def open_paths() -> dict[str, str]:
    """Return what needs no token, path → method; whatever stands in front of the app asks too."""
    return {r.path: r.method for r in every_route() if r.is_open}
