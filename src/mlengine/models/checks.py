"""What a model or version may say: every field is honoured, recorded, or refused by name."""

from __future__ import annotations

from typing import Any

from mlengine.core.errors import InvalidArgument, did_you_mean
from mlengine.core.names import check_id, check_labels
from mlengine.core.resources import Model, Version

__all__ = [
    "MODEL_MASK",
    "REFUSED_MODEL_FIELDS",
    "REFUSED_VERSION_FIELDS",
    "VERSION_MASK",
    "check_model",
    "check_version",
]

FRAMEWORKS = ("TENSORFLOW", "SCIKIT_LEARN", "XGBOOST", "KERAS", "ONNX")
DEFAULT_REGION = "us-central1"

MODEL_MASK = {
    "description": "what the model is for",
    "labels": "replaced whole",
    "default_version.name": "the version that answers when none is named",
    "etag": "checked, if sent",
}
VERSION_MASK = {
    "description": "what the version is",
    "labels": "replaced whole",
    "etag": "checked, if sent",
}

# Fields of the API that this engine cannot honour yet: accepting one silently would be a lie.
REFUSED_VERSION_FIELDS: dict[str, str] = {
    "auto_scaling": "A version has one worker; leave it out.",
    "manual_scaling": "A version has one worker; leave it out.",
    "accelerator_config": "Versions are served on CPUs; leave it out.",
    "package_uris": "Custom prediction code is not supported yet.",
    "prediction_class": "Custom prediction routines are not supported yet.",
    "service_account": "Workers run as the engine's own user; leave it out.",
    "container": "Custom containers are not supported; deploy a model directory.",
    "routes": "Custom containers are not supported; deploy a model directory.",
    "explanation_config": "Explanations are not supported yet.",
    "request_logging_config": "Request logging is not supported yet.",
}
REFUSED_MODEL_FIELDS: dict[str, str] = {
    "online_prediction_logging": "Access logs are not supported yet.",
    "online_prediction_console_logging": "Workers always log to the engine's logs folder.",
}


def check_model(model: Model) -> Model:
    """Return the model as it will be stored.

    Raises:
        InvalidArgument: Bad id, label or region, or a field that cannot be honoured.
    """
    check_id(model.name, kind="model", field="model.name")
    check_labels(model.labels, field="model.labels")
    _refuse(model, REFUSED_MODEL_FIELDS, "model")
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
    _refuse(version, REFUSED_VERSION_FIELDS, "version")
    if not version.deployment_uri:
        raise InvalidArgument(
            "The version has no model directory.",
            "Set deploymentUri to the gs:// directory that holds the exported model.",
            field="version.deployment_uri",
        )
    if version.framework == "FRAMEWORK_UNSPECIFIED":
        version.framework = ""
    if version.framework and version.framework not in FRAMEWORKS:
        hint = did_you_mean(version.framework.upper(), FRAMEWORKS)
        raise InvalidArgument(
            f"The framework '{version.framework}' is unknown.",
            f"{hint}Use one of {', '.join(FRAMEWORKS)}, or leave it out to detect it.",
            field="version.framework",
        )
    return version


def _refuse(resource: Any, refused: dict[str, str], root: str) -> None:
    for attribute, remedy in refused.items():
        if getattr(resource, attribute):
            raise InvalidArgument(
                f"This engine does not support '{attribute}'.", remedy, field=f"{root}.{attribute}"
            )
