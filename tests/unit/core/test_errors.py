from __future__ import annotations

import pickle

import pytest

from mlengine.core import errors
from mlengine.core.errors import EngineError, InvalidArgument, NotFound, did_you_mean, from_status

CLASSES: list[type[EngineError]] = [
    found
    for name in errors.__all__
    if isinstance(found := getattr(errors, name), type) and found is not EngineError
]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_an_error_survives_the_way_through_its_status_and_through_pickle(
    cls: type[EngineError],
) -> None:
    error = cls("It is wrong.", "Mend it.", field="job.job_id")
    rebuilt = from_status(cls.status, error.description, field=error.field)
    assert type(rebuilt) is cls
    assert str(rebuilt) == str(error)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is cls
    assert (copy.problem, copy.remedy, copy.field) == (error.problem, error.remedy, error.field)


def test_statuses_and_numbers_are_those_of_google_rpc_code() -> None:
    codes = {cls.status: cls.rpc_code for cls in CLASSES}
    assert len(set(codes.values())) == len(codes) == len(CLASSES)
    assert (codes["CANCELLED"], codes["UNAUTHENTICATED"]) == (1, 16)


def test_only_what_may_pass_by_itself_is_worth_a_retry() -> None:
    assert {cls.status for cls in CLASSES if cls.retryable} == {"UNAVAILABLE", "DEADLINE_EXCEEDED"}


def test_an_unknown_status_is_our_own_defect() -> None:
    assert type(from_status("TEAPOT", "short and stout")) is errors.Internal


def test_a_message_says_field_problem_and_remedy() -> None:
    assert str(EngineError("It is wrong.", "Mend it.")) == "It is wrong. Mend it."
    assert str(EngineError("It is wrong.")) == "It is wrong."
    error = InvalidArgument("It is wrong.", field="job.region")
    assert str(error) == "Field: job.region Error: It is wrong."


def test_a_near_name_is_suggested_and_a_far_one_is_not() -> None:
    error = NotFound.among("model", "censu", ["census", "iris"], "List them.", field="name")
    assert error.description == "The model 'censu' was not found. Did you mean 'census'? List them."
    assert did_you_mean("zebra", ["census"]) == ""
