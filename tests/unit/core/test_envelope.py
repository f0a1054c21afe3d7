from __future__ import annotations

import json

import pytest

from mlengine.core import errors
from mlengine.core.envelope import error_body, error_headers


def test_a_field_is_told_twice_for_people_and_for_programs() -> None:
    error = errors.AlreadyExists("A job with this id already exists.", field="job.job_id")
    assert json.loads(error_body(error)) == {
        "error": {
            "code": 409,
            "message": "Field: job.job_id Error: A job with this id already exists.",
            "status": "ALREADY_EXISTS",
            "details": [
                {
                    "@type": "type.googleapis.com/google.rpc.BadRequest",
                    "fieldViolations": [
                        {
                            "field": "job.job_id",
                            "description": "A job with this id already exists.",
                        }
                    ],
                }
            ],
        }
    }


def test_a_quota_names_whose_it_is() -> None:
    (detail,) = json.loads(error_body(errors.ResourceExhausted("Too much."), subject="p"))["error"][
        "details"
    ]
    assert detail["@type"].endswith("QuotaFailure")
    assert detail["violations"] == [{"subject": "p", "description": "Too much."}]


def test_without_a_field_there_are_no_details() -> None:
    assert "details" not in json.loads(error_body(errors.Internal("Oh.")))["error"]


@pytest.mark.parametrize(
    ("error", "headers"),
    [
        (errors.Unavailable("Later."), {"Retry-After": "1"}),
        (errors.ResourceExhausted("Less."), {"Retry-After": "1"}),
        (errors.Unauthenticated("Who?"), {"WWW-Authenticate": 'Bearer realm="mlengine"'}),
        (errors.NotFound("No."), {}),
    ],
)
def test_headers_say_what_to_do(error: errors.EngineError, headers: dict[str, str]) -> None:
    assert error_headers(error) == headers
