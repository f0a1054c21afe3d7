"""``projects``, ``projects.operations`` and ``projects.locations``."""

from __future__ import annotations

from mlengine.rest.calls import Answer, Call, page_answer

__all__ = [
    "cancel_operation",
    "get_config",
    "get_location",
    "get_operation",
    "list_locations",
    "list_operations",
]


def get_config(call: Call) -> Answer:
    """Tell the identity of the service in a project."""
    return call.engine.get_config(call.project)


def get_location(call: Call) -> Answer:
    """Describe a location."""
    return call.engine.get_location(call.project, call.ids["location"])


def list_locations(call: Call) -> Answer:
    """List locations."""
    return page_answer("locations", call.engine.list_locations(call.project, **call.page()))


def get_operation(call: Call) -> Answer:
    """Describe an operation, also under a location's name."""
    _check_location(call)
    return call.engine.get_operation(call.project, call.ids["operation"])


def list_operations(call: Call) -> Answer:
    """List operations; an engine is one place, so nothing is ever unreachable."""
    call.boolean("returnPartialSuccess")
    return page_answer("operations", call.engine.list_operations(call.project, **call.paging()))


def cancel_operation(call: Call) -> Answer:
    """Ask an operation to stop."""
    _check_location(call)
    call.engine.cancel_operation(call.project, call.ids["operation"])
    return {}


def _check_location(call: Call) -> None:
    if "location" in call.ids:
        call.engine.get_location(call.project, call.ids["location"])
