"""`mlengine models set-traffic`, `describe-traffic`, `compare` and `outcome`."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from mlengine.core.errors import NotFound
from mlengine.core.resources import Model
from mlengine.core.traffic import Agreement, Comparison, Interval, ModelTraffic, SampleRatio
from tests.fakes.engine import FakeEngine
from tests.unit.cli.conftest import Run


@pytest.fixture
def shop(engine: FakeEngine) -> FakeEngine:
    engine.create_model("default", Model(name="shop"))
    return engine


def traffic(engine: FakeEngine) -> ModelTraffic:
    return engine.get_traffic("default", "shop")


def test_what_is_not_named_stays_as_it_is(run: Run, shop: FakeEngine) -> None:
    done = run("models", "set-traffic", "shop", "--split", "v1=90,v2=10")
    assert (done.code, done.err) == (0, "")
    assert "v1: 90\n" in done.out
    run("models", "set-traffic", "shop", "--sticky-by", "header:X-User")
    run("models", "set-traffic", "shop", "--shadow", "v3")
    run("models", "set-traffic", "shop", "--split=v1=50", "--split=v2=50")
    found = traffic(shop)
    assert (found.split, found.sticky_by, found.shadow) == (
        {"v1": 50, "v2": 50}, "header:X-User", ["v3"],
    )  # fmt: skip
    run("models", "set-traffic", "shop", "--no-sticky", "--no-shadow")
    found = traffic(shop)
    assert (found.split, found.sticky_by, found.shadow) == ({"v1": 50, "v2": 50}, "", [])
    assert run("models", "describe-traffic", "shop").out.startswith("etag: e5\n")


def test_cleared_traffic_is_gone_and_with_more_flags_another_begins(
    run: Run, shop: FakeEngine
) -> None:
    run("models", "set-traffic", "shop", "--split", "v1=1,v2=1", "--sticky-by", "field:user")
    assert run("models", "set-traffic", "shop", "--clear").code == 0
    assert traffic(shop).split == {}
    run("models", "set-traffic", "shop", "--split", "v1=1,v2=1", "--sticky-by", "field:user")
    before = traffic(shop).period
    run("models", "set-traffic", "shop", "--clear", "--split", "v1=3,v2=1")
    found = traffic(shop)
    assert (found.split, found.sticky_by, found.period) == ({"v1": 3, "v2": 1}, "", before + 3)


def test_what_is_refused_clears_nothing(
    run: Run, shop: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("models", "set-traffic", "shop", "--split", "v1=1,v2=1")
    before = traffic(shop)

    def refuse(project: str, model_id: str, wanted: ModelTraffic) -> ModelTraffic:
        if wanted.split:
            raise NotFound("The version 'typo' was not found.", "List them.", field="traffic")
        return FakeEngine.set_traffic(shop, project, model_id, wanted)

    monkeypatch.setattr(shop, "set_traffic", refuse)
    done = run("models", "set-traffic", "shop", "--clear", "--split", "v1=50,typo=50")
    assert done.code == 1 and "'typo'" in done.err
    assert traffic(shop) == before


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        ((), "Name at least one of --split"),
        (("--split", "v1=9.5"), "[v1=9.5]: parts are whole numbers"),
        (("--split", "v1"), "Bad syntax for dict arg: [v1]"),
        (("--split", "v1=50,v1=50"), "argument --split: [v1] is given twice: v1=50 and v1=50."),
        (("--split", "v1=90,v1=10"), "[v1] is given twice: v1=90 and v1=10. Give each key once."),
        (("--split", "v1=90,v2=10", "--split", "v1=50"), "[v1] is given twice: v1=90 and v1=50."),
        (("--shadow", "v3", "--no-shadow"), "At most one of --shadow | --no-shadow"),
        (("--sticky-by", "field:a", "--no-sticky"), "At most one of --sticky-by | --no-sticky"),
    ],
)
def test_flags_that_make_no_sense_are_usage_errors(
    run: Run, shop: FakeEngine, flags: tuple[str, ...], problem: str
) -> None:
    done = run("models", "set-traffic", "shop", *flags)
    assert done.code == 2
    assert problem in done.err
    assert traffic(shop).period == 0


def test_two_versions_stand_side_by_side(run: Run, shop: FakeEngine) -> None:
    shop.comparison = msgspec.structs.replace(
        shop.comparison, sample_ratios=[], agreement=Agreement(equal=3, different=1, rate=0.75)
    )
    table = (
        "MEASURE         v1     v2      DIFFERENCE  95% INTERVAL     VERDICT\n"
        "requests        10     12\n"
        "error rate      0.00%  0.00%   0.00%       -1.00% to 1.00%  undecided\n"
        "p50, ms         1.5    -\n"
        "p99, ms         -      -\n"
        "outcomes        0      0\n"
        "mean outcome    -      -       2.5         0.5 to 4.5       higher\n"
        "copies          -      -\n"
        "copies failed   -      -\n"
        "copies dropped  -      -\n"
        "agreement       -      75.00%\n"
    )
    assert run("models", "compare", "shop", "v1", "v2") == (0, table, "")


def test_a_comparison_with_too_little_says_so(run: Run, shop: FakeEngine) -> None:
    shop.comparison = Comparison(error_rate=Interval(verdict="undecided"), confidence=0.95)
    done = run("models", "compare", "shop", "v1", "v2")
    assert "error rate      0.00%  0.00%  -           -             too few\n" in done.out


def test_errors_that_one_sticky_value_may_have_made_have_no_interval(
    run: Run, shop: FakeEngine
) -> None:
    shop.comparison = Comparison(sample_ratios=[SampleRatio(of="values")], confidence=0.95)
    done = run("models", "compare", "shop", "v1", "v2")
    assert "error rate      0.00%  0.00%  -           -             none: sticky\n" in done.out


def test_a_sticky_test_without_a_value_yet_has_no_interval_either(
    run: Run, shop: FakeEngine
) -> None:
    shop.comparison = Comparison(confidence=0.95)
    assert "error rate      0.00%  0.00%\n" in run("models", "compare", "shop", "v1", "v2").out
    run("models", "set-traffic", "shop", "--split", "v1=1,v2=1", "--sticky-by", "field:user")
    done = run("models", "compare", "shop", "v1", "v2")
    assert "error rate      0.00%  0.00%  -           -             none: sticky\n" in done.out


def test_shares_that_are_off_are_warned_of_in_every_format(run: Run, shop: FakeEngine) -> None:
    done = run("models", "compare", "shop", "v1", "v2", "--format", "json")
    assert json.loads(done.out)["outcome"]["verdict"] == "higher"
    assert done.err == (
        "WARNING: [v2] has 40.0% of the predictions, not 50.0% (p = 0.0001): find out why before "
        "you believe any difference.\n"
    )


def test_an_outcome_is_counted_once(run: Run, shop: FakeEngine) -> None:
    said = "Outcomes counted for model [shop]: 1.\n"
    assert run("models", "outcome", "shop", "1-v1--n", "0.5") == (0, "", said)
    assert shop.outcomes == {"1-v1--n": 0.5}
    assert run("models", "outcome", "shop", "1-v1--n", "2").err.endswith(
        "Predictions that had one already, of which the first counts: 1.\n"
    )


def test_many_outcomes_come_from_a_file(run: Run, shop: FakeEngine, tmp_path: Path) -> None:
    file = tmp_path / "outcomes.txt"
    file.write_text("".join(f"1-v1--n{i} {i}\n" for i in range(2500)) + "\n")
    done = run("models", "outcome", "shop", "--file", str(file))
    assert done.err == "Outcomes counted for model [shop]: 2500.\n"
    assert len(shop.outcomes) == 2500


@pytest.mark.parametrize("line", ["1-v1--n", "1-v1--n x", "a b c"])
def test_a_file_that_is_none_is_refused_by_line(
    run: Run, shop: FakeEngine, tmp_path: Path, line: str
) -> None:
    file = tmp_path / "outcomes.txt"
    file.write_text(f"1-v1--n 1\n{line}\n")
    done = run("models", "outcome", "shop", "--file", str(file))
    assert done.code == 1
    assert f"line 2 is not PREDICTION VALUE: {line!r}" in done.err
    assert shop.outcomes == {}
    assert run("models", "outcome", "shop", "--file", "/nowhere").code == 1
    assert run("models", "outcome", "shop").code == 2
    assert run("models", "outcome", "shop", "1-v1--n").code == 2
