"""What a model or version may say: every field is honoured, recorded, or refused by name."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec

from mlengine.core.choices import FRAMEWORKS
from mlengine.core.errors import InvalidArgument, did_you_mean
from mlengine.core.limits import (
    MAX_BATCH_DEADLINE_MS,
    MAX_BATCH_SIZE,
    MAX_PREDICT_BYTES,
    MAX_WORKER_BYTES,
)
from mlengine.core.names import check_id, check_labels
from mlengine.core.resources import (
    AutoScaling,
    ManualScaling,
    Model,
    Version,
    VersionOptions,
)
from mlengine.models.explanations import check_explanation
from mlengine.models.requestlogging import LOGGING_MASK

__all__ = [
    "MODEL_MASK",
    "REFUSED_VERSION_FIELDS",
    "VERSION_MASK",
    "check_model",
    "check_supported",
    "check_version",
    "may_sleep",
    "rescaled",
]

DEFAULT_REGION = "us-central1"

MODEL_MASK = {
    "description": "what the model is for",
    "labels": "replaced whole",
    "default_version.name": "the version that answers when none is named",
    "online_prediction_logging": "whether each prediction leaves a line in an access log",
    "online_prediction_console_logging": "recorded; what workers print is always kept",
    "etag": "checked, if sent",
}
VERSION_MASK = {
    "description": "what the version is",
    "labels": "replaced whole",
    "auto_scaling.min_nodes": "the fewest workers; 0 lets an mls1 machine sleep",
    "auto_scaling.max_nodes": "the most workers",
    "manual_scaling.nodes": "how many workers",
    **LOGGING_MASK,
    "etag": "checked, if sent",
}

# Fields of the API that this engine cannot honour yet: accepting one silently would be a lie.
REFUSED_VERSION_FIELDS: dict[str, str] = {
    "service_account": "Workers run as the engine's own user; leave it out.",
    "container": "Custom containers are not supported; deploy a model directory.",
    "routes": "Custom containers are not supported; deploy a model directory.",
}


def check_model(model: Model) -> Model:
    """Return the model as it will be stored.

    Raises:
        InvalidArgument: Bad id, label or region.
    """
    check_id(model.name, kind="model", field="model.name")
    check_labels(model.labels, field="model.labels")
    if len(model.regions) > 1:
        raise InvalidArgument(
            f"{len(model.regions)} regions are too many.", "Name one.", field="model.regions"
        )
    model.regions = model.regions or [DEFAULT_REGION]
    return model


def check_version(version: Version) -> Version:
    """Return the version as it will be stored.

    Raises:
        InvalidArgument: Bad id, label or framework, no `deploymentUri`, or a field that cannot be
            honoured.
    """
    check_id(version.name, kind="version", field="version.name")
    check_labels(version.labels, field="version.labels")
    check_supported(version)
    if not version.deployment_uri:
        raise InvalidArgument(
            "The version has no model directory.",
            "Set deploymentUri to the gs:// directory that holds the exported model.",
            field="version.deployment_uri",
        )
    _check_options(version.options or VersionOptions())
    check_explanation(version)
    _check_compile(version)
    if version.framework == "FRAMEWORK_UNSPECIFIED":
        version.framework = ""
    if version.framework and version.framework not in FRAMEWORKS:
        hint = did_you_mean(version.framework.upper(), FRAMEWORKS)
        raise InvalidArgument(
            f"The framework '{version.framework}' is unknown.",
            f"{hint}Use one of {', '.join(FRAMEWORKS)}, or leave it out to detect it.",
            field="version.framework",
        )
    _check_routine(version)
    if version.auto_scaling is not None:
        version.auto_scaling = _in_force(version.auto_scaling, version.machine_type)
    return version


def may_sleep(machine_type: str) -> bool:
    """Tell whether a version on such a machine may have no node at all, as ``mls1-…`` may."""
    return not machine_type or machine_type.startswith("mls1-")


def check_supported(version: Version) -> None:
    """Raise if the version names a field that is refused, whatever else it lacks yet.

    Raises:
        InvalidArgument: The message names the field and what to do instead.
    """
    for attribute, remedy in REFUSED_VERSION_FIELDS.items():
        if getattr(version, attribute):
            raise InvalidArgument(
                f"This engine does not support '{attribute}'.", remedy, field=f"version.{attribute}"
            )


def _check_routine(version: Version) -> None:
    name = version.prediction_class
    if not name:
        return
    if version.framework:
        raise InvalidArgument(
            f"A custom prediction routine answers in a framework's place; '{version.framework}' "
            "was named too.",
            "Leave framework out, or leave predictionClass out: packageUris alone bring the code "
            "of a scikit-learn pipeline.",
            field="version.framework",
        )
    parts = name.split(".")
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        raise InvalidArgument(
            f"'{name}' is not the full name of a class.",
            "Write its module, a dot and the class: predictor.Predictor.",
            field="version.prediction_class",
        )


def _in_force(auto: AutoScaling, machine_type: str) -> AutoScaling:
    """Return what is kept of a scaling: a machine that cannot sleep has a node, as Google's did."""
    if auto.min_nodes or may_sleep(machine_type):
        return auto
    return msgspec.structs.replace(auto, min_nodes=1)


def rescaled(old: Version, sent: Version, paths: Collection[str]) -> Version:
    """Return a version with the numbers of nodes that a patch names.

    Raises:
        InvalidArgument: It scales by hand and the patch is for one that does so by itself, or the
            other way round; or it is to sleep on a machine that cannot.
    """
    auto = {p.partition(".")[2] for p in paths if p.startswith("auto_scaling.")}
    manual = "manual_scaling.nodes" in paths
    if (auto and old.manual_scaling is not None) or (manual and old.auto_scaling is not None):
        raise InvalidArgument(
            "A version keeps the way in which it scales.",
            "Create another version to change between autoScaling and manualScaling.",
            field="version.manual_scaling" if manual else "version.auto_scaling",
        )
    changes: dict[str, Any] = {}
    if auto:
        numbers = {name: getattr(sent.auto_scaling or AutoScaling(), name) for name in auto}
        if numbers.get("min_nodes") == 0 and not may_sleep(old.machine_type):
            raise InvalidArgument(
                f"A version on '{old.machine_type}' keeps a node: its minNodes cannot be 0.",
                "Use 1 or more, or create a version on an mls1 machine type, which may sleep.",
                field="version.auto_scaling.min_nodes",
            )
        changes["auto_scaling"] = _in_force(
            msgspec.structs.replace(old.auto_scaling or AutoScaling(), **numbers), old.machine_type
        )
    if manual:
        changes["manual_scaling"] = sent.manual_scaling or ManualScaling()
    return msgspec.structs.replace(old, **changes)


def _check_options(options: VersionOptions) -> None:
    for field, value, most, means in (
        ("max_predict_bytes", options.max_predict_bytes, MAX_PREDICT_BYTES,
         "the setting 'max_predict_bytes'"),
        ("memory_bytes", options.memory_bytes, MAX_WORKER_BYTES,
         "the setting 'serving_memory_bytes'"),
        ("max_batch_size", options.max_batch_size, MAX_BATCH_SIZE, "1,024 instances"),
        ("batch_deadline_ms", options.batch_deadline_ms, MAX_BATCH_DEADLINE_MS, "no waiting"),
    ):  # fmt: skip
        if not 0 <= value <= most:
            raise InvalidArgument(
                f"{value} is no {field} of a version.",
                f"Choose up to {most}, or 0 for {means}.",
                field=f"version.options.{field}",
            )


def _check_compile(version: Version) -> None:
    target = version.options.compile if version.options else ""
    if target not in ("", "ONNX"):
        raise InvalidArgument(
            f"Versions are not compiled to '{target}'.",
            "Choose ONNX, or leave it out.",
            field="version.options.compile",
        )
    if target and version.prediction_class:
        raise InvalidArgument(
            "A custom prediction routine is not compiled.",
            "Leave out predictionClass, or options.compile.",
            field="version.options.compile",
        )
    if target and "integratedGradientsAttribution" in (version.explanation_config or {}):
        raise InvalidArgument(
            "Integrated gradients are taken in TensorFlow, which a compiled version does without.",
            "Use sampledShapleyAttribution, or leave out options.compile.",
            field="version.options.compile",
        )
