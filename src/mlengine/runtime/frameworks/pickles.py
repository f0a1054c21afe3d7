"""Pickled estimators: unpickle once, then let the class say whose model it is."""

from __future__ import annotations

import pickle
import re
import sys
import warnings
from pathlib import Path
from typing import Any

from mlengine.runtime.frameworks import Model, library
from mlengine.runtime.prediction_error import PredictionError, load_error
from mlengine.runtime.provenance import saved_by

__all__ = ["load"]

_OLDEST_PYTHON = "3.10"  # of workers, so they cannot have the libraries of 1.15 on Python 3.7
_WAY_OUT = "--runtime-version 1.15 --python-version 3.11"  # its stand-in: old code runs unchanged
_LIBRARIES = {"sklearn": "scikit-learn", "xgboost": "XGBoost", "numpy": "NumPy",
              "pandas": "pandas", "scipy": "SciPy", "joblib": "joblib"}  # fmt: skip
# How XGBoost 2 and 3 word that the bytes within a pickle are an older one's.
_OLD_BOOSTER = ("serialisation_header_", "header[0] == '{'")


def load(path: Path, *, framework: str = "") -> Model:
    """Unpickle an estimator or booster.

    Raises:
        PredictionError: Class 0: unreadable, a module is missing, or of another framework.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = _unpickle(path, framework)
    notes = [str(w.message) for w in caught if "InconsistentVersion" in w.category.__name__]
    modules = " ".join(cls.__module__ for cls in type(model).__mro__)
    if framework != "XGBOOST" and "sklearn" in modules:
        from mlengine.runtime.frameworks import sklearn

        return sklearn.SklearnModel(model, warnings=notes[:5])
    if framework != "SCIKIT_LEARN" and "xgboost" in modules:
        from mlengine.runtime.frameworks import xgboost

        return xgboost.wrap(model, warnings=notes[:5])
    wanted = (
        "an exported xgboost model"
        if framework == "XGBOOST"
        else ("an exported sklearn model or pipeline")
    )
    raise load_error(
        f"Invalid model type detected: {type(model).__module__}.{type(model).__name__}. "
        f"Please make sure the model file is {wanted}."
    )


def _unpickle(path: Path, framework: str) -> Any:
    try:
        return _read(path)
    except ModuleNotFoundError as error:
        raise _missing_module(path, error) from error
    except AttributeError as error:
        if library := _library_in(error):
            raise _other_version(path, library, str(error)) from error
        raise load_error(
            f"{path.name}: {error}. The model uses a class or function that its environment does "
            "not have. Define it in a module of the trainer package (not in the script that is "
            "run as __main__) and give that package in package_uris."
        ) from error
    except KeyError as error:
        # Old exporters wrote `Booster.save_model` under the name of a pickle.
        if framework != "XGBOOST":
            raise _unreadable(path, error) from error
        from mlengine.runtime.frameworks import xgboost

        return xgboost.booster_of(path)
    except (PredictionError, MemoryError):
        raise
    except BaseException as error:  # unpickling runs what the file says; exits are caught too
        raise _unreadable(path, error) from error


def _read(path: Path) -> Any:
    try:
        import joblib
    except ModuleNotFoundError:  # a plain XGBoost environment: joblib files need joblib
        if path.suffix == ".joblib":
            with library("sklearn"):
                raise
        with path.open("rb") as file:
            return pickle.load(file)
    try:
        return joblib.load(path)  # reads plain pickles as well
    except Exception:
        # scikit-learn before 0.21 has a joblib of its own, whose arrays only that one reads.
        own = sys.modules.get("sklearn.externals.joblib")
        if own is None:
            raise
        return own.load(path)


def _missing_module(path: Path, error: ModuleNotFoundError) -> PredictionError:
    missing = f"the module {error.name!r}, which is not there"
    name, _, below = (error.name or "").partition(".")
    if below and name in _LIBRARIES:  # the library itself is there, or its own name were missing
        return _other_version(path, name, f"it needs {missing}")
    extra = {"sklearn": "sklearn", "pandas": "sklearn", "xgboost": "xgboost"}.get(name)
    if extra:
        remedy = f"Install it: pip install 'mlengine[{extra}]'"
    else:
        remedy = "Give the package that holds it in package_uris."
    return load_error(f"The model needs {missing}. {remedy}")


def _library_in(error: AttributeError) -> str:
    """Return which library it is whose class or function is missing; empty if the user's own."""
    found = re.search(r"module '(\w+)", str(error))
    return found[1] if found and found[1] in _LIBRARIES else ""


def _other_version(path: Path, library: str, why: str) -> PredictionError:
    """Word that a pickle is another version's: which, which one is here, and the way out."""
    name = _LIBRARIES[library]
    here = str(getattr(sys.modules.get(library), "__version__", "")) or "of this environment"
    saved = saved_by(path, library)
    by = f"{name} {saved}" if saved else "another version"
    return load_error(
        f"{path.name} was saved by {by} and cannot be read by {name} {here}: {why}. Give the "
        "version the runtime of the job that trained the model; if it ran on a Python before "
        f"{_OLDEST_PYTHON}, train again with {_WAY_OUT}, and deploy it with the same."
    )


def _unreadable(path: Path, error: BaseException) -> PredictionError:
    if "unsupported pickle protocol" in str(error):
        return load_error(
            f"{path.name}: {error}. It was written by a newer Python: set the version's "
            "python_version to the one that trained the model."
        )
    if any(text in str(error) for text in _OLD_BOOSTER):
        return _other_version(path, "xgboost", "it is a pickle of an older XGBoost")
    return load_error(
        f"{path.name} cannot be read as a pickle: {type(error).__name__}: {error}. "
        "The file may be damaged, or written by other library versions than this environment's."
    )
