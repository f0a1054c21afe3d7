"""How a model's predictions are shared among its versions, and what came of it.

These resources are the engine's own; ml.v1 knows one default version for all predictions. See
`core.resources` for how they are written.
"""

from __future__ import annotations

from mlengine.core.resources import Int64, Resource

__all__ = [
    "AddOutcomesRequest",
    "AddOutcomesResponse",
    "Agreement",
    "ArmReport",
    "Comparison",
    "Interval",
    "ModelStats",
    "ModelTraffic",
    "Outcome",
    "SampleRatio",
    "VersionStats",
]


class ModelTraffic(Resource):
    """Which versions answer the predictions that name a model and no version, and how often.

    Attributes:
        split: Version id → its parts of the whole; empty: the default version answers all.
        sticky_by: ``header:NAME`` or ``field:NAME`` of the body: equal values reach one version.
        shadow: Versions that get a copy of each prediction, after its answer, and answer nobody.
        period: Counts the changes of what is above; comparisons weigh each period by itself.
    """

    OUTPUT_ONLY = frozenset({"name", "update_time", "period"})

    name: str = ""
    split: dict[str, int] = {}
    sticky_by: str = ""
    shadow: list[str] = []
    etag: str = ""
    update_time: str = ""
    period: int = 0


class VersionStats(Resource):
    """What the gateway has counted of one version since it started.

    Attributes:
        workers: Those that are up; none while it sleeps.
        answers: HTTP status → answers.
        in_flight: Predictions that are not answered yet, `held` of which wait for it to wake.
        p50_ms: Half of the workers' answers took no longer, in milliseconds, at the gateway.
        logged: Rows that its request log took, and `log_dropped` those that were lost.
    """

    version: str = ""
    workers: int = 0
    requests: Int64 = 0
    answers: dict[str, int] = {}
    in_flight: int = 0
    held: int = 0
    p50_ms: float | None = None
    p99_ms: float | None = None
    mean_ms: float | None = None
    logged: Int64 = 0
    log_dropped: Int64 = 0


class ModelStats(Resource):
    """How the versions of a model are asked and answer; those never asked are left out."""

    name: str = ""
    versions: list[VersionStats] = []


class Outcome(Resource):
    """What became of one prediction: a click, a sale, an error of a forecast."""

    prediction_id: str = ""
    value: float | None = None


class AddOutcomesRequest(Resource):
    """Outcomes to be counted, each prediction once."""

    outcomes: list[Outcome] = []


class AddOutcomesResponse(Resource):
    """How many outcomes were counted, and how many not.

    Attributes:
        added: Counted now.
        known: Of predictions that have one already; that one stays.
        outdated: Of predictions of an experiment that is over, or of a version that is gone.
    """

    added: Int64 = 0
    known: Int64 = 0
    outdated: Int64 = 0


class ArmReport(Resource):
    """What one version did in the experiment.

    Attributes:
        errors: Answers other than 200, and predictions without an answer.
        p50_ms: Half of the answers took no longer, in milliseconds, at the gateway.
        copies: Predictions that it got as a shadow; `dropped` were too many at a time.
    """

    version: str = ""
    requests: Int64 = 0
    errors: Int64 = 0
    error_rate: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    copies: Int64 = 0
    copies_failed: Int64 = 0
    copies_dropped: Int64 = 0
    outcomes: Int64 = 0
    outcome_mean: float | None = None


class Interval(Resource):
    """Candidate less baseline, and how sure that is however often one looks.

    Attributes:
        low: Absent, as is `high`, while there is too little to say.
        verdict: ``higher`` or ``lower`` once zero lies outside; ``undecided`` before.
    """

    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    verdict: str = ""


class Agreement(Resource):
    """How often the candidate, as a shadow, said what the baseline had answered.

    Attributes:
        equal: The same JSON.
        close: Numbers differ by no more than 1e-5 of the larger one.
        uncompared: Answers that were too long to be compared.
    """

    equal: Int64 = 0
    close: Int64 = 0
    different: Int64 = 0
    uncompared: Int64 = 0
    rate: float | None = None


class SampleRatio(Resource):
    """Whether the versions got the shares that they were to get.

    Attributes:
        of: ``predictions``, ``values`` of the sticky key, or ``outcomes``.
        expected: The candidate's share of the two.
        seen: The share that it had.
        p_value: Always valid; an alarm is raised below 0.01.
    """

    of: str = ""
    expected: float | None = None
    seen: float | None = None
    p_value: float | None = None
    alarm: bool = False


class Comparison(Resource):
    """Two versions of a model side by side.

    Attributes:
        error_rate: Difference of the error rates; absent where values were drawn, not predictions:
            nobody counts whose errors they are.
        outcome: Difference of the outcomes' means.
        confidence: Of every interval, at all times together.
    """

    name: str = ""
    baseline: ArmReport | None = None
    candidate: ArmReport | None = None
    agreement: Agreement | None = None
    error_rate: Interval | None = None
    outcome: Interval | None = None
    sample_ratios: list[SampleRatio] = []
    confidence: float = 0.0
