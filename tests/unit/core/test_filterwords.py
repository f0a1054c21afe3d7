"""Filters as gcloud's --filter asks them: keys in any case, values in any case and by word."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.core.errors import InvalidArgument
from mlengine.core.filters import parse
from mlengine.core.filterterms import UNSET
from mlengine.core.filterwords import AnyCaseKey, is_field, own_name
from mlengine.core.resources import Job

RESOURCE: dict[str, Any] = {
    "jobId": "census_1",
    "name": "projects/p/models/iris_sk",
    "state": "SUCCEEDED",
    "uris": ["gs://b/My-Data/x.whl", "Second one"],
    "labels": {"owner": "Alice", "cost-centre": "7"},
    "trainingInput": {"scaleTier": "BASIC", "workerCount": "5", "enableWebAccess": True},
    "createTime": "2026-03-02T06:50:06Z",
    "message": "",
}
WORD = st.text(alphabet="abXY_9é", min_size=1, max_size=4)
TEXT = st.text(alphabet="abXY_9é/-. ", max_size=24)


@pytest.mark.parametrize(
    "text",
    ["state=succeeded", "STATE=SUCCEEDED", "state:succ*", "state:*EEDED", "state=Succ*", "state:*",
     "jobId:CENSUS*", "JOB_ID=census_1", "jobid=census_1", "name:iris_sk", "name:IRIS_SK",
     "name:iris*", "name:models", "name:models/iris_sk", "name:/models/", "name:mod*sk",
     "NAME=projects/p/models/IRIS_SK", "trainingInput.scaleTier=basic",
     "TRAININGINPUT.SCALETIER:basic", "training_input.scale_tier=basic", "uris:data", "uris:my*",
     'uris="second ONE"', "uris:x.whl", "labels:owner", "labels:OWNER", "labels:alice",
     "labels.Owner=alice", "labels:centre", "state=(failed OR succeeded)", "state!=(failed,queued)",
     "trainingInput.workerCount:5", "trainingInput.workerCount=5.0", "state!=failed",
     "traininginput.enablewebaccess=TRUE", "errorMessage=False", 'message=""', 'message:""',
     "CREATETIME>2026-03-01", "foo!=x"],
)  # fmt: skip
def test_a_resource_passes(text: str) -> None:
    assert parse(text, of_gcloud=True).matches(RESOURCE)
    assert not parse(f"NOT ({text})", of_gcloud=True).matches(RESOURCE)


@pytest.mark.parametrize(
    "text",
    ["state=succ", "state:succ", "state:eeded", "state!=Succeeded", "state!=SUCC*", "name=iris_sk",
     "name:iris", "name:ris*", "name:odels/iris*", "name:iris_sk*models", "uris:secon",
     "labels:own", "labels:bob", 'state:""', "message:*", "foo=SUCCEEDED", "foo:*",
     "trainingInput.foo:basic", "state!=(FAILED,succeeded)", "createTime>2026-03-03"],
)  # fmt: skip
def test_a_resource_is_held_back(text: str) -> None:
    assert not parse(text, of_gcloud=True).matches(RESOURCE)


@pytest.mark.parametrize(
    "text", ["STATE=SUCCEEDED", "state=succeeded", "name:iris", "labels:alice", "uris:data"]
)
def test_the_apis_own_filter_stays_exact(text: str) -> None:
    assert not parse(text).matches(RESOURCE)


@given(TEXT, WORD)
def test_a_colon_asks_for_a_word_or_with_a_star_for_the_beginning_of_one(
    text: str, word: str
) -> None:
    words = re.findall(r"\w+", text.casefold())
    has, begins = (parse(f'name:"{asked}"', of_gcloud=True) for asked in (word, word + "*"))
    assert has.matches({"name": text}) == (word.casefold() in words)
    assert begins.matches({"name": text}) == any(w.startswith(word.casefold()) for w in words)


@given(TEXT.filter(bool), st.sampled_from([str.upper, str.lower, str.swapcase]))
def test_no_case_of_key_or_value_matters(text: str, change: Any) -> None:
    for operator in ("=", ":"):
        asked = parse(f'{change("jobId")}{operator}"{change(text)}"', of_gcloud=True)
        assert asked.matches({"jobId": text})
    assert not parse(f'{change("jobId")}!="{change(text)}"', of_gcloud=True).matches(
        {"jobId": text}
    )


@given(st.lists(st.text(alphabet="ab/ ", max_size=5), min_size=1, max_size=4), TEXT)
def test_stars_find_what_a_regular_expression_would(pieces: list[str], text: str) -> None:
    stars = "*".join(pieces)
    if stars.strip("*"):
        inside = ".*".join(map(re.escape, pieces)).lower()
        at_edges = rf"(?:^|(?<!\w)|(?!\w)){inside}(?:$|(?!\w)|(?<!\w))"
        has = parse(f'name:"{stars}"', of_gcloud=True)
        assert has.matches({"name": text}) == bool(re.search(at_edges, text.casefold()))


def test_an_alias_stands_for_its_path_unless_a_field_is_called_so() -> None:
    key = AnyCaseKey(("STATUS",), alias=("state",))
    assert key.found({"state": "QUEUED"}) == ["QUEUED"] and key.is_in({"state": "QUEUED"})
    assert key.found({"STATUS": "x", "state": "QUEUED"}) == ["x"]
    assert key.found({"jobId": "a"}) == [UNSET] and not key.is_in({"jobId": "a"})


def test_a_key_may_change_what_it_finds() -> None:
    key = AnyCaseKey(("uris",), change=len)
    assert key.found({"uris": ["a", "b"]}) == [2]
    assert AnyCaseKey(("a",), change=lambda value: value).found({}) == [UNSET]


def test_a_transform_needs_someone_who_knows_it() -> None:
    asked: list[tuple[tuple[str, ...], str]] = []

    def key_of(names: tuple[str, ...], calls: str) -> AnyCaseKey:
        asked.append((names, calls))
        return AnyCaseKey(names)

    text = 'a.b.date("%Y)", tz=UTC) . upper()=2026 AND state=x'
    parse(text, of_gcloud=True, key_of=key_of)
    assert asked == [(("a", "b"), 'date("%Y)", tz=UTC) . upper()'), (("state",), "")]
    with pytest.raises(InvalidArgument, match="transform 'upper\\(\\)' cannot be used"):
        parse("state.upper()=X", of_gcloud=True)
    with pytest.raises(InvalidArgument, match="An operator"):
        parse("state.upper()=X")  # the API has no transforms


@pytest.mark.parametrize(
    ("text", "problem"),
    [("a.date(=1", "A '\\)' is missing"), ('a.date("%Y)=1', "A '\\)' is missing"),
     ("a.date().b=1", "A '\\(' behind the transform is missing"),
     ("date(a)=1", "An operator")],
)  # fmt: skip
def test_what_is_no_transform_is_refused(text: str, problem: str) -> None:
    with pytest.raises(InvalidArgument, match=problem):
        parse(text, of_gcloud=True)


@given(st.text(alphabet="ab.:=<>!()*\"'\\-~ ,ANDORNT0%", max_size=60))
def test_any_text_parses_or_is_refused(text: str) -> None:
    try:
        parse(text, of_gcloud=True, key_of=lambda names, _: AnyCaseKey(names)).matches(RESOURCE)
    except InvalidArgument:
        pass


def test_a_map_tells_its_own_name() -> None:
    names = {"jobId": 1, "JOBID": 2}
    assert own_name(names, "JOBID") == "JOBID" and own_name(names, "job_id") == "jobId"
    assert own_name({"jobId": 1}, "JOB_ID") == "jobId" and own_name(names, "job") is None


@pytest.mark.parametrize(
    ("path", "known"),
    [("errorMessage", True), ("ERROR_MESSAGE", True), ("trainingInput.packageUris", True),
     ("traininginput.region", True), ("foo", False), ("trainingInput.foo", False),
     ("state.foo", False), ("labels", True), ("labels.owner", False)],
)  # fmt: skip
def test_a_field_is_known_by_its_kind(path: str, known: bool) -> None:
    assert is_field(Job, path.split(".")) == known
