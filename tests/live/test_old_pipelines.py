"""A scikit-learn pipeline with code of its own, as the tutorials of 2019 write it, to its answers.

What Python 3.7 has pickled no worker reads, and the version says with what to train again: that is
read out of its words and done, with the code as it is.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlengine.core.errors import FailedPrecondition
from mlengine.core.resources import Model, Operation, Version
from mlengine.training.packaging import build_packages
from tests.live.engines import BUCKET, LiveEngine, P, live_engine
from tests.live.runtimes import prepared, share_runtimes
from tests.live.test_old_trainers import CENSUS, TRAINERS
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(1200)

RICH = [39, " Private", 77516, " Masters", 14, " Married-civ-spouse", " Sales", " Husband",
        " White", " Male", 2174, 0, 50, " United-States"]  # fmt: skip
POOR = [18, " Private", 1, " 11th", 7, " Never-married", " Sales", " Own-child", " White", " Male",
        0, 0, 20, " United-States"]  # fmt: skip


class Tutorial:
    """An engine that has the tutorial's data and package."""

    def __init__(self, engine: LiveEngine, folder: Path) -> None:
        self._engine = engine
        engine.make_bucket()
        rows = gzip.decompress((CENSUS / "adult.data.csv.gz").read_bytes()).splitlines()[:3000]
        engine.client.write_object(BUCKET, "adult.data", [b"\n".join(rows)])
        (archive,) = build_packages(TRAINERS / "census_pipeline" / "census_package", folder)
        engine.client.write_object(BUCKET, archive.name, [archive.read_bytes()])
        self._package = f"gs://{BUCKET}/{archive.name}"

    def train(self, name: str, runtime: str, python: str) -> list[str]:
        """Run the trainer as job NAME; return what its log says."""
        self._engine.submit(
            name, self._package,
            "--gcs_data_path", f"gs://{BUCKET}/adult.data",
            "--gcs_model_path", f"gs://{BUCKET}/{name}/model.joblib",
            python_module="census_package.train", runtime_version=runtime, python_version=python,
        )  # fmt: skip
        job, lines = self._engine.ended(name, timeout_s=300), self._engine.lines(name)
        assert job.state == "SUCCEEDED", lines
        return lines

    def deploy(self, name: str, runtime: str, python: str) -> Operation:
        """Make a version of what job NAME has trained."""
        client = self._engine.client
        version = Version(
            name=name, deployment_uri=f"gs://{BUCKET}/{name}", framework="SCIKIT_LEARN",
            package_uris=[self._package], runtime_version=runtime, python_version=python,
        )  # fmt: skip
        operation_id = client.create_version(P, "census", version).name.rpartition("/")[2]
        wait_until(lambda: client.get_operation(P, operation_id).done, 300)
        return client.get_operation(P, operation_id)

    def answers(self, name: str) -> Any:
        body = json.dumps({"instances": [RICH, POOR]}).encode()
        return json.loads(self._engine.client.predict(P, "census", name, body).body)


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tutorial]:
    folder = tmp_path_factory.mktemp("live")
    prepared("1.15", python_version="3.11")  # outside the time that a job has
    share_runtimes(folder / "home")
    with live_engine(folder / "home") as engine:
        engine.client.create_model(P, Model(name="census"))
        yield Tutorial(engine, folder)
        engine.client.collect_environments(keep_bytes=1 << 50)


def test_what_the_stand_in_has_trained_is_served(tutorial: Tutorial) -> None:
    lines = tutorial.train("asked", "1.13", "3.11")
    assert any("Python 3.11 was asked for: this runs on '2.15'" in line for line in lines)
    assert tutorial.deploy("asked", "1.13", "3.5").error is None
    assert tutorial.answers("asked") == {"predictions": [">50K", "<=50K"]}


def test_who_trained_on_python_3_7_is_told_what_to_train_with_and_that_works(
    tutorial: Tutorial,
) -> None:
    try:
        prepared("1.15", strict=True)
    except FailedPrecondition as error:
        pytest.skip(str(error))
    tutorial.train("old", "1.13", "3.5")
    error = tutorial.deploy("old", "1.13", "3.5").error
    assert error is not None and "was saved by scikit-learn 0.20.4" in error["message"]
    (advice,) = re.findall(r"--runtime-version (\S+) --python-version (\S+),", error["message"])
    tutorial.train("new", *advice)
    assert tutorial.deploy("new", *advice).error is None
    assert tutorial.answers("new") == {"predictions": [">50K", "<=50K"]}
