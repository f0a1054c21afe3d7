"""Recipes: what was kept is computed as before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.runtime.shortcuts.recipe import (
    Product,
    Recipe,
    Rule,
    Step,
    kernel,
    read_recipe,
    write_recipe,
)
from mlengine.runtime.shortcuts.walks import constant, pack

_TREES = pack([constant(2.0, target) for target in (0, 1, 1)], width=2, targets=2)
_PRODUCT = Product(np.array([[1.0, -1.0], [0.5, 2.0]]).T, np.array([0.25, 0.0]))
_STEPS = [Step("subtract", np.array([1.0, 2.0])), Step("clip", np.array([-1.0, 1.0]))]
_TABLE = np.array([[[1.0, 2.5], [3.0, -4.0]]])


@pytest.mark.parametrize("sums", [_TREES, _PRODUCT], ids=["trees", "product"])
@pytest.mark.parametrize("labels", [None, ["a", 2, True, 0.5]])
@pytest.mark.parametrize("steps", [[], _STEPS], ids=["plain", "scaled"])
def test_what_was_kept_is_computed_as_before(
    sums: Any, labels: Any, steps: list[Step], tmp_path: Path
) -> None:
    rule = Rule(2.0, "softmax", "" if labels is None else "the largest")
    recipe = Recipe("A → B", 2, steps, sums, rule, labels)
    write_recipe(recipe, tmp_path / "kept")
    read = read_recipe(tmp_path / "kept")
    assert read._replace(sums=sums, steps=steps) == recipe
    before, after = kernel(recipe), kernel(read)
    assert before.run(_TABLE).tolist() == after.run(_TABLE).tolist()
    assert (before.name, before.width, before.labels) == (after.name, after.width, after.labels)


@pytest.mark.parametrize(("rule", "expected"), [
    (Rule(), [[[2.0, 4.0]]]), (Rule(flat=True), [[2.0]]), (Rule(4.0, flat=True), [[0.5]]),
    (Rule(link="exp", flat=True), [[float(np.exp(2.0))]]),
    (Rule(link="sigmoid", flat=True), [[1 / (1 + float(np.exp(-2.0)))]]),
    (Rule(label="the largest"), [[1]]), (Rule(label="above zero"), [[1]]),
    (Rule(label="zero or above"), [[1]]), (Rule(4.0, label="above a half"), [[0]]),
])  # fmt: skip
def test_rules(rule: Rule, expected: Any) -> None:
    assert kernel(Recipe("r", 2, [], _TREES, rule)).run(_TABLE[:, :1]).tolist() == expected


def test_a_number_that_is_scaled_out_of_bounds_is_refused() -> None:
    with_zero = Recipe("r", 2, [Step("divide", np.array([1.0, 0.0]))], _TREES, Rule())
    with pytest.raises(FloatingPointError, match="not finite"), np.errstate(divide="ignore"):
        kernel(with_zero).run(_TABLE)


@given(st.binary(max_size=300), st.integers(0, 3000))
def test_a_damaged_file_is_refused_or_read(
    tmp_path_factory: pytest.TempPathFactory, junk: bytes, place: int
) -> None:
    file = tmp_path_factory.getbasetemp() / "damaged"
    write_recipe(Recipe("r", 2, _STEPS, _TREES, Rule()), file)
    whole = file.read_bytes()
    file.write_bytes(whole[:place] + junk + whole[place + len(junk) :])
    try:
        recipe = read_recipe(file)
    except ValueError:
        return
    assert recipe.width == 2
