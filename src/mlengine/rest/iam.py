"""The IAM methods of ml.v1, on models and jobs alike."""

from __future__ import annotations

from mlengine.core.errors import InvalidArgument
from mlengine.core.policies import (
    PolicyKind,
    SetIamPolicyRequest,
    TestIamPermissionsRequest,
    TestIamPermissionsResponse,
)
from mlengine.rest.calls import Answer, Call

__all__ = ["get", "set_", "test"]


def get(call: Call) -> Answer:
    """Show who has which role over it; empty when nobody was given one."""
    requested = call.integer("options.requestedPolicyVersion")
    return call.engine.get_iam_policy(*_subject(call), requested_version=requested)


def set_(call: Call) -> Answer:
    """Say who has which role over it, in place of what was said before."""
    request = call.decode(SetIamPolicyRequest, at="request")
    if request.policy is None:
        raise InvalidArgument("There is no policy in the request.", "Send one.", field="policy")
    return call.engine.set_iam_policy(
        *_subject(call), request.policy, update_mask=request.update_mask
    )


def test(call: Call) -> Answer:
    """Tell which of these permissions the caller has over it."""
    request = call.decode(TestIamPermissionsRequest, at="request")
    found = call.engine.test_iam_permissions(*_subject(call), request.permissions)
    return TestIamPermissionsResponse(permissions=found)


def _subject(call: Call) -> tuple[PolicyKind, str, str]:
    if "model" in call.ids:
        return "models", call.project, call.ids["model"]
    return "jobs", call.project, call.ids["job"]
