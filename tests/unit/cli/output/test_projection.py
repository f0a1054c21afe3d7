"""The language of --format."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.cli.output import FormatError, parse_format, parse_sort
from mlengine.cli.output.projection import Column, Transform, parse_transforms

NAMES = st.from_regex(r"[a-z][A-Za-z0-9_]{0,8}", fullmatch=True)


def test_a_column_has_a_path_transforms_and_attributes() -> None:
    form = parse_format(
        'table[no-heading](jobId.basename(), a[0].b[].c:label="A B":sort=2:reverse,'
        "createTime.date('%Y, %H', tz=LOCAL))"
    )
    assert form.kind == "table" and form.attribute("heading") == "false"
    assert form.columns == (
        Column(("jobId",), (Transform("basename"),)),
        Column(("a", 0, "b", None, "c"), (), "A B", 2, True),
        Column(("createTime",), (Transform("date", ("%Y, %H",), (("tz", "LOCAL"),)),)),
    )


@pytest.mark.parametrize(
    ("path", "heading"),
    [("jobId", "JOB_ID"), ("metadata.operationType", "OPERATION_TYPE"), ("state", "STATE"),
     ("default_version", "DEFAULT_VERSION"), ("DENSE4", "DENSE4")],
)  # fmt: skip
def test_a_heading_is_the_fields_last_name_in_capitals(path: str, heading: str) -> None:
    assert parse_format(f"table({path})").columns[0].heading == heading


@given(st.lists(st.lists(NAMES, min_size=1, max_size=3), min_size=1, max_size=4))
def test_any_list_of_paths_is_read_as_it_is_written(paths: list[list[str]]) -> None:
    text = f"value({', '.join('.'.join(path) for path in paths)})"
    assert [column.path for column in parse_format(text).columns] == [tuple(p) for p in paths]


@given(st.text(alphabet="abc.()[],:='\"~ \n0*", max_size=30))
def test_whatever_is_typed_is_a_format_or_a_clear_error(text: str) -> None:
    try:
        parse_format(f"value({text}")
    except FormatError as error:
        assert str(error)


@pytest.mark.parametrize(
    "text", ["", "jsno", "value", "table()", "value(a", "value(a))", "value(a.basename()x)",
             "table(a:nonsense=1)", "table(a:sort=x)", "value('a')", "value(a[x])"],
)  # fmt: skip
def test_what_is_no_format_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        parse_format(text)


@pytest.mark.parametrize("separator", ["||", "", '"', "\n", "\\n"])
def test_csv_is_separated_by_one_character(separator: str) -> None:
    with pytest.raises(FormatError, match=r"separator of csv is .* value.separator="):
        parse_format(f"csv[separator='{separator}'](a)")


def test_a_misspelled_format_says_which_was_meant() -> None:
    with pytest.raises(FormatError, match="Did you mean 'table'"):
        parse_format("tabel(a)")


def test_a_tilde_sorts_downwards() -> None:
    first, second = parse_sort("~createTime,jobId")
    assert (first.path, first.reverse, first.sort) == (("createTime",), True, 1)
    assert (second.path, second.reverse, second.sort) == (("jobId",), False, 2)


def test_transforms_are_read_without_their_field() -> None:
    assert parse_transforms(' date("%Y", tz=UTC) . upper()') == (
        Transform("date", ("%Y",), (("tz", "UTC"),)),
        Transform("upper"),
    )


@pytest.mark.parametrize("text", ["", "date", "date(", "date().", "date() x"])
def test_what_is_no_transform_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        parse_transforms(text)
