"""Tables in plain numbers: plain rows are answered as the original does, to the byte where that can
be said, and everything else is the original's."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, PowerTransformer, RobustScaler, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from mlengine.runtime import opening
from mlengine.runtime.answerer import predict
from mlengine.runtime.compiled import ABOUT_FILE, FOLDER
from mlengine.runtime.compiled.compiler import compile_model
from mlengine.runtime.compiled.rows import Original
from mlengine.runtime.frameworks import Model, load
from mlengine.runtime.golden import ROWS_FILE, save_golden
from mlengine.runtime.opening import Opened, load_model, open_model

xgboost = pytest.importorskip("xgboost")

_RANDOM = np.random.default_rng(3)
_X = _RANDOM.normal(size=(120, 4)).round(2)
_TWO = (_X[:, 0] * _X[:, 1] + 0.3 * _RANDOM.normal(size=120) > 0).astype(int)
_THREE = np.digitize(_X[:, 0], [-0.5, 0.5])
_TEXTS = np.array(["no", "yes"])[_TWO]
_VALUES = _X @ [1.0, -2.0, 0.5, 0.0] + 5.0
_SMALL: dict[str, Any] = {"n_estimators": 6, "max_depth": 4}
_ALONE = {**_SMALL, "n_jobs": 1}  # threads would spin

_EXACT: dict[str, Callable[[], Any]] = {
    "logistic": lambda: LogisticRegression().fit(_X, _TEXTS),
    "three labels": lambda: LogisticRegression().fit(_X, _THREE),
    "pipeline": lambda: make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()).fit(
        _X, _TWO
    ),
    "tree": lambda: DecisionTreeClassifier().fit(_X, _TEXTS),
    "values": lambda: DecisionTreeRegressor(max_depth=3).fit(_X, _VALUES),
    "forest": lambda: RandomForestClassifier(**_SMALL, random_state=1).fit(_X, _TEXTS),
    # An even number of trees that are sure of themselves: many ties.
    "ties": lambda: ExtraTreesClassifier(2, bootstrap=True, random_state=2).fit(_X, _TWO),
    "scaled": lambda: make_pipeline(
        MinMaxScaler(), RobustScaler(), RandomForestRegressor(**_SMALL, random_state=1)
    ).fit(_X, _VALUES),
    "forest of three": lambda: RandomForestClassifier(**_SMALL).fit(_X, _THREE),
    "boosting": lambda: GradientBoostingClassifier(**_SMALL).fit(_X, _TWO),
    "boosting, three": lambda: GradientBoostingClassifier(**_SMALL).fit(_X, _THREE),
    "boosted values": lambda: GradientBoostingRegressor(**_SMALL).fit(_X, _VALUES),
    "xgboost": lambda: xgboost.XGBClassifier(**_ALONE).fit(_X, _TWO),
    "xgboost, three": lambda: xgboost.XGBClassifier(**_ALONE).fit(_X, _THREE),
    "xgboost, values": lambda: xgboost.XGBRegressor(**_ALONE).fit(_X, _VALUES),
}
_CLOSE: dict[str, Callable[[], Any]] = {
    "divided by next to nothing": lambda: _dividing_by(1e-25),
    "linear": lambda: LinearRegression().fit(_X, _VALUES),
    "two outputs": lambda: LinearRegression().fit(_X, np.c_[_VALUES, -_VALUES]),
    "booster": lambda: xgboost.XGBClassifier(**_ALONE).fit(_X, _TWO).get_booster(),
    "shares": lambda: xgboost.XGBClassifier(**_ALONE).fit(_X, _THREE).get_booster(),
    "counts": lambda: xgboost.XGBRegressor(objective="count:poisson", **_ALONE).fit(_X, _TWO),
}
_NOT: dict[str, tuple[Callable[[], Any], str]] = {
    "histograms": (
        lambda: HistGradientBoostingClassifier(max_iter=2).fit(_X, _TWO),
        "HistGradientBoostingClassifier has no form in plain numbers",
    ),
    "a model before": (
        lambda: GradientBoostingRegressor(init=LinearRegression(), **_SMALL).fit(_X, _VALUES),
        "the init of GradientBoostingRegressor is a LinearRegression",
    ),
    "a step": (
        lambda: make_pipeline(PowerTransformer(), LinearRegression()).fit(_X, _VALUES),
        "PowerTransformer",
    ),
    "another missing": (
        lambda: xgboost.XGBRegressor(missing=0.0, **_ALONE).fit(_X, _VALUES), "0.0 stands for"
    ),
    "dart": (lambda: xgboost.XGBRegressor(booster="dart", **_ALONE).fit(_X, _VALUES), "dart"),
    "hinge": (
        lambda: xgboost.XGBRegressor(objective="binary:hinge", **_ALONE).fit(_X, _TWO),
        "binary:hinge",
    ),
}  # fmt: skip


def _dividing_by(scale: float) -> Any:
    made = make_pipeline(StandardScaler(), LinearRegression()).fit(_X, _VALUES)
    made[0].scale_[:] = scale
    return made


def _deploy(folder: Path, estimator: Any) -> Path:
    folder.mkdir()
    if type(estimator).__name__ == "Booster":
        estimator.save_model(folder / "model.bst")
    else:
        joblib.dump(estimator, folder / "model.joblib")
    return folder


def _open(folder: Path) -> Opened:
    about = compile_model(folder, "", folder / FOLDER)
    assert about.problem == ""
    opened = open_model({"artifact": str(folder)})
    assert opened.about["warnings"] == []
    assert opened.about["way"] == about.way
    assert isinstance(opened.model, Original)
    return opened


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[Model]:
    """The originals that were loaded after all."""
    found: list[Model] = []

    def noted(spec: Mapping[str, Any]) -> Model:
        found.append(load_model(spec))
        return found[-1]

    monkeypatch.setattr(opening, "load_model", noted)
    return found


def _answers(opened: Opened, rows: list[Any]) -> list[Any]:
    """Ask for rows alone and together, by the direct way; all of them have to take it."""
    assert opened.shortcut is not None
    bodies = [json.dumps({"instances": [row]}).encode() for row in rows]
    bodies.append(json.dumps({"instances": rows}).encode())
    found = []
    for answer in opened.shortcut.answer([opened.shortcut.read(body) for body in bodies]):
        assert answer is not None
        found += json.loads(answer)["predictions"]
    return found


def _rows() -> list[list[float]]:
    """Return rows of the training data: they stand where the trees divide."""
    drawn: list[list[float]] = [*_X[:60].tolist(), *(_X[:20] * 1e4).tolist(), [0, 0, 0, 0]]
    return drawn


@pytest.mark.parametrize("name", _EXACT)
def test_rows_are_answered_as_the_original_does(
    name: str, tmp_path: Path, loaded: list[Model]
) -> None:
    folder = _deploy(tmp_path / "model", _EXACT[name]())
    opened = _open(folder)
    rows = _rows()
    assert _answers(opened, rows) == load(folder).predict(rows) * 2
    assert loaded == []


@pytest.mark.parametrize("name", _CLOSE)
def test_values_differ_in_their_last_digits_at_most(name: str, tmp_path: Path) -> None:
    folder = _deploy(tmp_path / "model", _CLOSE[name]())
    opened = _open(folder)
    rows = _rows()
    np.testing.assert_allclose(_answers(opened, rows), load(folder).predict(rows) * 2, rtol=1e-5)


@pytest.mark.parametrize("name", _NOT)
def test_what_has_no_form_is_served_as_it_is_and_says_why(name: str, tmp_path: Path) -> None:
    made, why = _NOT[name]
    folder = _deploy(tmp_path / "model", made())
    about = compile_model(folder, "", folder / FOLDER)
    assert why in about.problem
    assert [path.name for path in (folder / FOLDER).iterdir()] == [ABOUT_FILE]
    opened = open_model({"artifact": str(folder)})
    assert why in opened.about["warnings"][0]
    assert not isinstance(opened.model, Original)


def test_a_tie_falls_as_it_does_in_the_library(tmp_path: Path) -> None:
    model = _EXACT["ties"]()
    shares = model.predict_proba(_X)[:, 1]
    assert np.any(shares == 0.5)  # or this would test nothing
    opened = _open(_deploy(tmp_path / "model", model))
    assert _answers(opened, _X.tolist()) == model.predict(_X).tolist() * 2


def test_what_is_not_plain_is_the_original_s(tmp_path: Path, loaded: list[Model]) -> None:
    folder = _deploy(tmp_path / "model", _EXACT["pipeline"]())
    opened = _open(folder)
    original = load(folder)
    assert opened.shortcut is not None
    assert opened.model.describe() == original.describe()
    bodies = [
        b'{"instances": [[null, 1, 2, 3]]}', b'{"instances": [[1, 2, 3]]}',
        b'{"instances": [["a", 1, 2, 3]]}', b'{"instances": [[1, 2, 3, 4]], "other": 1}',
        b'{"instances": [[1e300, 1, 2, 3]]}',
    ]  # fmt: skip
    for body in bodies:
        asked = opened.shortcut.read(body)
        if asked is not None:
            assert opened.shortcut.answer([asked]) == [None]
        got, wanted = (
            predict(model, body, max_answer_bytes=1 << 20) for model in (opened.model, original)
        )
        assert got == wanted
    assert len(loaded) == 1
    assert isinstance(opened.model, Original)
    scores = opened.model.scores(_X[:2].tolist())
    np.testing.assert_array_equal(
        scores["probability"],
        original.scores(_X[:2].tolist())["probability"],  # type: ignore[attr-defined]
    )


def test_a_version_that_explains_has_the_original_at_hand(
    tmp_path: Path, loaded: list[Model]
) -> None:
    folder = _deploy(tmp_path / "model", _EXACT["tree"]())
    _open(folder)
    assert loaded == []
    spec = {"artifact": str(folder), "explanation": {"method": "sampledShapley"}}
    assert isinstance(open_model(spec).model, Original)
    assert len(loaded) == 1


def test_columns_by_name_are_answered_too(tmp_path: Path) -> None:
    import pandas as pd

    names = ["a", "b", "c", "d"]
    model = _EXACT["forest"]().fit(pd.DataFrame(_X, columns=names), _TEXTS)
    folder = _deploy(tmp_path / "model", model)
    opened = _open(folder)
    rows = [dict(zip(names, row, strict=True)) for row in _X[:5].tolist()]
    assert _answers(opened, rows) == load(folder).predict(rows) * 2


def test_a_row_that_comes_out_otherwise_sends_the_worker_to_the_original(tmp_path: Path) -> None:
    model = _EXACT["values"]()
    folder = _deploy(tmp_path / "model", model)
    save_golden(folder, _X[:2], model.predict(_X[:2]))
    _open(folder)
    lines = (folder / FOLDER / ROWS_FILE).read_text().splitlines()
    assert json.loads(lines[0])["instance"] == _X[0].tolist()
    first = json.loads(lines[0]) | {"prediction": 1e6}
    (folder / FOLDER / ROWS_FILE).write_text(json.dumps(first) + "\n")
    opened = open_model({"artifact": str(folder)})
    assert "golden row 1 of the compiled form differs" in opened.about["warnings"][0]
    assert not isinstance(opened.model, Original)
    (folder / FOLDER / ROWS_FILE).unlink()
    assert "holds no row" in open_model({"artifact": str(folder)}).about["warnings"][0]


@pytest.mark.parametrize("damage", [b"", b"PK", b"not an archive"])
def test_a_recipe_that_cannot_be_read_sends_the_worker_to_the_original(
    tmp_path: Path, damage: bytes
) -> None:
    folder = _deploy(tmp_path / "model", _EXACT["tree"]())
    _open(folder)
    (folder / FOLDER / "recipe.npz").write_bytes(damage)
    opened = open_model({"artifact": str(folder)})
    assert "recipe.npz cannot be read" in opened.about["warnings"][0]
    assert not isinstance(opened.model, Original)
