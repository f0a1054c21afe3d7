"""The 46 methods of ``ml.googleapis.com/v1``, one row each.

This table is all there is: the router is built from it, the discovery and OpenAPI documents and
the documentation are written from it, and a test walks it.
"""

# A table is read row by row, however long a row is.
# ruff: noqa: E501

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from mlengine.core.permissions import KNOWN
from mlengine.rest import iam, jobs, models, projects, studies
from mlengine.rest.calls import Handler
from mlengine.rest.routes import Route, Traffic

__all__ = ["METHODS", "ROUTES", "Method"]


class Method(NamedTuple):
    """A method of the API.

    Attributes:
        id: Google's id without the leading ``ml.projects.``.
        http: HTTP method.
        path: Below ``/v1/projects/{project}``.
        verb: The `Engine` verb that backs it.
        run: Translates between the two.
        permission: What its callers need.
        request: Google's schema of the body, without ``GoogleCloudMlV1__``.
        response: The same of the answer.
        query: Query parameters of its own.
    """

    id: str
    http: str
    path: str
    verb: str
    run: Handler
    permission: str
    request: str
    response: str
    query: tuple[str, ...] = ()

    @property
    def resource_parameter(self) -> str:
        """What Google calls the path's resource name: name, parent or resource."""
        if self.id.endswith(("IamPolicy", "IamPermissions")):
            return "resource"
        last = self.path.rpartition("/")[2]
        is_collection = last and not last.startswith(("{", ":", "**"))
        return "parent" if is_collection and self.id != "operations.list" else "name"


_PAGED = ("pageSize", "pageToken")
_LIST = ("filter", *_PAGED)
_MASK = ("updateMask",)
_POLICY = ("options.requestedPolicyVersion",)

_J, _M, _V = "/jobs/{job}", "/models/{model}", "/models/{model}/versions/{version}"
_L, _O = "/locations/{location}", "/operations/{operation}"
_ST = _L + "/studies/{study}"
_T = _ST + "/trials/{trial}"

# fmt: off
METHODS: tuple[Method, ...] = (
    Method("predict", "POST", "/**:predict", "predict", models.predict, "ml.models.predict", "PredictRequest", "HttpBody"),
    Method("explain", "POST", "/**:explain", "explain", models.explain, "ml.models.predict", "ExplainRequest", "HttpBody"),
    Method("getConfig", "GET", ":getConfig", "get_config", projects.get_config, "ml.projects.getConfig", "", "GetConfigResponse"),
    # jobs
    Method("jobs.create", "POST", "/jobs", "create_job", jobs.create, "ml.jobs.create", "Job", "Job"),
    Method("jobs.get", "GET", _J, "get_job", jobs.get, "ml.jobs.get", "", "Job"),
    Method("jobs.list", "GET", "/jobs", "list_jobs", jobs.list_, "ml.jobs.list", "", "ListJobsResponse", _LIST),
    Method("jobs.patch", "PATCH", _J, "update_job", jobs.patch, "ml.jobs.update", "Job", "Job", _MASK),
    Method("jobs.cancel", "POST", _J + ":cancel", "cancel_job", jobs.cancel, "ml.jobs.cancel", "CancelJobRequest", "Empty"),
    Method("jobs.getIamPolicy", "GET", _J + ":getIamPolicy", "get_iam_policy", iam.get, "ml.jobs.getIamPolicy", "", "Policy", _POLICY),
    Method("jobs.setIamPolicy", "POST", _J + ":setIamPolicy", "set_iam_policy", iam.set_, "ml.jobs.setIamPolicy", "SetIamPolicyRequest", "Policy"),
    Method("jobs.testIamPermissions", "POST", _J + ":testIamPermissions", "test_iam_permissions", iam.test, KNOWN, "TestIamPermissionsRequest", "TestIamPermissionsResponse"),
    # models
    Method("models.create", "POST", "/models", "create_model", models.create, "ml.models.create", "Model", "Model"),
    Method("models.get", "GET", _M, "get_model", models.get, "ml.models.get", "", "Model"),
    Method("models.list", "GET", "/models", "list_models", models.list_, "ml.models.list", "", "ListModelsResponse", _LIST),
    Method("models.patch", "PATCH", _M, "update_model", models.patch, "ml.models.update", "Model", "Operation", _MASK),
    Method("models.delete", "DELETE", _M, "delete_model", models.delete, "ml.models.delete", "", "Operation"),
    Method("models.getIamPolicy", "GET", _M + ":getIamPolicy", "get_iam_policy", iam.get, "ml.models.getIamPolicy", "", "Policy", _POLICY),
    Method("models.setIamPolicy", "POST", _M + ":setIamPolicy", "set_iam_policy", iam.set_, "ml.models.setIamPolicy", "SetIamPolicyRequest", "Policy"),
    Method("models.testIamPermissions", "POST", _M + ":testIamPermissions", "test_iam_permissions", iam.test, KNOWN, "TestIamPermissionsRequest", "TestIamPermissionsResponse"),
    # versions
    Method("models.versions.create", "POST", _M + "/versions", "create_version", models.create_version, "ml.versions.create", "Version", "Operation"),
    Method("models.versions.get", "GET", _V, "get_version", models.get_version, "ml.versions.get", "", "Version"),
    Method("models.versions.list", "GET", _M + "/versions", "list_versions", models.list_versions, "ml.versions.list", "", "ListVersionsResponse", _LIST),
    Method("models.versions.patch", "PATCH", _V, "update_version", models.patch_version, "ml.versions.update", "Version", "Operation", _MASK),
    Method("models.versions.delete", "DELETE", _V, "delete_version", models.delete_version, "ml.versions.delete", "", "Operation"),
    Method("models.versions.setDefault", "POST", _V + ":setDefault", "set_default_version", models.set_default_version, "ml.models.update", "SetDefaultVersionRequest", "Version"),
    # operations and locations
    Method("operations.get", "GET", _O, "get_operation", projects.get_operation, "ml.operations.get", "", "Operation"),
    Method("operations.list", "GET", "/operations", "list_operations", projects.list_operations, "ml.operations.list", "", "ListOperationsResponse", (*_LIST, "returnPartialSuccess")),
    Method("operations.cancel", "POST", _O + ":cancel", "cancel_operation", projects.cancel_operation, "ml.operations.cancel", "", "Empty"),
    Method("locations.get", "GET", _L, "get_location", projects.get_location, "ml.locations.get", "", "Location"),
    Method("locations.list", "GET", "/locations", "list_locations", projects.list_locations, "ml.locations.list", "", "ListLocationsResponse", _PAGED),
    Method("locations.operations.get", "GET", _L + _O, "get_operation", projects.get_operation, "ml.operations.get", "", "Operation"),
    Method("locations.operations.cancel", "POST", _L + _O + ":cancel", "cancel_operation", projects.cancel_operation, "ml.operations.cancel", "", "Empty"),
    # studies and trials
    Method("locations.studies.create", "POST", _L + "/studies", "create_study", studies.create, "ml.studies.create", "Study", "Study", ("studyId",)),
    Method("locations.studies.get", "GET", _ST, "get_study", studies.get, "ml.studies.get", "", "Study"),
    Method("locations.studies.list", "GET", _L + "/studies", "list_studies", studies.list_, "ml.studies.list", "", "ListStudiesResponse"),
    Method("locations.studies.delete", "DELETE", _ST, "delete_study", studies.delete, "ml.studies.delete", "", "Empty"),
    Method("locations.studies.trials.create", "POST", _ST + "/trials", "create_trial", studies.create_trial, "ml.trials.create", "Trial", "Trial"),
    Method("locations.studies.trials.get", "GET", _T, "get_trial", studies.get_trial, "ml.trials.get", "", "Trial"),
    Method("locations.studies.trials.list", "GET", _ST + "/trials", "list_trials", studies.list_trials, "ml.trials.list", "", "ListTrialsResponse"),
    Method("locations.studies.trials.delete", "DELETE", _T, "delete_trial", studies.delete_trial, "ml.trials.delete", "", "Empty"),
    Method("locations.studies.trials.suggest", "POST", _ST + "/trials:suggest", "suggest_trials", studies.suggest, "ml.trials.create", "SuggestTrialsRequest", "Operation"),
    Method("locations.studies.trials.addMeasurement", "POST", _T + ":addMeasurement", "add_trial_measurement", studies.add_measurement, "ml.trials.update", "AddTrialMeasurementRequest", "Trial"),
    Method("locations.studies.trials.complete", "POST", _T + ":complete", "complete_trial", studies.complete, "ml.trials.update", "CompleteTrialRequest", "Trial"),
    Method("locations.studies.trials.checkEarlyStoppingState", "POST", _T + ":checkEarlyStoppingState", "check_trial_stopping", studies.check_stopping, "ml.trials.update", "CheckTrialEarlyStoppingStateRequest", "Operation"),
    Method("locations.studies.trials.stop", "POST", _T + ":stop", "stop_trial", studies.stop, "ml.trials.update", "StopTrialRequest", "Trial"),
    Method("locations.studies.trials.listOptimalTrials", "POST", _ST + "/trials:listOptimalTrials", "list_optimal_trials", studies.list_optimal, "ml.trials.list", "ListOptimalTrialsRequest", "ListOptimalTrialsResponse"),
)
# fmt: on


# As Google's service does: whoever makes a thing has every right over that one.
_OWNERS: Mapping[str, str] = {
    "jobs.create": "roles/ml.jobOwner",
    "models.create": "roles/ml.modelOwner",
    "models.patch": "roles/ml.operationOwner",
    "models.delete": "roles/ml.operationOwner",
    "models.versions.create": "roles/ml.operationOwner",
    "models.versions.patch": "roles/ml.operationOwner",
    "models.versions.delete": "roles/ml.operationOwner",
}


def _permission(method: Method, path: str) -> str:
    """Return what a route needs; a prediction by a version is the version's."""
    own = method.path.startswith("/**") and "{version}" in path
    return method.permission.replace("ml.models.", "ml.versions.") if own else method.permission


def _traffic(method: Method) -> Traffic:
    # A suggestion may wait for a model for a moment.
    return Traffic.LONG_POLL if method.verb == "suggest_trials" else Traffic.QUICK


def _routes(method: Method) -> list[Route]:
    """Write a method as routes: one, or two where its name may be a model's or a version's."""
    raw = method.path.startswith("/**")
    paths = [m + method.path[3:] for m in (_M, _V)] if raw else [method.path]
    return [
        Route(
            id=f"ml.projects.{method.id}",
            method=method.http,
            path=f"/v1/projects/{{project}}{path}",
            permission=_permission(method, path),
            owner=_OWNERS.get(method.id, ""),
            verb=method.verb,
            run=method.run,
            query=method.query,
            request=method.request,
            response=method.response,
            raw=raw,
            traffic=Traffic.PREDICTION if raw else _traffic(method),
        )
        for path in paths
    ]


ROUTES: tuple[Route, ...] = tuple(route for method in METHODS for route in _routes(method))
