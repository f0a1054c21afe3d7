"""Filters: each rule of the grammar is a row, and no text can hurt the parser."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.core.errors import InvalidArgument
from mlengine.core.filters import MAX_DEPTH, MAX_FILTER_BYTES, parse
from mlengine.core.resources import Job, Model, Operation

JOB = {
    "jobId": "rnn_7",
    "state": "FAILED",
    "createTime": "2018-03-02T06:50:06Z",
    "labels": {"owner": "alice", "cost-centre": "7", "a.b": "x"},
    "trainingInput": {
        "region": "us-east1",
        "workerCount": "5",
        "packageUris": ["gs://b/a.tar.gz", "gs://b/c.whl"],
        "scheduling": {"maxRunningTime": "7200s"},
        "useChiefInTfConfig": True,
    },
    "trainingOutput": {"consumedMLUnits": 1.5},
}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "jobId:rnn*",
        "jobId:*_7",
        "jobId:r*n*7",
        "job_id=rnn_7",
        "jobId:rnn* AND state:FAILED",
        "jobId:rnn* state:FAILED",
        "(state=FAILED)",
        "NOT state=RUNNING",
        "-state=RUNNING",
        "NOT (state=RUNNING OR state=QUEUED)",
        "state=RUNNING OR state=FAILED",
        "state!=RUNNING",
        "labels.owner:alice",
        "labels.owner = alice",
        "labels:owner",
        "labels.cost-centre=7",
        'labels."a.b"=x',
        "trainingInput.region=us-east1",
        "training_input.region=us-east1",
        "training_input.worker_count>4",
        "trainingInput.workerCount=5.0",
        "trainingInput.packageUris:gs://b/c.whl",
        "trainingInput.packageUris:*.whl",
        "trainingInput.scheduling.maxRunningTime>=3600s",
        "trainingInput.useChiefInTfConfig=true",
        "createTime>2018-03-02T06:50:05Z",
        "createTime=2018-03-02T07:50:06+01:00",
        'createTime>="2018-03-02"',
        "createTime<2019-01-01",
        "state:*",
        "jobPosition=0",
        "trainingInput.enableWebAccess=false",
        'errorMessage=""',
        "trainingOutput.consumedMLUnits<2",
        # OR binds tighter than AND: FAILED AND (x OR rnn_7)
        "state=FAILED AND jobId=x OR jobId=rnn_7",
    ],
)
def test_a_filter_lets_the_job_pass(text: str) -> None:
    assert parse(text, Job).matches(JOB)


@pytest.mark.parametrize(
    "text",
    [
        "jobId:census*",
        "jobId:rnn",
        "jobId=RNN_7",
        "state=RUNNING",
        "state!=FAILED",
        "NOT state=FAILED",
        "-(state=FAILED)",
        "labels.owner:bob",
        "labels:nobody",
        "errorMessage:*",
        "trainingInput.workerCount>5",
        "createTime>2018-03-02T06:50:06Z",
        "predictionOutput.errorCount<5",
        "trainingInput.useChiefInTfConfig=false",
        "jobId:r\\*",
        "state=RUNNING AND jobId=x OR jobId=rnn_7",
        "jobId:rnn_7*7",
    ],
)
def test_a_filter_keeps_the_job_out(text: str) -> None:
    assert not parse(text, Job).matches(JOB)


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("name:m00*", True),
        ("name=m007", True),
        ("name=projects/p/models/m007", True),
        ("name:projects/p/*", True),
        ("NOT name:m01*", True),
        ("name!=m008", True),
        ("name>projects/p/models/m006", True),
        ("name!=m007", False),
        ("name:m01*", False),
        ("name=models/m007", False),
        ("name<n", False),
        ("defaultVersion.name=v1", False),
    ],
)
def test_a_name_is_also_its_id(text: str, passes: bool) -> None:
    name = "projects/p/models/m007"
    model = {"name": name, "defaultVersion": {"name": f"{name}/versions/v1"}}
    assert parse(text, Model).matches(model) == passes


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("state", "at the end"),
        ("state=", "at the end"),
        ("=FAILED", "character 1"),
        ("(state=FAILED", "at the end"),
        ("state=FAILED)", "character 13"),
        ("state=FAILED AND", "at the end"),
        ("OR state=FAILED", "character 1"),
        ("state=a=b", "character 8"),
        ('state="open', "character 7"),
        ('state="a"b', "character 10"),
        ("jobId:x' OR '1'='1", "character 8"),
        ("1; DROP TABLE jobs;--", "character 2"),
        ("jobId:x UNION SELECT * FROM jobs", "character 15"),
        ("state=FAILED, jobId=x", "character 13"),
    ],
)
def test_what_is_no_filter_is_refused_with_the_place(text: str, where: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse(text, Job)
    assert where in str(caught.value)
    assert caught.value.field == "filter"


UNKNOWN = {
    "not a field": ("staet=FAILED", "'staet'", "Did you mean 'state'?"),
    "nor deeper": ("trainingInput.regoin=a", "'trainingInput.regoin'", "Did you mean 'region'?"),
    "below a list": ("trainingInput.packageUris.x=a", "'trainingInput.packageUris.x'", "none"),
    "below a text": ("trainingInput.region.zone=a", "'trainingInput.region.zone'", "none"),
    "in the second term": ("state=FAILED AND (NOT nope:*)", "'nope'", "jobId"),
    "of another resource": ("runtimeVersion=2.15", "'runtimeVersion'", "trainingInput"),
}


@pytest.mark.parametrize(("text", "named", "remedy"), UNKNOWN.values(), ids=UNKNOWN.keys())
def test_an_unknown_field_is_refused_by_name(text: str, named: str, remedy: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse(text, Job)
    assert named in caught.value.problem and "a Job" in caught.value.problem
    assert remedy in caught.value.remedy and caught.value.field == "filter"


def test_a_map_may_hold_any_key() -> None:
    assert not parse("labels.nobody=x", Job).matches(JOB)
    assert parse("metadata.version.name:v1", Operation).matches(
        {"metadata": {"version": {"name": "v1"}}}
    )
    assert parse("defaultVersion.framework=XGBOOST", Model).matches(
        {"defaultVersion": {"framework": "XGBOOST"}}
    )


def test_a_long_filter_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="longer"):
        parse("state=" + "é" * (MAX_FILTER_BYTES // 2), Job)


@pytest.mark.parametrize("opening", ["(", "NOT ", "-", "-("])
def test_nesting_is_bounded(opening: str) -> None:
    with pytest.raises(InvalidArgument, match="too deep"):
        parse(opening * (MAX_DEPTH + 1) + "state=b", Job)


@pytest.mark.parametrize(
    "text",
    [
        "labels.a:" + "*a" * 5000,
        "labels.a=" + "b" * 10000,
        "labels.a=b " * 900,
        "labels.a=b OR " * 700 + "labels.a=b",
        '"' + "\\" * 10000,
        "(" * 10000,
        " " * 10000,
        "labels." + "a." * 5000 + "a=b",
        "-" * 10000,
    ],
)
def test_hostile_filters_take_linear_time(text: str) -> None:
    began = time.process_time()
    try:
        parse(text[:MAX_FILTER_BYTES], Job).matches({"labels": {"a": "a" * 20000 + "b"}})
    except InvalidArgument:
        pass
    assert time.process_time() - began < 0.5


@given(st.text(alphabet="ab.:=<>!()*\"'\\- ANDORNT0-:TZ\n\x00é", max_size=60))
def test_any_text_parses_or_is_refused(text: str) -> None:
    try:
        parse(text, Job).matches(JOB)
    except InvalidArgument:
        pass


@given(st.text(min_size=1, max_size=30))
def test_a_quoted_value_finds_itself(value: str) -> None:
    quoted = value.replace("\\", "\\\\").replace('"', '\\"').replace("*", "\\*")
    assert parse(f'jobId="{quoted}"', Job).matches({"jobId": value})


@pytest.mark.parametrize(
    "text",
    ["jobId~^rnn", "jobId ~ '_[0-9]$'", "jobId!~^cnn", "state=(FAILED OR SUCCEEDED)",
     "state:(FAILED,SUCCEEDED)", "state=( RUNNING FAILED )", "jobId:(cnn*, rnn*)",
     "state!=(RUNNING,QUEUED)", "-state=(RUNNING OR QUEUED)", "(jobId~rnn AND state=FAILED)",
     "trainingInput.packageUris~whl$", "errorMessage!~x", "NOT errorMessage~.*"],
)  # fmt: skip
def test_a_commands_filter_knows_gclouds_own_forms(text: str) -> None:
    assert parse(text, Job, of_gcloud=True).matches(JOB)
    assert not parse(f"NOT ({text})", Job, of_gcloud=True).matches(JOB)


@pytest.mark.parametrize(
    "text",
    ["jobId~^cnn", "jobId!~rnn", "state=(RUNNING OR QUEUED)", "state:(RUNNING,QUEUED)",
     "state!=(FAILED,QUEUED)"],
)  # fmt: skip
def test_gclouds_own_forms_hold_back_too(text: str) -> None:
    assert not parse(text, Job, of_gcloud=True).matches(JOB)
    with pytest.raises(InvalidArgument):
        parse(text, Job)  # a caller's regular expression could take an engine's time


@pytest.mark.parametrize(
    ("text", "problem"),
    [("jobId~[", "No regular expression"), ("jobId~a{99999999999}", "No regular expression"),
     ("jobId~'" + "(?:" * 3000 + "'", "No regular expression"),
     ("jobId~", "expression is missing"),
     ("state=(A", "')' is missing"), ("state=()", "value is missing"),
     ("state=(A,", "value is missing"), ("createTime<(1,2)", "value is missing")],
)  # fmt: skip
def test_what_is_wrong_with_them_is_said(text: str, problem: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse(text, of_gcloud=True)
    assert problem in str(caught.value)
