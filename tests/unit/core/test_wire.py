from __future__ import annotations

import functools
import json
import types
import typing
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlengine.core import resources, studies
from mlengine.core.errors import InvalidArgument
from mlengine.core.resources import Job, Operation, Resource, TrainingInput, TrainingOutput, Version
from mlengine.core.wire import apply_mask, camel, decode, decode_answer, encode, snake

CLASSES: list[type[Resource]] = [
    found
    for module in (resources, studies)
    for name in module.__all__
    if isinstance(found := getattr(module, name), type)
    and issubclass(found, Resource)
    and found is not Resource
]

SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    str: st.text(max_size=8),
    bool: st.booleans(),
    float: st.floats(allow_nan=False),
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=6,
)
OBJECTS = st.dictionaries(st.text(max_size=6), JSON, min_size=1, max_size=3)


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Every value that an attribute of this type may have once it has been read."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        kinds = typing.get_args(hint)
        return st.one_of(*(st.none() if kind is type(None) else values(kind) for kind in kinds))
    if typing.get_origin(hint) is typing.Annotated:
        return st.integers(-(2**63), 2**63 - 1)
    if typing.get_origin(hint) is list:
        return st.lists(values(typing.get_args(hint)[0]), max_size=3)
    if typing.get_origin(hint) is dict:
        _key, item = typing.get_args(hint)
        if item is Any:
            return OBJECTS
        return st.dictionaries(st.text(max_size=6), values(item), max_size=3)
    if hint is int:
        return st.integers(-(2**31), 2**31 - 1)
    return SCALARS[hint] if hint in SCALARS else made(hint)


@functools.cache
def made(cls: type[Resource]) -> st.SearchStrategy[Any]:
    hints = typing.get_type_hints(cls, include_extras=True)
    names = [field.name for field in msgspec.structs.fields(cls)]
    return st.builds(cls, **{name: st.deferred(lambda n=name: values(hints[n])) for name in names})


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_what_is_written_reads_back_the_same(cls: type[Resource], data: st.DataObject) -> None:
    resource = data.draw(made(cls))
    written = json.loads(json.dumps(encode(resource)))
    assert decode(cls, written, at="it") == resource
    # What is unset is absent, and so is every key that only we know.
    written.pop("stringValue", None)  # one of several, so that it says something when empty
    assert all(value is not None and value != "" for value in written.values())
    assert not any("_" in key for key in written)


@settings(deadline=None)
@given(st.data(), st.sampled_from(CLASSES))
def test_whatever_json_comes_in_it_is_read_or_refused(
    data: st.DataObject, cls: type[Resource]
) -> None:
    names = st.sampled_from([field.encode_name for field in msgspec.structs.fields(cls)])
    value = data.draw(JSON | st.dictionaries(names, JSON, max_size=4))
    try:
        decode(cls, value, at="it")
    except InvalidArgument as error:
        assert "it" in str(error)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_camel_case_can_be_undone_for_every_field(cls: type[Resource]) -> None:
    for field in msgspec.structs.fields(cls):
        assert camel(field.name) == field.encode_name
        assert snake(field.encode_name) == field.name
    assert {field.name for field in msgspec.structs.fields(cls)} >= cls.OUTPUT_ONLY


def test_dots_part_the_path_when_the_case_is_changed() -> None:
    assert camel("auto_scaling.min_nodes") == "autoScaling.minNodes"
    assert snake("autoScaling.minNodes") == "auto_scaling.min_nodes"


def test_int64_is_a_string_on_the_wire_and_int32_is_a_number() -> None:
    written = encode(TrainingOutput(completed_trial_count=7))
    assert written == {"completedTrialCount": "7"}
    assert encode(resources.ManualScaling(nodes=2)) == {"nodes": 2}


def test_a_running_operation_has_no_done_at_all() -> None:
    assert "done" not in encode(Operation(name="one"))
    assert encode(Operation(done=True)) == {"done": True}


READ = {
    "both spellings of a name": ({"job_dir": "gs://b"}, {"job_dir": "gs://b"}),
    "camelCase, if both are sent": ({"jobDir": "a", "job_dir": "b"}, {"job_dir": "a"}),
    "camelCase, if both are sent in the other order": (
        {"job_dir": "b", "jobDir": "a"},
        {"job_dir": "a"},
    ),
    "null as unset": ({"jobDir": None, "args": None}, {}),
    "int64 as a string": ({"workerCount": "-5"}, {"worker_count": -5}),
    "int64 as a number": ({"workerCount": 5}, {"worker_count": 5}),
    "a whole float": ({"workerCount": 5.0}, {"worker_count": 5}),
    "nested messages": (
        {"scheduling": {"priority": 3}},
        {"scheduling": resources.Scheduling(priority=3)},
    ),
    "free objects as they are": (
        {"hyperparameters": {"max_trials": None}},
        {"hyperparameters": {"max_trials": None}},
    ),
}


@pytest.mark.parametrize(("value", "expected"), READ.values(), ids=READ.keys())
def test_reading_accepts(value: object, expected: dict[str, Any]) -> None:
    assert decode(TrainingInput, value, at="training_input") == TrainingInput(**expected)


REFUSED = {
    "a list for the message": ([], "training_input Error: Invalid value [].", "an object"),
    "an unknown field": ({"jobdir": "x"}, "Unknown name \"jobdir\" at 'training_input'", "jobDir"),
    "a number for a string": ({"jobDir": 1}, "training_input.job_dir", "a string"),
    "a string for a list": ({"args": "x"}, "training_input.args", "a list"),
    "a number in a list": ({"args": ["x", 1]}, "training_input.args[1]", "a string"),
    "a list for an object": ({"hyperparameters": []}, "hyperparameters", "an object"),
    "a string for a flag": ({"enableWebAccess": "true"}, "enable_web_access", "true or false"),
    "a word for a count": ({"workerCount": "five"}, "worker_count", "an integer"),
    "a flag for a count": ({"workerCount": True}, "worker_count", "an integer"),
    "half a worker": ({"workerCount": 0.5}, "worker_count", "an integer"),
    "too many workers": ({"workerCount": 2**63}, "worker_count", "64 bits"),
    "too high a priority": ({"scheduling": {"priority": 2**31}}, "scheduling.priority", "32 bits"),
}


@pytest.mark.parametrize(("value", "where", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_reading_refuses(value: object, where: str, why: str) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        decode(TrainingInput, value, at="training_input")
    assert where in str(refusal.value)
    assert why in str(refusal.value)


def test_an_answer_may_tell_more_than_is_known_here() -> None:
    later = {"jobId": "j", "mood": 1, "trainingInput": {"region": "r", "weather": {}}}
    expected = Job(job_id="j", training_input=TrainingInput(region="r"))
    assert decode_answer(Job, later, at="job") == expected
    with pytest.raises(InvalidArgument, match="mood"):
        decode(Job, later, at="job")
    with pytest.raises(InvalidArgument, match=r"job\.job_id"):
        decode_answer(Job, {"jobId": 1}, at="job")


@pytest.mark.parametrize("value", ["much", True, 10**400, -(10**400)])
def test_reading_refuses_what_is_no_double(value: object) -> None:
    with pytest.raises(InvalidArgument, match="sampling_percentage"):
        decode(Version, {"requestLoggingConfig": {"samplingPercentage": value}}, at="version")


def test_a_long_value_is_shown_short() -> None:
    with pytest.raises(InvalidArgument) as refusal:
        decode(TrainingInput, {"args": "x" * 1000}, at="training_input")
    assert len(str(refusal.value)) < 200


def test_labels_are_an_object_of_strings() -> None:
    assert decode(Job, {"labels": {"a": "b"}}, at="job").labels == {"a": "b"}
    with pytest.raises(InvalidArgument, match=r"job\.labels\.a"):
        decode(Job, {"labels": {"a": 1}}, at="job")
    with pytest.raises(InvalidArgument, match="an object"):
        decode(Job, {"labels": ["a"]}, at="job")


def test_a_request_cannot_set_what_only_the_engine_says() -> None:
    sent = {"jobId": "census", "state": "SUCCEEDED", "trainingOutput": {"trials": []}}
    assert decode(Job, sent, at="job", own_fields_only=True) == Job(job_id="census")
    assert decode(Job, sent, at="job").state == "SUCCEEDED"


ALLOWED = {"description": "free text", "auto_scaling.min_nodes": "nodes kept"}


def test_a_mask_is_read_in_either_case() -> None:
    paths = apply_mask("description, autoScaling.minNodes,", ALLOWED)
    assert paths == ["description", "auto_scaling.min_nodes"]
    assert apply_mask("auto_scaling.min_nodes", ALLOWED) == ["auto_scaling.min_nodes"]


@pytest.mark.parametrize("mask", ["", " , ", "state", "description,state"])
def test_a_mask_that_is_empty_or_reaches_too_far_is_refused(mask: str) -> None:
    with pytest.raises(InvalidArgument, match=r"update_mask Error: .*description"):
        apply_mask(mask, ALLOWED)


def test_numbers_that_json_has_not_are_strings() -> None:
    for text in ("NaN", "Infinity", "-Infinity"):
        read = decode(studies.MetricValue, {"value": text}, at="metric")
        assert encode(read) == {"value": text}
    with pytest.raises(InvalidArgument, match="This must be a number"):
        decode(studies.MetricValue, {"value": "nan"}, at="metric")


def test_zero_says_something_where_nothing_can_be_said() -> None:
    value = studies.TrialParameter(parameter="x", float_value=0.0)
    assert encode(value) == {"parameter": "x", "floatValue": 0.0}
    assert encode(studies.TrialParameter(int_value=0)) == {"intValue": "0"}
    assert encode(studies.Measurement(step_count=0)) == {}


def test_a_list_of_int64_is_read_as_numbers_and_strings_and_written_as_strings() -> None:
    read = decode(studies.ParentIntValues, {"values": ["1", 2]}, at="values")
    assert read.values == [1, 2]
    assert encode(read) == {"values": ["1", "2"]}
