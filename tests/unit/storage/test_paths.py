from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.core.errors import InvalidArgument
from mlengine.storage.paths import (
    Backing,
    BucketPath,
    check_name,
    is_uri,
    local_path,
    parse_backing,
    parse_uri,
)

SEGMENT = st.text(
    st.characters(
        codec="utf-8",
        exclude_categories=["Cc", "Cs", "Zl", "Zp"],
        exclude_characters="/\\?",
    )
    | st.just("."),
    min_size=1,
    max_size=20,
)


@given(
    bucket=st.from_regex(r"[a-z0-9][a-z0-9_-]{1,20}[a-z0-9](\.[a-z][a-z0-9]*)?", fullmatch=True),
    segments=st.lists(SEGMENT, max_size=4),
    is_folder=st.booleans(),
)
def test_what_is_accepted_is_written_back_unchanged(
    bucket: str, segments: list[str], is_folder: bool
) -> None:
    name = "/".join(segments) + "/" * (is_folder and bool(segments))
    try:
        path = parse_uri(f"gs://{bucket}/{name}")
    except InvalidArgument as error:  # dots, or characters that fold to dots or slashes
        assert "segment" in error.problem or "fold" in error.problem
        return
    assert path == BucketPath(bucket, name)
    assert str(path) == f"gs://{bucket}/{name}"
    assert path.is_folder == (is_folder or not segments)


@given(st.text())
def test_any_text_is_a_plain_path_or_an_invalid_argument(text: str) -> None:
    for candidate in (text, "gs://data/" + text):
        try:
            path = parse_uri(candidate)
        except InvalidArgument:
            continue
        assert not {"", ".", ".."} & {*path.name.removesuffix("/").split("/")} or not path.name
        assert not path.name.startswith("/")


@pytest.mark.parametrize(
    ("text", "path"),
    {
        "gs://data": BucketPath("data", ""),
        "gs://data/": BucketPath("data", ""),
        "gs://data/a/b.csv": BucketPath("data", "a/b.csv"),
        "gs://data/a/": BucketPath("data", "a/"),
        "gs://data/a b/ü..x/...": BucketPath("data", "a b/ü..x/..."),
        "gs://data/part-*": BucketPath("data", "part-*"),
        "gs://data/100%": BucketPath("data", "100%"),
        "gs://data/~x/~": BucketPath("data", "~x/~"),
        "gs://data/ts=00%3A00/in put#1": BucketPath("data", "ts=00%3A00/in put#1"),
    }.items(),
)
def test_a_plain_uri_is_taken_apart(text: str, path: BucketPath) -> None:
    assert parse_uri(text) == path


def test_a_question_mark_is_a_wildcard_only_where_wildcards_are_asked_for() -> None:
    assert parse_uri("gs://data/a?", wildcards=True).name == "a?"
    with pytest.raises(InvalidArgument, match=r"has a '\?'"):
        parse_uri("gs://data/a?")


def test_a_very_long_value_is_shown_short() -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_uri("x" * 10_000)
    assert len(str(caught.value)) < 400


def test_names_may_have_what_only_a_uri_must_not() -> None:
    for name in ("a?b", "a:b"):
        assert check_name(name) == name


@pytest.mark.parametrize(
    ("text", "backing"),
    {
        "file:///srv/data": Backing("file", "/srv/data"),
        "file:///srv/data/": Backing("file", "/srv/data"),
        "memory://x": Backing("memory", "x"),
        "s3://my.bucket/a/b=1": Backing("s3", "my.bucket/a/b=1"),
        "gcs://b": Backing("gcs", "b"),
        "az://container/x@2": Backing("az", "container/x@2"),
    }.items(),
)
def test_a_plain_backing_is_taken_apart(text: str, backing: Backing) -> None:
    assert parse_backing(text) == backing
    assert str(backing) == text.removesuffix("/")


@pytest.mark.parametrize(
    ("text", "path"),
    {
        "a/b": "a/b", "../x": "../x", "/tmp/x": "/tmp/x", "./a:b": "a:b", "a:b": "a:b",
        "file:///tmp/a b": "/tmp/a b",
    }.items(),
)  # fmt: skip
def test_a_path_of_this_machine_is_taken_as_it_is(text: str, path: str) -> None:
    assert local_path(text) == Path(path)


@pytest.mark.parametrize(
    "text",
    [
        "", "a\0b", "a\nb", "gs://data/x", "http://x/y", "s3://x", "file://host/x", "file:x",
        "file:/x", "file:///a%20b", "file:///a#b", "file:///a?b", "file://",
    ],
    ids=ascii,
)  # fmt: skip
def test_text_that_is_no_path_of_this_machine_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        local_path(text, field="--job-dir")
    assert caught.value.field == "--job-dir"


def test_a_uri_is_known_by_its_scheme() -> None:
    assert [is_uri(t) for t in ("gs://a", "http://x", "GS://a", "a/b", "/a:b", "", "1:2")] == [
        True, True, True, False, False, False, False,
    ]  # fmt: skip
