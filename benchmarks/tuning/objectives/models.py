"""Real trainings: scikit-learn's models on the data sets that it ships, as in Bayesmark.

The value is the mean loss of a fixed three-fold split, so an observation carries no noise beyond
that of the data. Sets are cut to some hundred rows: an evaluation takes a fraction of a second.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any

from benchmarks.tuning.objectives import Objective
from mlengine.tuning.problem import Kind, Parameter, Point, Scale

__all__ = ["OBJECTIVES"]

_ROWS = 400
_SEED = 7


@functools.cache
def _data(name: str) -> tuple[Any, Any]:
    """Return standardised features and labels of at most `_ROWS` rows, in a fixed order."""
    import numpy as np
    from sklearn import datasets
    from sklearn.preprocessing import StandardScaler

    features, labels = getattr(datasets, f"load_{name}")(return_X_y=True)
    chosen = np.random.default_rng(_SEED).permutation(len(labels))[:_ROWS]
    scaled = StandardScaler().fit_transform(features[chosen])
    if name == "diabetes":
        labels = (labels - labels.mean()) / labels.std()
    return scaled, labels[chosen]


def _loss(make: Callable[[Point], Any], data: str, scoring: str) -> Callable[[Point], float]:
    def value(point: Point) -> float:
        from sklearn.model_selection import KFold, StratifiedKFold, cross_val_score

        features, labels = _data(data)
        folds = KFold if data == "diabetes" else StratifiedKFold
        split = folds(3, shuffle=True, random_state=_SEED)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it did not converge: so its loss says
            scores = cross_val_score(make(point), features, labels, cv=split, scoring=scoring)
        loss = -float(scores.mean())
        return min(loss, 100.0) if math.isfinite(loss) else 100.0

    return value


def _svc(p: Point) -> Any:
    from sklearn.svm import SVC

    return SVC(
        C=p["C"], kernel=p["kernel"], gamma=p.get("gamma", "scale"), degree=p.get("degree", 3),
        coef0=p.get("coef0", 0.0), shrinking=False, max_iter=2000,
    )  # fmt: skip


def _svr(p: Point) -> Any:
    from sklearn.svm import SVR

    return SVR(C=p["C"], gamma=p["gamma"], epsilon=p["epsilon"], max_iter=5000)


def _mlp(p: Point) -> Any:
    from sklearn.neural_network import MLPClassifier

    return MLPClassifier(
        hidden_layer_sizes=(p["width"],), alpha=p["alpha"], batch_size=int(p["batch"]),
        learning_rate_init=p["rate"], beta_1=p["beta1"], activation=p["activation"],
        max_iter=8, random_state=_SEED,
    )  # fmt: skip


def _mlp_regressor(p: Point) -> Any:
    from sklearn.neural_network import MLPRegressor

    return MLPRegressor(
        hidden_layer_sizes=(p["width"],), alpha=p["alpha"], learning_rate_init=p["rate"],
        activation=p["activation"], solver=p["solver"], max_iter=15, random_state=_SEED,
    )  # fmt: skip


def _boosting(kind: str) -> Callable[[Point], Any]:
    def make(p: Point) -> Any:
        from sklearn import ensemble

        return getattr(ensemble, f"GradientBoosting{kind}")(
            n_estimators=p["trees"], learning_rate=p["rate"], max_depth=p["depth"],
            subsample=p["subsample"], max_features=p["features"], min_samples_leaf=p["leaf"],
            random_state=_SEED,
        )  # fmt: skip

    return make


def _forest(kind: str) -> Callable[[Point], Any]:
    def make(p: Point) -> Any:
        from sklearn import ensemble

        return getattr(ensemble, f"RandomForest{kind}")(
            n_estimators=10, max_depth=p["depth"], max_features=p["features"],
            min_samples_split=p["split"], min_samples_leaf=p["leaf"], criterion=p["criterion"],
            random_state=_SEED,
        )  # fmt: skip

    return make


def _double(name: str, low: float, high: float, log: bool = False) -> Parameter:
    scale = Scale.LOG if log else Scale.LINEAR
    return Parameter(name=name, kind=Kind.DOUBLE, low=low, high=high, scale=scale)


def _integer(name: str, low: int, high: int, log: bool = False) -> Parameter:
    scale = Scale.LOG if log else Scale.LINEAR
    return Parameter(name=name, kind=Kind.INTEGER, low=low, high=high, scale=scale)


def _choice(name: str, *values: str) -> Parameter:
    return Parameter(name=name, kind=Kind.CATEGORICAL, values=values)


_SVC = (
    _choice("kernel", "rbf", "poly", "sigmoid", "linear"),
    _double("C", 1e-3, 1e3, log=True),
    Parameter(
        name="gamma", kind=Kind.DOUBLE, low=1e-5, high=10.0, scale=Scale.LOG, parent="kernel",
        when=("rbf", "poly", "sigmoid"),
    ),
    Parameter(name="degree", kind=Kind.INTEGER, low=2, high=5, parent="kernel", when=("poly",)),
    Parameter(
        name="coef0", kind=Kind.DOUBLE, low=-1.0, high=1.0, parent="kernel",
        when=("poly", "sigmoid"),
    ),
)  # fmt: skip
_SVR = (
    _double("C", 1e-2, 1e3, log=True), _double("gamma", 1e-5, 10.0, log=True),
    _double("epsilon", 1e-3, 1.0, log=True),
)  # fmt: skip
_MLP = (
    _integer("width", 4, 64, log=True), _double("alpha", 1e-6, 1e1, log=True),
    Parameter(name="batch", kind=Kind.DISCRETE, values=(16.0, 32.0, 64.0, 128.0)),
    _double("rate", 1e-5, 1e-1, log=True), _double("beta1", 0.5, 0.99),
    _choice("activation", "relu", "tanh", "logistic"),
)  # fmt: skip
_MLP_REGRESSOR = (
    _integer("width", 4, 64, log=True), _double("alpha", 1e-6, 1e2, log=True),
    _double("rate", 1e-4, 1e-1, log=True), _choice("activation", "relu", "tanh", "logistic"),
    _choice("solver", "adam", "sgd", "lbfgs"),
)  # fmt: skip
_BOOSTING = (
    _integer("trees", 5, 40, log=True), _double("rate", 1e-3, 1.0, log=True),
    _integer("depth", 1, 6), _double("subsample", 0.2, 1.0), _double("features", 0.1, 1.0),
    _integer("leaf", 1, 50, log=True),
)  # fmt: skip


def _trees(*criteria: str) -> tuple[Parameter, ...]:
    return (
        _integer("depth", 1, 15), _double("features", 0.01, 0.99), _integer("split", 2, 60),
        _integer("leaf", 1, 40, log=True), _choice("criterion", *criteria),
    )  # fmt: skip


OBJECTIVES = tuple(
    Objective(name, "models", parameters, _loss(make, data, scoring))
    for name, parameters, make, data, scoring in (
        ("svm-breast-cancer", _SVC, _svc, "breast_cancer", "accuracy"),
        ("svm-digits", _SVC, _svc, "digits", "accuracy"),
        ("svm-diabetes", _SVR, _svr, "diabetes", "neg_mean_squared_error"),
        ("mlp-digits", _MLP, _mlp, "digits", "neg_log_loss"),
        ("mlp-diabetes", _MLP_REGRESSOR, _mlp_regressor, "diabetes", "neg_mean_squared_error"),
        ("boosting-diabetes", _BOOSTING, _boosting("Regressor"), "diabetes",
         "neg_mean_squared_error"),
        ("boosting-wine", _BOOSTING, _boosting("Classifier"), "wine", "neg_log_loss"),
        ("forest-breast-cancer", _trees("gini", "entropy"), _forest("Classifier"),
         "breast_cancer", "neg_log_loss"),
        ("forest-diabetes", _trees("squared_error", "friedman_mse"), _forest("Regressor"),
         "diabetes", "neg_mean_squared_error"),
    )
)  # fmt: skip
