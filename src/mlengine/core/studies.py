"""Studies and trials of ``ml.googleapis.com/v1``, field for field; see `core.resources`."""

from __future__ import annotations

from mlengine.core.resources import Int64, Resource

__all__ = [
    "AddTrialMeasurementRequest",
    "AutomatedStoppingConfig",
    "CategoricalValueSpec",
    "CheckTrialEarlyStoppingStateResponse",
    "CompleteTrialRequest",
    "DiscreteValueSpec",
    "DoubleValueSpec",
    "IntegerValueSpec",
    "Measurement",
    "MetricSpec",
    "MetricValue",
    "ParentIntValues",
    "ParentNumericValues",
    "ParentTextValues",
    "StoppingRule",
    "Study",
    "StudyConfig",
    "StudyParameter",
    "SuggestTrialsRequest",
    "SuggestTrialsResponse",
    "Trial",
    "TrialDetails",
    "TrialParameter",
]


# --- what is to be found ------------------------------------------------------------------------


class MetricSpec(Resource):
    """One metric of a study, and which way is better."""

    metric: str = ""
    goal: str = ""


class DoubleValueSpec(Resource):
    """Range of a DOUBLE parameter; both ends belong to it."""

    min_value: float | None = None
    max_value: float | None = None


class IntegerValueSpec(Resource):
    """Range of an INTEGER parameter; both ends belong to it."""

    min_value: Int64 | None = None
    max_value: Int64 | None = None


class CategoricalValueSpec(Resource):
    """Choices of a CATEGORICAL parameter."""

    values: list[str] = []


class DiscreteValueSpec(Resource):
    """Points of a DISCRETE parameter, strictly increasing."""

    values: list[float] = []


class ParentIntValues(Resource):
    """Values of an INTEGER parent with which a child is active."""

    values: list[Int64] = []


class ParentNumericValues(Resource):
    """Values of a DISCRETE parent with which a child is active."""

    values: list[float] = []


class ParentTextValues(Resource):
    """Values of a CATEGORICAL parent with which a child is active."""

    values: list[str] = []


class StudyParameter(Resource):
    """One parameter; its children are active when it has one of the values that they name."""

    parameter: str = ""
    type: str = ""
    double_value_spec: DoubleValueSpec | None = None
    integer_value_spec: IntegerValueSpec | None = None
    categorical_value_spec: CategoricalValueSpec | None = None
    discrete_value_spec: DiscreteValueSpec | None = None
    scale_type: str = ""
    child_parameter_specs: list[StudyParameter] = []
    parent_discrete_values: ParentNumericValues | None = None
    parent_int_values: ParentIntValues | None = None
    parent_categorical_values: ParentTextValues | None = None


class StoppingRule(Resource):
    """A rule of early stopping: over elapsed time, or else over steps."""

    use_elapsed_time: bool = False


class AutomatedStoppingConfig(Resource):
    """When a trial need not go on; one of the three, or never. ASHA is this engine's own."""

    decay_curve_stopping_config: StoppingRule | None = None
    median_automated_stopping_config: StoppingRule | None = None
    asha_stopping_config: StoppingRule | None = None


class StudyConfig(Resource):
    """What a study looks for, where, and how; `prior_studies` is this engine's own.

    Attributes:
        prior_studies: Ids of studies of the same project and location whose trials it learns from.
    """

    metrics: list[MetricSpec] = []
    parameters: list[StudyParameter] = []
    algorithm: str = ""
    automated_stopping_config: AutomatedStoppingConfig | None = None
    prior_studies: list[str] = []


class Study(Resource):
    """A search space, its goal and its trials."""

    OUTPUT_ONLY = frozenset({"name", "state", "create_time", "inactive_reason"})

    name: str = ""
    study_config: StudyConfig | None = None
    state: str = ""
    create_time: str = ""
    inactive_reason: str = ""


# --- what was tried -----------------------------------------------------------------------------


class TrialParameter(Resource):
    """A parameter's value in a trial: exactly one of the three is set."""

    parameter: str = ""
    float_value: float | None = None
    int_value: Int64 | None = None
    string_value: str | None = None


class MetricValue(Resource):
    """What one metric was."""

    metric: str = ""
    value: float | None = None


class Measurement(Resource):
    """What was measured at one point of a trial; its time is a duration such as ``"7.5s"``."""

    OUTPUT_ONLY = frozenset({"elapsed_time"})

    elapsed_time: str = ""
    step_count: Int64 = 0
    metrics: list[MetricValue] = []


class TrialDetails(Resource):
    """Where a trial's point comes from, beyond ``ml.v1``.

    Attributes:
        origin: ``user``, ``initial design``, ``model``, ``random`` or ``grid``.
        mean: What the model expected of the metric there; absent without a model, and with
            several metrics.
        spread: Standard deviation of that.
        why: A remark, such as why a fallback was taken.
        seen: How many trials the study had when the point was chosen.
    """

    origin: str = ""
    mean: float | None = None
    spread: float | None = None
    why: str = ""
    seen: int = 0


class Trial(Resource):
    """One parameter set of a study; `details` is this engine's own, the rest is ``ml.v1``."""

    OUTPUT_ONLY = frozenset(
        {
            "name", "start_time", "end_time", "client_id", "trial_infeasible",
            "infeasible_reason", "details",
        }
    )  # fmt: skip

    name: str = ""
    state: str = ""
    parameters: list[TrialParameter] = []
    final_measurement: Measurement | None = None
    measurements: list[Measurement] = []
    start_time: str = ""
    end_time: str = ""
    client_id: str = ""
    trial_infeasible: bool = False
    infeasible_reason: str = ""
    details: TrialDetails | None = None


# --- what is asked and answered -----------------------------------------------------------------


class SuggestTrialsRequest(Resource):
    """How many trials a client wants."""

    suggestion_count: int = 0
    client_id: str = ""


class SuggestTrialsResponse(Resource):
    """What a client is to try; fewer trials than asked for when the space is exhausted."""

    trials: list[Trial] = []
    study_state: str = ""
    start_time: str = ""
    end_time: str = ""


class AddTrialMeasurementRequest(Resource):
    """What was measured."""

    measurement: Measurement | None = None


class CompleteTrialRequest(Resource):
    """How a trial ended."""

    final_measurement: Measurement | None = None
    trial_infeasible: bool = False
    infeasible_reason: str = ""


class CheckTrialEarlyStoppingStateResponse(Resource):
    """Whether a trial should come to an end."""

    should_stop: bool = False
    start_time: str = ""
    end_time: str = ""
