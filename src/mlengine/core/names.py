"""Resource names: the one module that takes them apart and puts them together.

An `…_id` is the last part (``census``), a `…_name` the whole path (``projects/p/models/census``).
Others ask here; only the command line cuts ids off by itself, and three functions do that the
gateway passes on every call (`words_of`, `shown_version`, `Grant.covers`), where asking costs.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from mlengine.core.errors import InvalidArgument

__all__ = [
    "StudyRef",
    "VersionRef",
    "check_bucket_id",
    "check_id",
    "check_labels",
    "check_project",
    "check_study_id",
    "check_trial_id",
    "is_id",
    "is_project",
    "job_name",
    "last_id",
    "location_name",
    "model_name",
    "model_of",
    "operation_name",
    "parse_model_or_version",
    "parse_study",
    "parse_version",
    "project_flag",
    "project_name",
    "project_number",
    "study_name",
    "trial_name",
    "version_name",
]

_ID = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,127}", re.ASCII)
_STUDY = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)
_TRIAL = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)
_PROJECT = re.compile(r"[a-z0-9][a-z0-9-]{0,62}", re.ASCII)
# Google's rule: up to 63 characters, or parts of as many joined by dots, up to 222 of all.
_BUCKET_PART = r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?"
_BUCKET = re.compile(rf"(?=.{{3,222}}\Z){_BUCKET_PART}(?:\.{_BUCKET_PART})*", re.ASCII)
_ADDRESS = re.compile(r"[0-9]+(?:\.[0-9]+){3}", re.ASCII)
_MAX_LABELS = 64


class VersionRef(NamedTuple):
    """A model, or one version of it when `version_id` is not empty."""

    project: str
    model_id: str
    version_id: str = ""


class StudyRef(NamedTuple):
    """A study in its location."""

    project: str
    location_id: str
    study_id: str


def is_id(text: str) -> bool:
    """Tell whether a text may be the id of a job, model or version."""
    return _ID.fullmatch(text) is not None


def is_project(text: str) -> bool:
    """Tell whether a text may name a project."""
    return _PROJECT.fullmatch(text) is not None


def check_id(value: str, *, kind: str, field: str) -> str:
    """Return `value` if it may name a job, model or version.

    Args:
        value: The bare id.
        kind: What it names, for the message: ``job``, ``model``, ``version``.
        field: The request's field, such as ``job.job_id``.

    Raises:
        InvalidArgument: It is empty, too long, or has other characters.
    """
    if is_id(value):
        return value
    shown = value if len(value) <= 64 else value[:61] + "..."
    raise InvalidArgument(
        f"The {kind} id {shown!r} is not valid.",
        "Use 1-128 letters, digits and underscores, starting with a letter.",
        field=field,
    )


def check_project(value: str) -> str:
    """Return `value` if it may name a project."""
    if is_project(value):
        return value
    raise InvalidArgument(
        f"The project id {value[:64]!r} is not valid.",
        "Use 1-63 lower-case letters, digits and hyphens, starting with a letter or digit.",
        field="project",
    )


def project_number(value: str) -> int:
    """Return the number of a project that is called by it; 0 for one that has a name.

    Example:
        >>> project_number("191212"), project_number("demos-191212")
        (191212, 0)
    """
    return int(value) if value.isascii() and value.isdigit() and len(value) <= 18 else 0


def check_bucket_id(value: str) -> str:
    """Return `value` if it may name a bucket.

    Example:
        >>> check_bucket_id("models.example.com")
        'models.example.com'
    """
    if _BUCKET.fullmatch(value) and not _ADDRESS.fullmatch(value):
        return value
    raise InvalidArgument(
        f"The bucket name {value[:64]!r} is not valid.",
        "Use 3-63 lower-case letters, digits, hyphens and underscores, starting and ending with "
        "a letter or digit; or such parts joined by dots, but no IP address.",
        field="bucket",
    )


def check_study_id(value: str, *, field: str) -> str:
    """Return `value` if it may name a study."""
    if _STUDY.fullmatch(value):
        return value
    raise InvalidArgument(
        f"The study id {value[:64]!r} is not valid.",
        "Use 1-128 letters, digits, underscores and hyphens.",
        field=field,
    )


def check_trial_id(value: str, *, field: str) -> int:
    """Return the number of a trial's id.

    Example:
        >>> check_trial_id("12", field="name")
        12
    """
    if _TRIAL.fullmatch(value):
        return int(value)
    raise InvalidArgument(
        f"The trial id {value[:64]!r} is not valid.",
        "Trials are numbered: 1, 2, 3, …",
        field=field,
    )


def check_labels(labels: dict[str, str], *, field: str) -> None:
    """Raise `InvalidArgument` unless keys and values follow Google's label rule."""
    if len(labels) > _MAX_LABELS:
        raise InvalidArgument(f"{len(labels)} labels are too many.", "Use at most 64.", field=field)
    for key, value in labels.items():
        if not key or not _starts_lower(key) or not _is_label(key):
            raise InvalidArgument(
                f"The label key {key[:64]!r} is not valid.",
                "Use 1-63 lower-case letters, digits, '_' and '-', starting with a letter.",
                field=field,
            )
        if not _is_label(value):
            raise InvalidArgument(
                f"The value {value[:64]!r} of label '{key}' is not valid.",
                "Use at most 63 lower-case letters, digits, '_' and '-'.",
                field=field,
            )


def _starts_lower(text: str) -> bool:
    return text[0].isalpha() and not text[0].isupper()


def _is_label(text: str) -> bool:
    return len(text) <= 63 and all(c in "_-" or (c.isalnum() and not c.isupper()) for c in text)


def project_name(project: str) -> str:
    """Return ``projects/P``."""
    return f"projects/{project}"


def project_flag(name: str) -> str:
    """Return what a command needs to be about a resource's project; empty where it needs nothing.

    Args:
        name: A name that was made here: what it says is not checked again.

    Example:
        >>> project_flag("projects/p/models/census"), project_flag("projects/default/models/census")
        (' --project p', '')
    """
    project = name.split("/")[1]
    return "" if project == "default" else f" --project {project}"


def job_name(project: str, job_id: str) -> str:
    """Return ``projects/P/jobs/J``."""
    return f"projects/{project}/jobs/{job_id}"


def model_name(project: str, model_id: str) -> str:
    """Return ``projects/P/models/M``."""
    return f"projects/{project}/models/{model_id}"


def version_name(project: str, model_id: str, version_id: str) -> str:
    """Return ``projects/P/models/M/versions/V``."""
    return f"projects/{project}/models/{model_id}/versions/{version_id}"


def study_name(project: str, location_id: str, study_id: str) -> str:
    """Return ``projects/P/locations/L/studies/S``."""
    return f"projects/{project}/locations/{location_id}/studies/{study_id}"


def trial_name(project: str, location_id: str, study_id: str, number: int) -> str:
    """Return ``projects/P/locations/L/studies/S/trials/1``."""
    return f"{study_name(project, location_id, study_id)}/trials/{number}"


def operation_name(project: str, operation_id: str, location_id: str = "") -> str:
    """Return ``projects/P/operations/O``, or ``projects/P/locations/L/operations/O``."""
    place = f"/locations/{location_id}" if location_id else ""
    return f"projects/{project}{place}/operations/{operation_id}"


def location_name(project: str, location_id: str) -> str:
    """Return ``projects/P/locations/L``."""
    return f"projects/{project}/locations/{location_id}"


def last_id(name: str) -> str:
    """Return the id that a resource's name ends with.

    Args:
        name: A name that was made here: what it says is not checked again.

    Example:
        >>> last_id("projects/p/models/census/versions/v1")
        'v1'
    """
    return name.rpartition("/")[2]


def model_of(version: str) -> str:
    """Return the model's name that a version's begins with.

    Args:
        version: A name that was made here: what it says is not checked again.

    Example:
        >>> model_of("projects/p/models/census/versions/v1")
        'projects/p/models/census'
    """
    return version.partition("/versions/")[0]


def parse_model_or_version(name: str, *, field: str) -> VersionRef:
    """Take ``projects/P/models/M`` or ``projects/P/models/M/versions/V`` apart.

    Example:
        >>> parse_model_or_version("projects/p/models/census/versions/v1", field="name")
        VersionRef(project='p', model_id='census', version_id='v1')
    """
    match name.split("/"):
        case ["projects", project, "models", model_id]:
            version_id = ""
        case ["projects", project, "models", model_id, "versions", version_id]:
            check_id(version_id, kind="version", field=field)
        case _:
            raise InvalidArgument(
                f"{name[:200]!r} names no model.",
                "Write projects/PROJECT/models/MODEL or "
                "projects/PROJECT/models/MODEL/versions/VERSION.",
                field=field,
            )
    check_project(project)
    check_id(model_id, kind="model", field=field)
    return VersionRef(project, model_id, version_id)


def parse_study(name: str, *, field: str) -> StudyRef:
    """Take ``projects/P/locations/L/studies/S`` apart.

    Example:
        >>> parse_study("projects/p/locations/local/studies/s", field="name").study_id
        's'
    """
    match name.split("/"):
        case ["projects", project, "locations", location_id, "studies", study_id]:
            check_project(project)
            check_study_id(study_id, field=field)
            return StudyRef(project, location_id, study_id)
    raise InvalidArgument(
        f"{name[:200]!r} names no study.",
        "Write projects/PROJECT/locations/LOCATION/studies/STUDY.",
        field=field,
    )


def parse_version(name: str, *, field: str) -> VersionRef:
    """Take ``projects/P/models/M/versions/V`` apart; a bare model is refused."""
    ref = parse_model_or_version(name, field=field)
    if not ref.version_id:
        raise InvalidArgument(
            f"{name!r} names a model, not a version.", "Append /versions/VERSION.", field=field
        )
    return ref
