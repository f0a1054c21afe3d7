from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.training.localise import localise

CASES = {
    "gs://b/x": "/B/b/x",
    "--files=gs://b/x": "--files=/B/b/x",
    "gs://b/x,gs://b/y": "/B/b/x,/B/b/y",
    "--a=gs://b/x*.csv,/local": "--a=/B/b/x*.csv,/local",
    "gs://public/x": "gs://public/x",
    "see gs://b/x": "see gs://b/x",
    "sgs://b/x": "sgs://b/x",
    "": "",
    "--lr=0.1": "--lr=0.1",
}


def _resolve(uri: str) -> str | None:
    return uri.replace("gs://", "/B/") if uri.startswith("gs://b/") else None


@pytest.mark.parametrize(("argument", "expected"), CASES.items())
def test_uris_of_known_buckets_become_paths(argument: str, expected: str) -> None:
    assert localise(argument, _resolve) == expected


@given(st.text())
def test_an_argument_without_a_uri_is_verbatim(argument: str) -> None:
    if "gs://" not in argument:
        assert localise(argument, _resolve) == argument


@given(st.text())
def test_nothing_changes_when_no_bucket_is_ours(argument: str) -> None:
    assert localise(argument, lambda _uri: None) == argument
