"""A request log is one of the version's own project, or refused by name."""

from __future__ import annotations

import math
from typing import Any

import pytest

from mlengine.core.errors import InvalidArgument
from mlengine.core.resources import Model, RequestLoggingConfig, Version
from mlengine.core.wire import apply_mask
from mlengine.models.checks import VERSION_MASK, check_model
from mlengine.models.requestlogging import check_logging, relogged, table_of


def version(table: str = "", share: float = 0.0) -> Version:
    config = RequestLoggingConfig(bigquery_table_name=table, sampling_percentage=share)
    return Version(name="v", request_logging_config=config)


@pytest.mark.parametrize(("table", "share", "kept"), [
    ("p.logs.rows", 0.25, ("p.logs.rows", 0.25)),
    ("p.my_logs.rows-2", 1.0, ("p.my_logs.rows-2", 1.0)),
    ("p.logs.rows", 0.0, ("", 0.0)),  # Google's default share: none
    ("", 0.0, ("", 0.0)),
])  # fmt: skip
def test_what_is_kept_where(table: str, share: float, kept: tuple[str, float]) -> None:
    check_logging(version(table, share), "p")
    assert table_of(version(table, share)) == kept
    assert table_of(Version(name="v")) == ("", 0.0)


@pytest.mark.parametrize(("table", "share", "problem"), [
    ("p.d.t", 1.01, "share of 1.01"), ("p.d.t", -0.1, "share of -0.1"),
    ("p.d.t", math.nan, "share of nan"), ("", 0.5, "no table"),
    ("d.t", 0.5, "no name of a table"), ("p.d.t.x", 0.5, "no name of a table"),
    ("p.d.", 0.5, "no name of a table"), ("p.../x", 0.5, "no name of a table"),
    ("p.d.a/b", 0.5, "no name of a table"), ("p.d.a\n", 0.5, "no name of a table"),
    ("p.-d.t", 0.5, "no name of a table"), ("q.d.t", 0.5, "not of project 'p'"),
])  # fmt: skip
def test_what_cannot_be_written_is_refused(table: str, share: float, problem: str) -> None:
    with pytest.raises(InvalidArgument, match=problem) as refused:
        check_logging(version(table, share), "p")
    assert refused.value.field.startswith("version.request_logging_config.")


@pytest.mark.parametrize(("mask", "table", "share"), [
    ("requestLoggingConfig", "p.d.new", 0.5),
    ("requestLoggingConfig.bigqueryTableName", "p.d.new", 1.0),
    ("requestLoggingConfig.samplingPercentage", "p.d.old", 0.5),
    ("requestLoggingConfig.samplingPercentage,request_logging_config.bigquery_table_name",
     "p.d.new", 0.5),
    ("description", "p.d.old", 1.0),
])  # fmt: skip
def test_a_patch_changes_what_its_mask_names(mask: str, table: str, share: float) -> None:
    paths = apply_mask(mask, VERSION_MASK)
    found = relogged(version("p.d.old", 1.0), version("p.d.new", 0.5), paths)
    assert found.request_logging_config == RequestLoggingConfig(
        bigquery_table_name=table, sampling_percentage=share
    )


def test_a_patch_takes_the_log_away() -> None:
    paths = apply_mask("request_logging_config", VERSION_MASK)
    assert relogged(version("p.d.t", 1.0), Version(), paths).request_logging_config is None


def test_a_model_may_ask_for_an_access_log() -> None:
    asked: Any = check_model(Model(name="m", online_prediction_logging=True))
    assert asked.online_prediction_logging
