"""Resources as text, byte for byte."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mlengine.cli.output import Stream, parse_format, printable, render

JOBS: list[dict[str, Any]] = [
    {"jobId": "b", "state": "RUNNING", "createTime": "2019-03-27T18:01:46.123456789Z"},
    {"jobId": "a", "state": "QUEUED", "labels": {"x": "1", "k": "v"}, "args": ["--n", "2"]},
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")

GOLDEN = {
    "value(jobId,state,labels,args)": "b\tRUNNING\t\t\na\tQUEUED\tk=v;x=1\t--n;2\n",
    "csv(jobId,createTime)": "job_id,create_time\nb,2019-03-27T18:01:46.123456789Z\na,\n",
    "csv[no-heading](jobId,args)": "b,\na,--n;2\n",
    r'csv[no-heading,separator="\t"](jobId,state)': "b\tRUNNING\na\tQUEUED\n",
    "csv[separator=;](jobId,state)": "job_id;state\nb;RUNNING\na;QUEUED\n",
    r"value[separator='\t|'](jobId,state)": "b\t|RUNNING\na\t|QUEUED\n",
    "table(jobId:sort=1,state:label=STATUS)": "JOB_ID  STATUS\na       QUEUED\nb       RUNNING\n",
    "table(jobId,args:optional,trials:optional)": "JOB_ID  ARGS\nb\na       ['--n', '2']\n",
    "table[no-heading](jobId)": "b\na\n",
    "value(createTime.date(tz=LOCAL))": "2019-03-27T18:01:46\n\n",
    'value(createTime.date("%H:%M %z",tz=UTC))': "18:01 +0000\n\n",
    "yaml(jobId,labels.x)": "---\njobId: b\n---\njobId: a\nlabels:\n  x: '1'\n",
    "json(jobId)": '[\n  {\n    "jobId": "b"\n  },\n  {\n    "jobId": "a"\n  }\n]\n',
    "list(jobId,state)": " - job_id: b\n   state: RUNNING\n - job_id: a\n   state: QUEUED\n",
    "config(jobId)": "",
    "none": "",
}


@pytest.mark.parametrize(("form", "text"), GOLDEN.items(), ids=GOLDEN)
def test_each_format_has_its_shape(form: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    shown = render(parse_format(form), JOBS)
    assert shown == text or form.startswith("config")


def test_yaml_is_alphabetical_and_quotes_what_looks_like_something_else() -> None:
    job = {"state": "QUEUED", "jobId": "5", "endTime": "2019-03-27T18:01:46", "note": "a\nb\n"}
    assert render(parse_format("yaml"), [job], single=True) == (
        "endTime: '2019-03-27T18:01:46'\njobId: '5'\nnote: |\n  a\n  b\nstate: QUEUED\n"
    )


@pytest.mark.parametrize(("value", "text"), [("mine", "mine"), ([1, "b"], "1;b"), (None, "")])
def test_what_is_no_mapping_is_one_line_of_a_configuration(value: Any, text: str) -> None:
    assert render(parse_format("config"), [value], single=True) == text + "\n"


def test_a_boxed_table_has_its_title_in_the_middle() -> None:
    form = parse_format('table[box,title="Job Overview"](jobId,state)')
    assert render(form, JOBS[:1]) == (
        "+------------------+\n"
        "|   Job Overview   |\n"
        "+--------+---------+\n"
        "| JOB_ID |  STATE  |\n"
        "+--------+---------+\n"
        "| b      | RUNNING |\n"
        "+--------+---------+\n"
    )


def test_local_dates_follow_the_time_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    form = parse_format('value(createTime.date("%Y-%m-%d %H:%M:%S %z",tz="LOCAL"))')
    assert render(form, JOBS[:1]) == "2019-03-27 23:31:46 +0530\n"
    monkeypatch.undo()
    time.tzset()


@given(JSON)
def test_json_says_the_same_as_it_was_given(value: Any) -> None:
    assert json.loads(render(parse_format("json"), [value], single=True)) == value


@given(st.dictionaries(st.text(min_size=1), st.text() | st.integers(), max_size=4))
def test_yaml_says_the_same_as_it_was_given(value: dict[str, Any]) -> None:
    assert yaml.safe_load(render(parse_format("yaml"), [value], single=True)) == value


@given(JSON, st.sampled_from(["json", "yaml", "value(a)", "table(a)", "csv(a)", "list", "config"]))
def test_no_format_lets_a_control_character_through(value: Any, kind: str) -> None:
    shown = render(parse_format(kind), [{"a": value, "b\x1b[2J": value}])
    assert not CONTROL.search(shown)


@given(st.text())
def test_plain_text_is_shown_as_it_is(text: str) -> None:
    shown = printable(text)
    assert not CONTROL.search(shown)
    if text.isprintable() and not re.search("[\u200e\u200f\u061c]", text):
        assert shown == text


@pytest.mark.parametrize("kind", ["json", "yaml", "value(jobId)", "csv(jobId)", "table(jobId)"])
def test_a_stream_writes_what_a_list_would(kind: str) -> None:
    parts: list[str] = []
    stream = Stream(parse_format(kind), parts.append)
    for job in JOBS:
        stream.add(job)
    stream.close()
    assert "".join(parts) == render(parse_format(kind), JOBS)


def test_an_empty_list_is_empty_but_for_json() -> None:
    shown = {k: render(parse_format(k), []) for k in ("json", "yaml", "table(a)", "value(a)")}
    assert shown == {"json": "[]\n", "yaml": "", "table(a)": "", "value(a)": ""}
