"""The engine's own routes for the traffic of a model; part of the table in `own`."""

from __future__ import annotations

from mlengine.core.traffic import AddOutcomesRequest, ModelTraffic
from mlengine.rest.calls import Answer, Call
from mlengine.rest.routes import Route

__all__ = ["ROUTES"]

_MODEL = "/api/v1/projects/{project}/models/{model}"
_TRAFFIC = _MODEL + "/traffic"


def _get(call: Call) -> Answer:
    """Tell which versions answer the predictions that name a model and no version."""
    return call.engine.get_traffic(call.project, call.ids["model"])


def _set(call: Call) -> Answer:
    """Share these predictions out anew: `split`, `stickyBy`, `shadow`; what is not sent is off."""
    traffic = call.decode(ModelTraffic, at="traffic")
    return call.engine.set_traffic(call.project, call.ids["model"], traffic)


def _clear(call: Call) -> Answer:
    """Let the default version answer all of them again."""
    return call.engine.clear_traffic(call.project, call.ids["model"])


def _stats(call: Call) -> Answer:
    """Tell what the gateway has counted of each version since it started."""
    return call.engine.model_stats(call.project, call.ids["model"])


def _compare(call: Call) -> Answer:
    """Compare the versions `baseline` and `candidate` by what the newest experiment has brought."""
    baseline, candidate = call.query.get("baseline", ""), call.query.get("candidate", "")
    return call.engine.compare_versions(call.project, call.ids["model"], baseline, candidate)


def _add_outcomes(call: Call) -> Answer:
    """Count what became of predictions, by their answers' ids; each prediction counts once."""
    request = call.decode(AddOutcomesRequest, at="request")
    return call.engine.add_outcomes(call.project, call.ids["model"], request.outcomes)


ROUTES: tuple[Route, ...] = (
    Route(
        id="engine.models.traffic.get",
        method="GET",
        path=_TRAFFIC,
        permission="ml.models.get",
        verb="get_traffic",
        run=_get,
        response="ModelTraffic",
    ),
    Route(
        id="engine.models.traffic.set",
        method="PUT",
        path=_TRAFFIC,
        permission="ml.models.update",
        verb="set_traffic",
        run=_set,
        request="ModelTraffic",
        response="ModelTraffic",
    ),
    Route(
        id="engine.models.traffic.clear",
        method="DELETE",
        path=_TRAFFIC,
        permission="ml.models.update",
        verb="clear_traffic",
        run=_clear,
        response="ModelTraffic",
    ),
    Route(
        id="engine.models.stats.get",
        method="GET",
        path=_MODEL + "/stats",
        permission="ml.models.get",
        verb="model_stats",
        run=_stats,
        response="ModelStats",
    ),
    Route(
        id="engine.models.traffic.compare",
        method="GET",
        path=_TRAFFIC + ":compare",
        permission="ml.models.get",
        verb="compare_versions",
        run=_compare,
        query=("baseline", "candidate"),
        response="Comparison",
    ),
    Route(
        id="engine.models.outcomes.add",
        method="POST",
        path=_MODEL + "/outcomes",
        permission="ml.models.predict",
        verb="add_outcomes",
        run=_add_outcomes,
        request="AddOutcomesRequest",
        response="AddOutcomesResponse",
    ),
)
