"""The model's parts: gradients are those that differences give, and beliefs are sound."""

from __future__ import annotations

import math
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mlengine.tuning.problem import Goal, Kind, Metric, Parameter, Problem, Scale, Tried
from mlengine.tuning.search.bayesian.acquisition import (
    log_improvement,
    log_improvement_slopes,
    log_news,
)
from mlengine.tuning.search.bayesian.belief import Belief
from mlengine.tuning.search.bayesian.feasibility import Feasibility
from mlengine.tuning.search.bayesian.features import Features
from mlengine.tuning.search.bayesian.fit import _Posterior, fit
from mlengine.tuning.search.bayesian.kernel import Array
from mlengine.tuning.search.bayesian.outcomes import Outcomes, _bounded, _penalised, scalarised
from mlengine.tuning.search.bayesian.process import Process
from mlengine.tuning.search.past import Past
from mlengine.tuning.space import Space

STEP = 1e-6
PARAMETERS = (
    Parameter(name="x", kind=Kind.DOUBLE, low=0, high=1),
    Parameter(name="c", kind=Kind.CATEGORICAL, values=("a", "b", "c")),
    Parameter(name="n", kind=Kind.INTEGER, low=1, high=100, scale=Scale.LOG),
    Parameter(name="y", kind=Kind.DOUBLE, low=0.01, high=1, parent="c", when=("a",)),
)


@pytest.fixture(scope="module")
def features() -> Features:
    return Features(Space(PARAMETERS))


@pytest.fixture(scope="module")
def rows(features: Features) -> Array:
    return features.draw(25, np.random.default_rng(0))


@pytest.fixture(scope="module")
def values(rows: Array) -> Array:
    costs = np.sin(5 * rows[:, 0]) + rows[:, 2] ** 2 + 0.3 * rows[:, 1]
    standard: Array = (costs - costs.mean()) / costs.std()
    return standard


class TestProcess:
    def test_the_gradient_of_the_fit(self, features: Features, rows: Array, values: Array) -> None:
        density = _Posterior(features, rows, values, np.full(len(rows), 1e-3))
        for seed in range(3):
            aside = np.random.default_rng(seed).standard_normal(len(density.start(0.01)))
            theta = density.start(0.01) + 0.3 * aside
            _, gradient = density(theta)
            for i, unit in enumerate(np.eye(len(theta))):
                up, down = density(theta + STEP * unit)[0], density(theta - STEP * unit)[0]
                assert gradient[i] == pytest.approx((up - down) / (2 * STEP), rel=1e-3, abs=1e-3)

    def test_a_fit_finds_what_matters(self, features: Features, rows: Array) -> None:
        source = np.random.default_rng(1)
        many = features.draw(60, source)
        shape = fit(features, many, np.sin(6 * many[:, 0]), np.zeros(60))
        lengths = np.exp(shape.lengths)
        assert lengths[0] == lengths.min()

    @pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
    def test_a_fit_tells_luck_from_what_is_so(self, features: Features, share: float) -> None:
        source = np.random.default_rng(5)
        many = features.draw(50, source)
        true = np.sin(4 * many[:, 0])
        luck = source.standard_normal(50)
        costs = math.sqrt(1 - share) * true / true.std() + math.sqrt(share) * luck
        found = math.exp(
            fit(features, many, (costs - costs.mean()) / costs.std(), np.zeros(50)).noise
        )
        assert found < 0.05 if share == 0 else 0.4 * share < found

    def test_what_each_parameter_does_alone_is_known_where_nobody_has_been(self) -> None:
        parameters = tuple(
            Parameter(name=f"x{i}", kind=Kind.DOUBLE, low=0, high=1) for i in range(6)
        )
        features = Features(Space(parameters))
        rows = features.draw(140, np.random.default_rng(4))
        costs = np.sin(9 * rows).sum(1)
        known, costs = rows[:80], (costs - costs[:80].mean()) / costs[:80].std()
        process = Process(
            features,
            fit(features, known, costs[:80], np.zeros(80)),
            known,
            costs[:80],
            np.zeros(80),
        )
        mean, _ = process.believe(rows[80:])
        assert np.corrcoef(mean, costs[80:])[0, 1] > 0.9

    def test_where_a_bowl_lies_is_known_after_few_trials(self) -> None:
        parameters = tuple(
            Parameter(name=f"x{i}", kind=Kind.DOUBLE, low=0, high=1) for i in range(12)
        )
        features = Features(Space(parameters))
        source = np.random.default_rng(6)
        rows, ground = features.draw(124, source), source.uniform(0.2, 0.8, 12)
        costs = ((rows - ground) ** 2).sum(1)
        known, costs = rows[:24], (costs - costs[:24].mean()) / costs[:24].std()
        shape = fit(features, known, costs[:24], np.zeros(24))
        process = Process(features, shape, known, costs[:24], np.zeros(24))
        mean, _ = process.believe(rows[24:])
        assert np.corrcoef(mean, costs[24:])[0, 1] > 0.9
        assert process.believe(ground[None, :])[0][0] < costs[:24].min()

    def test_beliefs_at_what_was_seen_and_far_from_it(
        self, features: Features, rows: Array, values: Array
    ) -> None:
        shape = fit(features, rows, values, np.zeros(25))
        process = Process(features, shape, rows, values, np.zeros(25))
        mean, deviation = process.believe(rows)
        assert np.abs(mean - values).max() < 0.5
        assert (deviation < 0.5 * math.exp(shape.scale / 2)).all()
        told, before = process.believe(rows[:1] * 0.5)
        mean, after = process.given(rows[:1] * 0.5, told).believe(rows[:1] * 0.5)
        assert mean == pytest.approx(told, abs=1e-3)
        assert after[0] <= before[0]

    def test_nearly_equal_points_have_a_root(self, features: Features, rows: Array) -> None:
        twice = np.vstack([rows[:1]] * 40)
        shape = fit(features, twice, np.zeros(40), np.zeros(40))
        mean, deviation = Process(features, shape, twice, np.zeros(40), np.zeros(40)).believe(rows)
        assert np.isfinite(mean).all() and (deviation > 0).all()


def _belief(count: int = 20, *, failed: int = 0, metrics: int = 1) -> tuple[Features, Belief, Past]:
    space = Space(PARAMETERS)
    features = Features(space)
    history = []
    for number, row in enumerate(features.draw(count, np.random.default_rng(5)), start=1):
        point = space.nearest(row.tolist())
        bad = number <= failed
        told = tuple(float(row[0] + k) for k in range(metrics))
        history.append(
            Tried(number=number, point=point, values=None if bad else told, infeasible=bad)
        )
    problem = Problem(
        parameters=PARAMETERS,
        metrics=tuple(Metric(name=f"m{k}", goal=Goal.MINIMIZE) for k in range(metrics)),
    )
    past = Past(problem, history)
    return features, Belief(features, past, np.random.default_rng(0)), past


class TestBelief:
    @pytest.mark.parametrize(("failed", "metrics"), [(0, 1), (6, 1), (6, 2)])
    def test_the_gradient_of_the_worth(self, failed: int, metrics: int) -> None:
        features, belief, _ = _belief(failed=failed, metrics=metrics)
        rows = features.draw(6, np.random.default_rng(9))
        worth, slopes = belief.slopes(rows)
        assert worth == pytest.approx(belief(rows), rel=1e-6)
        for k, i in enumerate(features.numeric):
            unit = np.zeros(rows.shape[1])
            unit[i] = STEP
            rise = (belief(rows + unit) - belief(rows - unit)) / (2 * STEP)
            assert slopes[:, k] == pytest.approx(rise, rel=1e-2, abs=1e-2)

    def test_trials_that_run_make_their_place_less_worth(self) -> None:
        features, belief, _ = _belief()
        row = features.draw(1, np.random.default_rng(3))
        before = belief(row)[0]
        belief.expect([row[0]])
        assert belief(row)[0] < before

    def test_failures_make_their_surroundings_less_worth(self) -> None:
        _, belief, past = _belief(failed=6)
        _, easy, _ = _belief(failed=0)
        row = Features(past.space).rows([past.trials[0].point])
        assert belief._feasibility is not None and easy._feasibility is None
        assert belief._feasibility.log_share(row)[0] < math.log(0.8)


class TestAcquisition:
    @given(st.floats(-1e3, 30), st.floats(1e-3, 10))
    def test_it_is_finite_and_rises_with_what_it_should(self, z: float, deviation: float) -> None:
        mean, spread = np.array([-z * deviation]), np.array([deviation])
        worth = log_improvement(mean, spread, 0.0)
        by_mean, by_deviation = log_improvement_slopes(mean, spread, 0.0)
        assert np.isfinite(worth).all()
        assert by_mean[0] < 0 < by_deviation[0]
        step = 1e-5 * deviation
        rise = log_improvement(mean + step, spread, 0.0) - log_improvement(mean - step, spread, 0.0)
        assert by_mean[0] == pytest.approx(rise[0] / (2 * step), rel=1e-2, abs=1e-5)

    def test_the_pieces_meet(self) -> None:
        for z in (-10.0, 30.0):
            two = np.array([z * (1 + 1e-9), z * (1 - 1e-9)])
            left, right = log_improvement(-two, np.ones(2), 0.0)
            assert left == pytest.approx(right, rel=1e-4)

    @given(st.floats(1e-6, 1e3), st.floats(1e-6, 10))
    def test_a_noisy_place_that_is_known_has_less_news(self, spread: float, noise: float) -> None:
        at = np.array([spread, 2 * spread])
        news, slope = log_news(at, noise)
        assert news[0] < news[1] <= 0 and (slope > 0).all()
        rise = log_news(at * (1 + STEP), noise)[0] - log_news(at * (1 - STEP), noise)[0]
        assert slope * at == pytest.approx(rise / (2 * STEP), rel=1e-3, abs=1e-6)
        assert log_news(at, 0.0)[0] == pytest.approx([0.0, 0.0], abs=1e-12)


NUMBERS = hnp.arrays(
    np.float64, st.integers(2, 30), elements=st.floats(-1e300, 1e300, allow_subnormal=False)
)


class TestOutcomes:
    @settings(max_examples=100, deadline=None)
    @given(NUMBERS, st.sampled_from(Goal))
    def test_any_values_become_finite_and_keep_their_order(self, values: Array, goal: Goal) -> None:
        outcomes = Outcomes(values, goal)
        bent = outcomes.bent
        assert np.isfinite(bent).all()
        assert abs(bent.mean()) < 1e-6
        sign = 1.0 if goal is Goal.MINIMIZE else -1.0
        order = np.argsort(sign * values, kind="stable")
        assert (np.diff(bent[order]) >= -1e-9).all()
        assert np.isfinite(outcomes.straight(0.3, 0.5)).all()

    @settings(max_examples=200, deadline=None)
    @given(NUMBERS, st.sampled_from(Goal), st.integers(0))
    def test_those_that_lie_apart_judge_how_all_are_bent(
        self, values: Array, goal: Goal, drawn: int
    ) -> None:
        apart = np.array([drawn >> i & 1 for i in range(len(values))], dtype=bool)
        outcomes = Outcomes(values, goal, apart)
        bent = outcomes.bent
        assert np.isfinite(bent).all()
        order = np.argsort(values if goal is Goal.MINIMIZE else -values, kind="stable")
        assert (np.diff(bent[order]) >= -1e-9).all()
        assert bent.min() > -20  # the best is among those that judge
        assert np.isfinite(outcomes.straight(0.3, 0.5)).all()

    def test_a_crowd_at_the_best_does_not_stretch_what_it_differs_by(self) -> None:
        values = np.append(np.linspace(0.0, 1.0, 12), np.linspace(0.0, 0.001, 80))
        apart = np.arange(92) < 12
        bent, stretched = (Outcomes(values, Goal.MINIMIZE, judges).bent for judges in (apart, None))
        assert bent[91] - bent[12] < 0.01 < 0.2 < stretched[91] - stretched[12]
        assert bent[:12] == pytest.approx(Outcomes(values[:12], Goal.MINIMIZE).bent)

    def test_a_belief_is_told_in_the_metrics_units(self) -> None:
        values = np.linspace(10.0, 20.0, 21)
        outcomes = Outcomes(values, Goal.MAXIMIZE)
        mean, deviation = outcomes.straight(float(outcomes.bent[5]), 0.1)
        assert mean == pytest.approx(values[5])
        assert 0 < deviation < 2

    def test_an_outlier_does_not_flatten_the_rest(self) -> None:
        values = np.append(np.linspace(0.0, 1.0, 20), 1e12)
        bent = Outcomes(values, Goal.MINIMIZE).bent
        assert bent[19] - bent[0] > 1.5

    @pytest.mark.parametrize("goal", Goal)
    @pytest.mark.parametrize("penalty", [1e30, 3.4e38, 1e200, 1.7976931348623157e308])
    def test_a_penalty_as_large_as_floats_go_leaves_the_rest_apart(
        self, penalty: float, goal: Goal
    ) -> None:
        costs = np.append(np.linspace(0.0, 1.0, 16), np.full(4, penalty))
        bent = Outcomes(costs if goal is Goal.MINIMIZE else -costs, goal).bent
        assert bent[15] - bent[0] > 0.3
        assert bent[16] > bent[15]

    @pytest.mark.parametrize("goal", Goal)
    @pytest.mark.parametrize("penalty", [1e6, 1e20, sys.float_info.max])
    @pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.6, 0.8])
    def test_a_penalty_leaves_the_rest_apart_whatever_its_share(
        self, share: float, penalty: float, goal: Goal
    ) -> None:
        carrying = round(20 * share)
        costs = np.append(np.linspace(1.0, 4.0, 20 - carrying), np.full(carrying, penalty))
        outcomes = Outcomes(costs if goal is Goal.MINIMIZE else -costs, goal)
        bent = outcomes.bent
        assert np.diff(bent[: 20 - carrying]).min() > 0.01
        assert bent[-1] > bent[-carrying - 1] + 0.1
        value, _deviation = outcomes.straight(float(bent[0]), 0.1)
        assert abs(value) == pytest.approx(1.0)

    @settings(max_examples=100, deadline=None)
    @given(
        hnp.arrays(np.float64, st.integers(1, 10), elements=st.integers(-50, 50).map(float)),
        st.integers(0, 30),
    )
    def test_a_usual_value_is_no_penalty_however_often_it_comes(
        self, values: Array, more: int
    ) -> None:
        again = np.append(values, np.full(more, values.max()))
        assert not _penalised(again).any()
        assert not _penalised(np.append(np.zeros(more), np.full(9, 1e300))).any()  # none is sound

    @settings(max_examples=100, deadline=None)
    @given(hnp.arrays(np.float64, st.integers(2, 30), elements=st.floats(-6e4, 6e4, width=16)))
    def test_values_of_any_usual_size_are_taken_as_they_are(self, values: Array) -> None:
        assert (_bounded(values) == values).all()
        far = np.append(np.linspace(0.0, 1.0, 20), 1e12)
        assert (_bounded(far) == far).all()

    def test_known_noise_is_bent_along(self) -> None:
        outcomes = Outcomes(np.linspace(0.0, 10.0, 11), Goal.MINIMIZE)
        assert outcomes.spreads(np.zeros(11)).max() == 0
        spread = np.sqrt(outcomes.spreads(np.full(11, 1.0)))
        assert (spread > 0.1).all() and (spread < 1.0).all()

    def test_several_metrics_become_one_that_prefers_what_dominates(self) -> None:
        columns = np.array([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
        for seed in range(5):
            cost = scalarised(columns, np.random.default_rng(seed))
            assert cost[0] < cost[1] and cost[0] <= cost[2] <= cost[1]


def test_a_share_of_what_works_holds_no_difference_of_every_row_to_every_trial() -> None:
    """Rows times trials times columns, which of many categories are many, took most of the time."""
    words = tuple(f"v{i}" for i in range(300))
    wide = Features(Space([Parameter(name="c", kind=Kind.CATEGORICAL, values=words)]))
    rows = wide.draw(400, np.random.default_rng(0))
    share = Feasibility(wide, rows[:20], rows[20:60])
    tracemalloc.start()
    try:
        found = share.log_share(rows)
        _now, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.shape == (400,)
    assert most < 400 * 60 * 300 * 8 / 3
