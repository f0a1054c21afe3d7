"""Traffic of an engine somewhere else."""

from __future__ import annotations

from collections.abc import Sequence

from mlengine.client.calls import Calls, query_text, v1
from mlengine.core.names import model_name
from mlengine.core.traffic import (
    AddOutcomesRequest,
    AddOutcomesResponse,
    Comparison,
    ModelStats,
    ModelTraffic,
    Outcome,
)
from mlengine.core.wire import decode_answer
from mlengine.engine.trafficverbs import TrafficVerbs

__all__ = ["HttpTraffic"]


class HttpTraffic(Calls):
    """The verbs of `TrafficVerbs`, over HTTP; each may be repeated without harm."""

    def get_traffic(self, project: str, model_id: str) -> ModelTraffic:
        """Tell who gets a model's predictions."""
        return self._get(ModelTraffic, _path(project, model_id))

    def set_traffic(self, project: str, model_id: str, traffic: ModelTraffic) -> ModelTraffic:
        """Share a model's predictions out anew."""
        # With an etag, a second try of one that was done would be told that it came too late.
        safe = not traffic.etag
        found = self._call("PUT", _path(project, model_id), traffic, safe=safe)
        return decode_answer(ModelTraffic, found, at="traffic")

    def clear_traffic(self, project: str, model_id: str) -> ModelTraffic:
        """Let the default version answer all again."""
        found = self._call("DELETE", _path(project, model_id), safe=True)
        return decode_answer(ModelTraffic, found, at="traffic")

    def model_stats(self, project: str, model_id: str) -> ModelStats:
        """Tell what the gateway has counted of each version since it started."""
        return self._get(ModelStats, "/api" + v1(model_name, project, model_id) + "/stats")

    def compare_versions(
        self, project: str, model_id: str, baseline: str, candidate: str
    ) -> Comparison:
        """Compare two versions by what the newest experiment has brought."""
        query = query_text(baseline=baseline, candidate=candidate)
        return self._get(Comparison, _path(project, model_id) + ":compare" + query)

    def add_outcomes(
        self, project: str, model_id: str, outcomes: Sequence[Outcome]
    ) -> AddOutcomesResponse:
        """Count what became of predictions, each once."""
        path = "/api" + v1(model_name, project, model_id) + "/outcomes"
        request = AddOutcomesRequest(outcomes=list(outcomes))
        return decode_answer(
            AddOutcomesResponse, self._call("POST", path, request, safe=True), at="found"
        )


_: type[TrafficVerbs] = HttpTraffic


def _path(project: str, model_id: str) -> str:
    return "/api" + v1(model_name, project, model_id) + "/traffic"
