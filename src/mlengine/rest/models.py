"""``projects.models`` and ``projects.models.versions``: what answers predictions."""

from __future__ import annotations

from collections.abc import Mapping

from mlengine.core.names import model_name
from mlengine.core.resources import Model, Version
from mlengine.core.wire import decode
from mlengine.rest.calls import Answer, Call, bare_id, page_answer

__all__ = [
    "create",
    "create_version",
    "delete",
    "delete_version",
    "explain",
    "get",
    "get_version",
    "list_",
    "list_versions",
    "patch",
    "patch_version",
    "predict",
    "set_default_version",
]


def create(call: Call) -> Answer:
    """Make a model."""
    return call.engine.create_model(call.project, _model(call))


def get(call: Call) -> Answer:
    """Describe a model."""
    return call.engine.get_model(call.project, call.ids["model"])


def list_(call: Call) -> Answer:
    """List models."""
    return page_answer("models", call.engine.list_models(call.project, **call.paging()))


def patch(call: Call) -> Answer:
    """Change a model's description, labels or default version."""
    model = _model(call)
    # Output only everywhere but here: the mask may name `default_version.name`.
    body = call.body if isinstance(call.body, Mapping) else {}
    wanted = body.get("defaultVersion", body.get("default_version"))
    if wanted is not None:
        name = decode(Version, wanted, at="model.default_version").name
        prefix = model_name(call.project, call.ids["model"]) + "/versions/"
        field = "model.default_version.name"
        model.default_version = Version(name=bare_id(name, prefix, field=field))
    mask = call.query.get("updateMask", "")
    return call.engine.update_model(call.project, call.ids["model"], model, update_mask=mask)


def delete(call: Call) -> Answer:
    """Delete a model that has no versions."""
    return call.engine.delete_model(call.project, call.ids["model"])


def create_version(call: Call) -> Answer:
    """Deploy an artefact as a version."""
    return call.engine.create_version(call.project, call.ids["model"], _version(call))


def get_version(call: Call) -> Answer:
    """Describe a version."""
    return call.engine.get_version(call.project, call.ids["model"], call.ids["version"])


def list_versions(call: Call) -> Answer:
    """List a model's versions."""
    page = call.engine.list_versions(call.project, call.ids["model"], **call.paging())
    return page_answer("versions", page)


def patch_version(call: Call) -> Answer:
    """Change a version's description, labels, scaling or request log."""
    mask = call.query.get("updateMask", "")
    model_id, version_id = call.ids["model"], call.ids["version"]
    return call.engine.update_version(
        call.project, model_id, version_id, _version(call), update_mask=mask
    )


def set_default_version(call: Call) -> Answer:
    """Make a version the one that answers for its model."""
    return call.engine.set_default_version(call.project, call.ids["model"], call.ids["version"])


def delete_version(call: Call) -> Answer:
    """Delete a version."""
    return call.engine.delete_version(call.project, call.ids["model"], call.ids["version"])


def predict(call: Call) -> Answer:
    """Answer instances with predictions."""
    version_id = call.ids.get("version", "")
    return call.engine.predict(call.project, call.ids["model"], version_id, call.raw)


def explain(call: Call) -> Answer:
    """Explain predictions by what each feature adds to them."""
    version_id = call.ids.get("version", "")
    return call.engine.explain(call.project, call.ids["model"], version_id, call.raw)


def _model(call: Call) -> Model:
    model = call.decode(Model, at="model")
    model.name = bare_id(model.name, f"projects/{call.project}/models/", field="model.name")
    return model


def _version(call: Call) -> Version:
    version = call.decode(Version, at="version")
    prefix = model_name(call.project, call.ids["model"]) + "/versions/"
    version.name = bare_id(version.name, prefix, field="version.name")
    return version
