"""The transforms of a projection, one row each."""

from __future__ import annotations

from typing import Any

import pytest

from mlengine.cli.output import FormatError, parse_format, render

TIME = "2019-03-27T18:01:46.5+02:00"
RULES = {
    "a": ("x/y/z", "x/y/z"),
    "a.basename()": ("x/y/z", "z"),
    "a.segment(1)": ("x/y/z", "y"),
    "a.segment(9)": ("x/y/z", ""),
    "a.scope()": ("x/y/z", "z"),
    "a.scope(x)": ("x/y/z", "y/z"),
    "a.scope(models)": ("https://h/projects/p/models/m/versions/v", "m/versions/v"),
    "a.scope(regions, y)": ("x/y/z", "z"),
    "a.scope(odels)": ("models/m", "models/m"),
    "a.scope(q)": (7, "7"),
    "a.color(red=x, green='y')": ("x", "x"),
    "a.date()": (TIME, "2019-03-27T18:01:46"),
    "a.date(tz=UTC)": (TIME, "2019-03-27T16:01:46"),
    "a.date('%d.%m. %H:%M', tz='America/New_York')": (TIME, "27.03. 12:01"),
    "a.date(format='%z')": (TIME, "+0200"),
    "a.date(tz=LOCAL) ": ("no time", "no time"),
    "a.date(tz=UTC) ": ("2019-99-99T00:00:00Z", "2019-99-99T00:00:00Z"),
    "a.list()": (["x", "y"], "x,y"),
    "a.list(separator='; ')": ({"k": "v", "b": 1}, "b=1; k=v"),
    "a.join('-')": (["x", "y"], "x-y"),
    "a.len()": (["x", "y"], "2"),
    "a.size()": (1_300_000_000, "1.2 GiB"),
    "a.size(x)": ("512", "512.0 bytes"),
    "a.size(y)": (0, ""),
    "a.size(z)": ("much", "much"),
    "a.yesno()": (True, "Yes"),
    "a.yesno(yes=on, no=off)": (None, "off"),
    "a.upper()": ("x", "X"),
    "a.lower()": ("X", "x"),
    "a.basename().upper()": ("x/y", "Y"),
    "a[0]": (["x", "y"], "x"),
    "a[-1]": (["x", "y"], "y"),
    "a[5]": (["x", "y"], ""),
    "a[].id": ([{"id": "1"}, {}, {"id": "2"}], "1;2"),
    "a.id": ("no map", ""),
    "a[]": ("no list", ""),
}


@pytest.mark.parametrize(("column", "rule"), RULES.items(), ids=RULES)
def test_a_column_shows(column: str, rule: tuple[Any, str]) -> None:
    value, shown = rule
    assert render(parse_format(f"value({column})"), [{"a": value}]) == shown + "\n"


@pytest.mark.parametrize("column", ["a.date(tz=Nowhere/Else)", "a.segment(x)"])
def test_a_bad_argument_is_a_bad_format(column: str) -> None:
    with pytest.raises(FormatError):
        render(parse_format(f"value({column})"), [{"a": "2019-03-27T18:01:46Z"}])
