"""The traffic of an engine of dictionaries: kept, counted once, compared by canned numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from mlengine.core.errors import NotFound
from mlengine.core.names import model_name
from mlengine.core.resources import Model
from mlengine.core.traffic import (
    AddOutcomesResponse,
    ArmReport,
    Comparison,
    Interval,
    ModelStats,
    ModelTraffic,
    Outcome,
    SampleRatio,
    VersionStats,
)

__all__ = ["FakeTraffic"]


class FakeTraffic:
    """Keeps traffic and outcomes in dictionaries.

    Attributes:
        before: Called with the verb's name first.
        comparison: What `compare_versions` answers, but for the versions' names.
    """

    before: Callable[[str], None]
    models: dict[tuple[str, str], Model]

    def __init__(self) -> None:
        super().__init__()
        self.traffics: dict[str, ModelTraffic] = {}
        self.outcomes: dict[str, float] = {}
        self.comparison = Comparison(
            error_rate=Interval(estimate=0.0, low=-0.01, high=0.01, verdict="undecided"),
            outcome=Interval(estimate=2.5, low=0.5, high=4.5, verdict="higher"),
            sample_ratios=[
                SampleRatio(of="predictions", expected=0.5, seen=0.4, p_value=1e-4, alarm=True)
            ],
            confidence=0.95,
        )

    def get_traffic(self, project: str, model_id: str) -> ModelTraffic:
        self.before("get_traffic")
        name = model_name(project, model_id)
        if (project, model_id) not in self.models:
            raise NotFound(f'The model resource: "{model_id}" was not found.', field="name")
        return self.traffics.get(name, ModelTraffic(name=name))

    def set_traffic(self, project: str, model_id: str, traffic: ModelTraffic) -> ModelTraffic:
        self.before("set_traffic")
        old = self.get_traffic(project, model_id)
        self.traffics[old.name] = msgspec.structs.replace(
            traffic, name=old.name, period=old.period + 1, etag=f"e{old.period + 1}"
        )
        return self.traffics[old.name]

    def clear_traffic(self, project: str, model_id: str) -> ModelTraffic:
        self.before("clear_traffic")
        return self.set_traffic(project, model_id, ModelTraffic())

    def model_stats(self, project: str, model_id: str) -> ModelStats:
        self.before("model_stats")
        one = VersionStats(
            version="v1", workers=2, requests=12, answers={"200": 10, "503": 1}, in_flight=1,
            p50_ms=1.5, p99_ms=20.25, mean_ms=2.0, log_dropped=7,
        )  # fmt: skip
        versions = [one, VersionStats(version="v2", requests=1, answers={"400": 1})]
        return ModelStats(name=self.get_traffic(project, model_id).name, versions=versions)

    def compare_versions(
        self, project: str, model_id: str, baseline: str, candidate: str
    ) -> Comparison:
        self.before("compare_versions")
        return msgspec.structs.replace(
            self.comparison,
            name=self.get_traffic(project, model_id).name,
            baseline=ArmReport(version=baseline, requests=10, error_rate=0.0, p50_ms=1.5),
            candidate=ArmReport(version=candidate, requests=12, error_rate=0.0),
        )

    def add_outcomes(
        self, project: str, model_id: str, outcomes: Sequence[Outcome]
    ) -> AddOutcomesResponse:
        self.before("add_outcomes")
        self.get_traffic(project, model_id)
        new = {one.prediction_id: one.value or 0.0 for one in outcomes}
        added = new.keys() - self.outcomes.keys()
        self.outcomes = new | self.outcomes
        return AddOutcomesResponse(added=len(added), known=len(outcomes) - len(added))
