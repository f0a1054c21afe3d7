"""How a local engine has the verbs for traffic."""

from __future__ import annotations

from collections.abc import Sequence

from mlengine.core.names import check_project, model_name
from mlengine.core.traffic import AddOutcomesResponse, Comparison, ModelStats, ModelTraffic, Outcome
from mlengine.engine.settings import Settings
from mlengine.engine.trafficverbs import TrafficVerbs
from mlengine.models.registry import Models
from mlengine.prediction.control import GatewayControl
from mlengine.prediction.stats import stats_of
from mlengine.prediction.traffic.experiments import Experiments

__all__ = ["LocalTraffic"]


class LocalTraffic:
    """Implements `TrafficVerbs` by `prediction.experiments`, in this process."""

    _models: Models
    _experiments: Experiments
    _settings: Settings

    def get_traffic(self, project: str, model_id: str) -> ModelTraffic:
        return self._experiments.get(*self._known(project, model_id))

    def set_traffic(self, project: str, model_id: str, traffic: ModelTraffic) -> ModelTraffic:
        return self._experiments.set(*self._known(project, model_id), traffic)

    def clear_traffic(self, project: str, model_id: str) -> ModelTraffic:
        return self._experiments.clear(*self._known(project, model_id))

    def model_stats(self, project: str, model_id: str) -> ModelStats:
        name = model_name(*self._known(project, model_id))
        return stats_of(name, GatewayControl(self._settings.run).stats())

    def compare_versions(
        self, project: str, model_id: str, baseline: str, candidate: str
    ) -> Comparison:
        known = self._known(project, model_id)
        return self._experiments.compare(*known, baseline, candidate)

    def add_outcomes(
        self, project: str, model_id: str, outcomes: Sequence[Outcome]
    ) -> AddOutcomesResponse:
        return self._experiments.add_outcomes(*self._known(project, model_id), outcomes)

    def _known(self, project: str, model_id: str) -> tuple[str, str]:
        """Refuse a model that is not there, in the words of every other verb."""
        self._models.model_record(check_project(project), model_id)
        return project, model_id


_: type[TrafficVerbs] = LocalTraffic
