"""The four axioms of Shapley values, over games of any form."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.runtime.explain.shapley import Coalitions, Exact, Sampled, Values, coalitions

NUMBERS = st.floats(-100, 100)


def play(game: Coalitions, worth: np.ndarray) -> Values:
    """Attribute a game that is a table: the worth of each coalition by its bits."""
    masks = game.masks(0, game.rows)
    numbers = masks @ (1 << np.arange(masks.shape[1]))
    return game.attribute(worth[numbers])


@st.composite
def games(draw: st.DrawFn, most: int = 6) -> tuple[int, np.ndarray]:
    players = draw(st.integers(1, most))
    worth = draw(st.lists(NUMBERS, min_size=2**players, max_size=2**players))
    return players, np.array(worth)


@given(games())
def test_values_add_up_to_the_difference_of_the_scores(game: tuple[int, np.ndarray]) -> None:
    players, worth = game
    for way in (Exact(players), *([Sampled(players, paths=3, seed=7)] if players > 1 else [])):
        found = play(way, worth)
        assert found.values.sum() == pytest.approx(worth[-1] - worth[0], abs=1e-9)
        assert len(found.values) == players


@given(games(), st.data())
def test_a_feature_that_changes_nothing_is_worth_nothing(
    game: tuple[int, np.ndarray], data: st.DataObject
) -> None:
    players, worth = game
    dummy = data.draw(st.integers(0, players - 1))
    deaf = worth[np.arange(2**players) & ~(1 << dummy)]
    assert abs(play(Exact(players), deaf).values[dummy]) < 1e-9
    if players > 1:
        assert abs(play(Sampled(players, paths=4, seed=1), deaf).values[dummy]) < 1e-9


@given(games(), st.data())
def test_features_that_are_alike_are_worth_the_same(
    game: tuple[int, np.ndarray], data: st.DataObject
) -> None:
    players, worth = game
    one, other = data.draw(st.integers(0, players - 1)), data.draw(st.integers(0, players - 1))
    numbers = np.arange(2**players)
    swapped = numbers & ~((1 << one) | (1 << other))
    swapped |= ((numbers >> one) & 1) << other | ((numbers >> other) & 1) << one
    values = play(Exact(players), worth + worth[swapped]).values
    assert values[one] == pytest.approx(values[other], abs=1e-9)


@given(st.lists(NUMBERS, min_size=1, max_size=40), st.integers(1, 9))
def test_of_a_sum_each_feature_gets_its_own_term(terms: list[float], paths: int) -> None:
    game = coalitions(len(terms), paths=paths, seed=3)
    scores = game.masks(0, game.rows) @ np.array(terms)
    found = game.attribute(scores)
    assert found.values == pytest.approx(terms, abs=1e-8)
    if paths > 2:  # fewer orders say nothing of what they may be off
        assert found.error < 1e-8


@given(st.integers(2, 12), st.integers(1, 30), st.data())
def test_coalitions_can_be_asked_for_in_pieces(
    players: int, paths: int, data: st.DataObject
) -> None:
    game = coalitions(players, paths=paths, seed=5)
    cut = data.draw(st.integers(0, game.rows))
    whole = game.masks(0, game.rows)
    assert np.array_equal(whole, np.concatenate([game.masks(0, cut), game.masks(cut, game.rows)]))
    assert not whole[0].any() and whole[-1].all()


def test_eight_features_are_asked_for_in_full_and_nine_are_sampled() -> None:
    assert isinstance(coalitions(8, paths=50, seed=0), Exact)
    assert isinstance(coalitions(9, paths=50, seed=0), Sampled)
    assert coalitions(0, paths=50, seed=0).rows == coalitions(1, paths=1, seed=0).rows - 1 == 1


@pytest.mark.parametrize("players", [4, 6, 8])
def test_what_is_sampled_agrees_with_the_exact_values_within_its_error(players: int) -> None:
    rng = np.random.default_rng(11)
    for seed in range(20):
        worth = rng.normal(size=2**players)
        exact, sampled = play(Exact(players), worth), play(
            Sampled(players, paths=200, seed=seed), worth
        )  # fmt: skip
        assert np.abs(exact.values - sampled.values).max() < 4 * sampled.error
        assert exact.error < 1e-9 < sampled.error


def test_more_paths_bring_it_closer() -> None:
    worth = np.random.default_rng(2).normal(size=2**8)
    exact = play(Exact(8), worth).values
    far, near = (
        np.mean([np.abs(play(Sampled(8, paths=n, seed=s), worth).values - exact).max()
                 for s in range(10)])
        for n in (10, 1000)
    )  # fmt: skip
    assert near < far / 4


def test_the_same_seed_draws_the_same_orders() -> None:
    one, other, third = (Sampled(20, paths=9, seed=s) for s in (1, 1, 2))
    assert np.array_equal(one.masks(0, one.rows), other.masks(0, other.rows))
    assert not np.array_equal(one.masks(0, one.rows), third.masks(0, third.rows))
