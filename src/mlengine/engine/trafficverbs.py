"""What `Engine` has for the traffic of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from mlengine.core.traffic import AddOutcomesResponse, Comparison, ModelStats, ModelTraffic, Outcome

__all__ = ["TrafficVerbs"]


class TrafficVerbs(Protocol):
    """The verbs; what they do stands in `prediction.experiments`."""

    def get_traffic(self, project: str, model_id: str) -> ModelTraffic: ...
    def set_traffic(self, project: str, model_id: str, traffic: ModelTraffic) -> ModelTraffic:
        """Share out the predictions that name this model and no version."""
        ...

    def clear_traffic(self, project: str, model_id: str) -> ModelTraffic:
        """Let the default version answer all of them again."""
        ...

    def model_stats(self, project: str, model_id: str) -> ModelStats:
        """Tell what the gateway has counted of each version since it started."""
        ...

    def compare_versions(
        self, project: str, model_id: str, baseline: str, candidate: str
    ) -> Comparison:
        """Compare two versions by what the newest experiment has brought."""
        ...

    def add_outcomes(
        self, project: str, model_id: str, outcomes: Sequence[Outcome]
    ) -> AddOutcomesResponse:
        """Count what became of predictions, each once."""
        ...
