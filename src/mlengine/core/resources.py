"""The resources of ``ml.googleapis.com/v1``, field for field.

Every class is one message of the public discovery document (revision 20251213). As in protocol
buffers, an unset field has its zero value and is left out of answers; `core.wire` reads and writes
them. Attributes are snake_case here and camelCase on the wire. `OUTPUT_ONLY` lists what a request
may carry but never sets. What is the engine's own, beyond that document, says so.

Long because it is a list: a message more is no reason for another file.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import msgspec

__all__ = [
    "AcceleratorConfig",
    "AutoScaling",
    "Bucket",
    "GetConfigResponse",
    "Int64",
    "Job",
    "JobDetails",
    "JobOptions",
    "Location",
    "LogEntry",
    "ManualScaling",
    "MetricSeries",
    "Model",
    "Object",
    "Operation",
    "OperationMetadata",
    "PredictionInput",
    "PredictionOutput",
    "ReplicaConfig",
    "RequestLoggingConfig",
    "Resource",
    "Runtime",
    "Scheduling",
    "TrainingInput",
    "TrainingOutput",
    "Version",
    "VersionDetails",
    "VersionOptions",
]

Int64 = Annotated[int, msgspec.Meta(extra={"int64": True})]
"""An integer that JSON carries as a string, because JavaScript cannot hold 64 bits."""

JsonObject = dict[str, Any]


class Resource(
    msgspec.Struct, kw_only=True, omit_defaults=True, rename="camel", forbid_unknown_fields=True
):
    """A message of the API."""

    OUTPUT_ONLY: ClassVar[frozenset[str]] = frozenset()


# --- jobs ---------------------------------------------------------------------------------------


class AcceleratorConfig(Resource):
    """GPUs of a replica or of a version's node."""

    type: str = ""
    count: Int64 = 0


class DiskConfig(Resource):
    """Boot disk of a replica."""

    boot_disk_type: str = ""
    boot_disk_size_gb: int = 0


class ReplicaConfig(Resource):
    """Per-role settings of a training job."""

    accelerator_config: AcceleratorConfig | None = None
    image_uri: str = ""
    container_command: list[str] = []
    container_args: list[str] = []
    disk_config: DiskConfig | None = None
    tpu_tf_version: str = ""


class Scheduling(Resource):
    """Time limits (protobuf durations such as ``"7200s"``) and priority (0-1000, higher first)."""

    max_running_time: str = ""
    max_wait_time: str = ""
    priority: int = 0


class EncryptionConfig(Resource):
    """Customer-managed key."""

    kms_key_name: str = ""


class TrainingInput(Resource):
    """What a training job runs."""

    scale_tier: str = ""
    master_type: str = ""
    master_config: ReplicaConfig | None = None
    worker_type: str = ""
    worker_config: ReplicaConfig | None = None
    parameter_server_type: str = ""
    parameter_server_config: ReplicaConfig | None = None
    evaluator_type: str = ""
    evaluator_config: ReplicaConfig | None = None
    worker_count: Int64 = 0
    parameter_server_count: Int64 = 0
    evaluator_count: Int64 = 0
    package_uris: list[str] = []
    python_module: str = ""
    args: list[str] = []
    hyperparameters: JsonObject | None = None
    region: str = ""
    job_dir: str = ""
    runtime_version: str = ""
    python_version: str = ""
    encryption_config: EncryptionConfig | None = None
    scheduling: Scheduling | None = None
    network: str = ""
    service_account: str = ""
    use_chief_in_tf_config: bool = False
    enable_web_access: bool = False


class TrainingOutput(Resource):
    """What a training job has produced so far."""

    completed_trial_count: Int64 = 0
    trials: list[JsonObject] = []
    consumed_m_l_units: float = msgspec.field(default=0.0, name="consumedMLUnits")
    is_hyperparameter_tuning_job: bool = False
    is_built_in_algorithm_job: bool = False
    built_in_algorithm_output: JsonObject | None = None
    hyperparameter_metric_tag: str = ""
    web_access_uris: dict[str, str] = {}


class PredictionInput(Resource):
    """What a batch prediction job reads, with which model, and where it writes."""

    model_name: str = ""
    version_name: str = ""
    uri: str = ""
    data_format: str = ""
    output_data_format: str = ""
    input_paths: list[str] = []
    output_path: str = ""
    region: str = ""
    max_worker_count: Int64 = 0
    batch_size: Int64 = 0
    runtime_version: str = ""
    signature_name: str = ""


class PredictionOutput(Resource):
    """What a batch prediction job has produced so far; counts are instances."""

    output_path: str = ""
    prediction_count: Int64 = 0
    error_count: Int64 = 0
    node_hours: float = 0.0


class JobOptions(Resource):
    """What this engine can be asked for beyond ``ml.v1``; a client of Google's never sends it.

    `allow` names the findings that may not fail the job (see `training.verdict`). `max_retries` is
    how often the whole job is started again after a failure that may pass; -1 leaves it to the
    engine's setting. `trial_early_stopping` names the rule by which a tuning job stops trials.
    """

    strict_runtime: bool = False
    strict_resources: bool = False
    legacy_keras: bool = False
    max_retries: int = -1
    trial_early_stopping: str = ""
    allow: list[str] = []


class JobDetails(Resource):
    """What this engine can tell of a job beyond ``ml.v1``: all of it is output.

    Times are seconds of the newest attempt: waiting for its turn, making its environment, starting
    its replicas, running, keeping what it made, and judging that. `warnings` is everything a user
    should see. What remains is an estimate, of a tuning job that runs, from the trials that are
    over.
    """

    runtime: str = ""
    environment: str = ""
    environment_hit: bool = False
    attempt: int = 0
    queue_seconds: float = 0.0
    environment_seconds: float = 0.0
    start_seconds: float = 0.0
    run_seconds: float = 0.0
    upload_seconds: float = 0.0
    judge_seconds: float = 0.0
    remaining_seconds: float = 0.0
    remaining_usd: float = 0.0
    warnings: list[str] = []


class Job(Resource):
    """A training or batch prediction run; its id is used up for ever.

    `options` and `details` are this engine's own; the rest is ``ml.v1``.
    """

    OUTPUT_ONLY = frozenset(
        {
            "create_time", "start_time", "end_time", "state", "error_message",
            "training_output", "prediction_output", "job_position", "details",
        }
    )  # fmt: skip

    job_id: str = ""
    training_input: TrainingInput | None = None
    prediction_input: PredictionInput | None = None
    create_time: str = ""
    start_time: str = ""
    end_time: str = ""
    state: str = ""
    error_message: str = ""
    training_output: TrainingOutput | None = None
    prediction_output: PredictionOutput | None = None
    labels: dict[str, str] = {}
    etag: str = ""
    job_position: Int64 = 0
    options: JobOptions | None = None
    details: JobDetails | None = None


# --- models and versions ------------------------------------------------------------------------


class AutoScaling(Resource):
    """How many nodes a version may have."""

    min_nodes: int = 0
    max_nodes: int = 0
    metrics: list[JsonObject] = []


class ManualScaling(Resource):
    """How many nodes a version has."""

    nodes: int = 0


class RequestLoggingConfig(Resource):
    """Which share of requests is kept in which table."""

    sampling_percentage: float = 0.0
    bigquery_table_name: str = ""


class VersionOptions(Resource):
    """What this engine can be asked for beyond ``ml.v1``; a client of Google's never sends it.

    `max_predict_bytes` is the longest request, up to 1 GiB; 0 leaves it to the engine's setting.
    `max_batch_size` is how many instances requests may share a call of the model for; 0: 1,024.
    `batch_deadline_ms` is how long a request may wait for others to share; 0: not at all.
    `compile` is ``ONNX`` for a model that is to be answered from that form of it, if it gives the
    same within 1e-5; otherwise, and with "", it is answered by the library it was made with.
    `memory_bytes` is what a worker's processes may hold; 0: as much as all workers together may.
    `network` lets the workers reach the internet; without it they open no socket at all.
    """

    max_predict_bytes: Int64 = 0
    max_batch_size: int = 0
    batch_deadline_ms: int = 0
    compile: str = ""
    memory_bytes: Int64 = 0
    network: bool = False


class VersionDetails(Resource):
    """What loaded a version when it was created: the framework, and the version of its library."""

    framework: str = ""
    library_version: str = ""


class Version(Resource):
    """One loadable artefact under a model.

    `options` and `details` are this engine's own; the rest is ``ml.v1``.
    """

    OUTPUT_ONLY = frozenset(
        {
            "is_default", "create_time", "last_use_time", "state", "error_message",
            "last_migration_time", "last_migration_model_id", "details",
        }
    )  # fmt: skip

    name: str = ""
    description: str = ""
    is_default: bool = False
    deployment_uri: str = ""
    create_time: str = ""
    last_use_time: str = ""
    runtime_version: str = ""
    python_version: str = ""
    machine_type: str = ""
    auto_scaling: AutoScaling | None = None
    manual_scaling: ManualScaling | None = None
    state: str = ""
    error_message: str = ""
    package_uris: list[str] = []
    prediction_class: str = ""
    labels: dict[str, str] = {}
    etag: str = ""
    framework: str = ""
    service_account: str = ""
    accelerator_config: AcceleratorConfig | None = None
    container: JsonObject | None = None
    routes: JsonObject | None = None
    request_logging_config: RequestLoggingConfig | None = None
    explanation_config: JsonObject | None = None
    options: VersionOptions | None = None
    last_migration_time: str = ""
    last_migration_model_id: str = ""
    details: VersionDetails | None = None


class Model(Resource):
    """A name that versions live under; one version is the default."""

    OUTPUT_ONLY = frozenset({"default_version"})

    name: str = ""
    description: str = ""
    default_version: Version | None = None
    regions: list[str] = []
    online_prediction_logging: bool = False
    online_prediction_console_logging: bool = False
    labels: dict[str, str] = {}
    etag: str = ""


# --- long-running operations --------------------------------------------------------------------


class OperationMetadata(Resource):
    """What an operation is about."""

    create_time: str = ""
    start_time: str = ""
    end_time: str = ""
    is_cancellation_requested: bool = False
    operation_type: str = ""
    model_name: str = ""
    version: Version | None = None
    project_number: Int64 = 0
    labels: dict[str, str] = {}


class Operation(Resource):
    """Work that goes on after the answer; `metadata` and `response` are tagged with ``@type``."""

    name: str = ""
    metadata: JsonObject = {}
    done: bool = False
    error: JsonObject | None = None
    response: JsonObject | None = None


# --- projects and locations ---------------------------------------------------------------------


class Location(Resource):
    """A place where jobs and versions may run; an engine has one."""

    name: str = ""
    capabilities: list[JsonObject] = []


class GetConfigResponse(Resource):
    """Identity of the service in a project."""

    service_account: str = ""
    service_account_project: Int64 = 0
    config: JsonObject | None = None


# --- the engine's own resources -----------------------------------------------------------------


class Bucket(Resource):
    """A named store behind ``gs://name/…``; `backing` is a URL, or empty for a folder here."""

    OUTPUT_ONLY = frozenset({"create_time"})

    name: str = ""
    backing: str = ""
    create_time: str = ""


class Object(Resource):
    """One object of a bucket; `name` has no leading slash, `size` is bytes."""

    bucket: str = ""
    name: str = ""
    size: Int64 = 0
    updated: str = ""


class Runtime(Resource):
    """A named, pinned set of libraries that jobs can ask for as ``runtimeVersion``.

    Attributes:
        python: What interpreter it needs, such as ``>=3.10,<3.13``.
        interpreter: The one found on this machine; empty when there is none, and then `problem`
            says what to install.
        built: It is on disk; `size_bytes` and `digest` are then those of its environment.
        problem: Why it cannot be had as it is, or what stands in for it.
        log: File on the engine's machine that holds what its last build said.
    """

    name: str = ""
    description: str = ""
    aliases: list[str] = []
    python: str = ""
    interpreter: str = ""
    requirements: list[str] = []
    built: bool = False
    digest: str = ""
    size_bytes: Int64 = 0
    last_use_time: str = ""
    problem: str = ""
    log: str = ""


class MetricSeries(Resource):
    """One metric of a job over time.

    Attributes:
        tag: Its name, as the trainer wrote it.
        run: The folder below the job directory whose event files have it, or the replica's name.
        source: ``tensorboard``, ``hypertune`` or ``log``.
        steps: In increasing order; `values` and `times` (seconds since the epoch) go with them.
            A value that JSON cannot carry is one of the strings ``NaN``, ``Infinity``,
            ``-Infinity``, as in protocol buffers. Of a series with more than 10,000 points they
            are thinned evenly; its first and its last point stay.
        points: How many points there are, listed or not.
        min: The least finite value of all points.
        max: The greatest.
        notes: What is missing: points that could not be read, or are gone.
    """

    tag: str = ""
    run: str = ""
    source: str = ""
    steps: list[int] = []
    values: list[float | str] = []
    times: list[float] = []
    points: int = 0
    min: float | None = None
    max: float | None = None
    notes: list[str] = []


class LogEntry(Resource):
    """One line that a replica or the engine said about a job."""

    timestamp: str = ""
    severity: str = ""
    task_name: str = ""
    trial_id: str = ""
    message: str = ""
    json_payload: JsonObject | None = None
    insert_id: str = ""
