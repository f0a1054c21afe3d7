"""`mlengine models`, `versions`, `operations` and `locations`, byte for byte."""

from __future__ import annotations

import io
import os
import tarfile
import threading
from pathlib import Path

import pytest

from mlengine.core.errors import DeadlineExceeded, EngineError, Unavailable
from mlengine.core.resources import Model, Version, VersionOptions
from mlengine.core.wire import encode
from mlengine.storage.paths import parse_uri
from tests.fakes.engine import FakeEngine
from tests.unit.cli.conftest import Run


@pytest.fixture
def model(engine: FakeEngine) -> FakeEngine:
    engine.create_model("default", Model(name="census", labels={"a": "b"}))
    return engine


@pytest.fixture
def artefact(tmp_path: Path) -> str:
    (tmp_path / "model" / "assets").mkdir(parents=True)
    (tmp_path / "model" / "model.joblib").write_bytes(b"trees")
    (tmp_path / "model" / "assets" / "words").write_bytes(b"a b c")
    return str(tmp_path / "model")


def test_a_model_is_made_and_listed(run: Run) -> None:
    assert run("models", "create", "census", "--regions=us-central1") == (
        0, "", "Created ai platform model [projects/default/models/census].\n"
    )  # fmt: skip
    assert run("models", "list").out == "NAME    DEFAULT_VERSION_NAME\ncensus\n"
    assert run("models", "list", "--uri").out == (
        "http://engine.test:8470/v1/projects/default/models/census\n"
    )


def test_what_is_logged_is_asked_for_when_a_model_is_made(run: Run, model: FakeEngine) -> None:
    """The flags of the service's own tutorials of custom prediction."""
    assert run("models", "create", "m", "--enable-logging", "--enable-console-logging").code == 0
    made = model.get_model("default", "m")
    assert (made.online_prediction_logging, made.online_prediction_console_logging) == (True, True)
    told = run("models", "create", "--help").out
    assert "logs/worker-*.log" in told and "Refused" not in told


def test_a_second_region_is_a_usage_error(run: Run) -> None:
    assert run("models", "create", "m", "--regions=a,b").code == 2
    assert run("models", "create", "m", "--regions=a", "--region=b").code == 2


def test_a_model_is_updated_and_deleted(run: Run, model: FakeEngine) -> None:
    assert run("models", "update", "census") == (0, "", "No update to perform.\n")
    done = run("models", "update", "census", "--description=d", "--update-labels=c=d")
    assert done.err.endswith("Updated ai platform model [census].\n")
    assert model.get_model("default", "census").labels == {"a": "b", "c": "d"}
    assert run("models", "delete", "census", "-q") == (
        0, "", "This will delete model [census]...\n\nDeleting model [census]...done.\n"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "kind"),
    [(["models", "update", "census"], "model"),
     (["versions", "update", "v1", "--model=census"], "version")],
)  # fmt: skip
def test_labels_that_somebody_sets_meanwhile_are_not_lost(
    run: Run, model: FakeEngine, monkeypatch: pytest.MonkeyPatch, words: list[str], kind: str
) -> None:
    model.create_version("default", "census", Version(name="v1", etag="seen"))
    model.models["default", "census"].etag = "seen"
    sent: list[tuple[str, str]] = []
    update = getattr(model, f"update_{kind}")

    def noted(*names: str, update_mask: str) -> object:
        sent.append((names[-1].etag, update_mask))  # type: ignore[attr-defined]
        return update(*names, update_mask=update_mask)

    monkeypatch.setattr(model, f"update_{kind}", noted)
    assert run(*words, "--update-labels=c=d").code == 0
    assert run(*words, "--description=d").code == 0
    assert sent[0] == ("seen", "labels,etag") and sent[1][1] == "description"


def test_a_local_folder_is_uploaded_under_its_digest(
    run: Run, model: FakeEngine, artefact: str
) -> None:
    done = run("versions", "create", "v1", "--model=census", "--origin", artefact,
               "--framework=scikit-learn", "--labels=x=y")  # fmt: skip
    assert done == (
        0,
        "",
        (
            "Created the bucket gs://mlengine-staging/ to upload to.\n"
            "Creating version (this might take a few minutes)......done.\n"
        ),
    )
    version = model.get_version("default", "census", "v1")
    folder = version.deployment_uri.removeprefix("gs://mlengine-staging/")
    assert sorted(name for _bucket, name in model.objects) == [
        f"{folder}assets/words", f"{folder}model.joblib"
    ]  # fmt: skip
    assert (version.framework, version.labels) == ("SCIKIT_LEARN", {"x": "y"})
    shown = run("versions", "list", "--model=census").out
    assert shown.splitlines()[0].split() == ["NAME", "DEPLOYMENT_URI", "STATE"]
    assert run("models", "list").out == "NAME    DEFAULT_VERSION_NAME\ncensus  v1\n"


def test_packages_of_this_machine_are_packed_and_uploaded_in_their_order(
    run: Run, model: FakeEngine, artefact: str, tmp_path: Path
) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (code / "__init__.py").write_text("")
    archive = tmp_path / "more-1.0.whl"
    archive.write_bytes(b"wheel")
    model.objects["code", "p.tar.gz"] = b"archive"
    create = ["versions", "create", "v1", "--model=census", "--origin", artefact]
    done = run(
        *create, "--prediction-class=code.Routine",
        "--package-uris", f"{code},gs://code/p.tar.gz,{archive}",
    )  # fmt: skip
    assert done.code == 0, done.err
    version = model.get_version("default", "census", "v1")
    assert version.prediction_class == "code.Routine"
    names = [uri.rpartition("/")[2] for uri in version.package_uris]
    assert names == ["code-0.0.0.tar.gz", "p.tar.gz", "more-1.0.whl"]
    uploaded = {f"gs://{bucket}/{name}" for bucket, name in model.objects}
    assert {uri for uri in version.package_uris if "staging" in uri} < uploaded


@pytest.mark.parametrize(
    "bad", ["/nowhere", "HERE/model.joblib", "gs://code/p.zip", "gs://code/n.whl"]
)
def test_a_bad_package_is_found_before_anything_is_uploaded(
    run: Run, model: FakeEngine, artefact: str, bad: str
) -> None:
    model.objects["code", "p.zip"] = b"archive"
    bad = bad.replace("HERE", artefact)
    create = ["versions", "create", "v1", "--model=census", "--origin", artefact]
    done = run(*create, "--package-uris", bad)
    assert done.code == 1 and f"The package [{bad}] of --package-uris is" in done.err
    assert [*model.objects] == [("code", "p.zip")] and not model.buckets


SETUP = "from setuptools import setup\nsetup(name='shop', version='1.5', packages=['vc', 'vd'])\n"
DESCRIBED = "[project]\nname = 'shop'\nversion = '1.5'\n"
BARE = "from setuptools import setup\nsetup(name='shop', version='1.5')\n"
SCRIPTS = BARE.replace("1.5'", "1.5', scripts=['predictor.py', 'preprocess.py']")
PROJECTS = {
    "a setup.py beside packages": ({"setup.py": SETUP}, ["vc", "vd"]),
    "a pyproject.toml beside one": ({"pyproject.toml": DESCRIBED}, ["vc"]),
    "a setup.py beside modules, as Google's tutorial has it": (
        {"setup.py": SCRIPTS, "predictor.py": "import preprocess", "preprocess.py": ""},
        [],
    ),
    "a setup.py that names none of its modules": (
        {"setup.py": BARE, "predictor.py": "import preprocess", "preprocess.py": ""},
        [],
    ),
    "a pyproject.toml beside modules": (
        {"pyproject.toml": DESCRIBED, "predictor.py": "import preprocess", "preprocess.py": ""},
        [],
    ),
    "a pyproject.toml beside src": ({"pyproject.toml": DESCRIBED}, ["src/vc"]),
}


@pytest.mark.parametrize(("files", "packages"), PROJECTS.values(), ids=PROJECTS)
def test_the_folder_of_a_project_is_built_as_that_of_its_package(
    run: Run, model: FakeEngine, artefact: str, tmp_path: Path, files: dict[str, str],
    packages: list[str],
) -> None:  # fmt: skip
    project = _project(tmp_path, files, packages)
    create = ["versions", "create", "v1", "--model=census", "--origin", artefact]
    done = run(*create, "--prediction-class=vc.Routine", "--package-uris", str(project))
    assert done.code == 0, done.err
    (uri,) = model.get_version("default", "census", "v1").package_uris
    assert uri.endswith("/shop-1.5.tar.gz")
    with tarfile.open(fileobj=io.BytesIO(model.objects[parse_uri(uri)])) as archive:
        held = {name.removeprefix("shop-1.5/") for name in archive.getnames()}
    assert held >= {name for name in files if name.endswith(".py")}
    assert held >= {f"{package}/__init__.py" for package in packages}


def test_a_package_with_much_data_is_warned_of(
    run: Run, model: FakeEngine, artefact: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlengine.training.sdist._LARGE_BYTES", 10)
    package = _project(tmp_path, {}, ["vc"]) / "vc"
    create = ["versions", "create", "v1", "--model=census", "--origin", artefact]
    done = run(*create, "--prediction-class=vc.Routine", "--package-uris", str(package))
    assert done.code == 0 and "The package vc-0.0.0.tar.gz holds " in done.err


NO_PROJECTS = {
    "nothing": ({}, ["vc"], "nor is it a project with a setup.py or a pyproject.toml"),
    "tools only": ({"pyproject.toml": "[tool.x]\n", "predictor.py": ""}, [], "that describes one"),
    "several": ({"pyproject.toml": DESCRIBED}, ["vc", "vd"], "/vc, {here}/vd. Name one of them."),
}


@pytest.mark.parametrize(("files", "packages", "said"), NO_PROJECTS.values(), ids=NO_PROJECTS)
def test_another_folder_is_refused_with_the_flag_that_named_it(
    run: Run, model: FakeEngine, artefact: str, tmp_path: Path, files: dict[str, str],
    packages: list[str], said: str,
) -> None:  # fmt: skip
    project = _project(tmp_path, files, packages)
    create = ["versions", "create", "v1", "--model=census", "--origin", artefact]
    done = run(*create, "--prediction-class=vc.Routine", "--package-uris", str(project))
    assert done.code == 1 and f"The folder [{project}] of --package-uris " in done.err
    assert said.format(here=project) in done.err and "--package-path" not in done.err


def _project(folder: Path, files: dict[str, str], packages: list[str]) -> Path:
    project = folder / "vc"
    for package in packages:
        (project / package).mkdir(parents=True)
        (project / package / "__init__.py").write_text("class Routine: pass\n")
    project.mkdir(exist_ok=True)
    for name, text in files.items():
        (project / name).write_text(text)
    return project


def test_a_link_in_the_folder_is_refused(run: Run, model: FakeEngine, artefact: str) -> None:
    (Path(artefact) / "passwd").symlink_to("/etc/passwd")
    done = run("versions", "create", "v1", "--model=census", "--origin", artefact)
    assert done.code == 1 and "is a link" in done.err and not model.objects


def test_a_file_whose_name_is_not_utf8_is_refused_by_name(
    run: Run, model: FakeEngine, artefact: str
) -> None:
    (Path(artefact) / os.fsdecode(b"caf\xe9")).touch()
    done = run("versions", "create", "v1", "--model=census", "--origin", artefact)
    assert done.code == 1 and r"object name 'caf\udce9' has a control character" in done.err
    assert not model.objects


def test_flags_go_over_the_file(run: Run, model: FakeEngine, tmp_path: Path) -> None:
    path = tmp_path / "v.yaml"
    path.write_text(
        "deploymentUri: gs://b/m/\nruntimeVersion: 1.10\nautoScaling: {minNodes: 1}\n"
        "description: from file\n"
    )
    flags = ["--config", str(path), "--description=flag", "--max-nodes=4",
             "--metric-targets=cpu-usage=60", "--async"]  # fmt: skip
    done = run("versions", "create", "v1", "--model=census", *flags)
    assert done.code == 0 and "operationType: CREATE_VERSION" in done.out and not done.err
    version = model.get_version("default", "census", "v1")
    assert (version.deployment_uri, version.description) == ("gs://b/m/", "flag")
    assert version.runtime_version == "1.10" and version.auto_scaling is not None
    assert (version.auto_scaling.min_nodes, version.auto_scaling.max_nodes) == (1, 4)
    assert version.auto_scaling.metrics == [{"name": "CPU_USAGE", "target": 60}]


def test_flags_may_be_written_with_underscores_as_with_gcloud(run: Run, model: FakeEngine) -> None:
    done = run(
        "versions", "create", "v_1", "--model=census", "--origin=gs://b/m", "--async",
        "--runtime_version=1.0", "--python_version", "2.7", "--description", "--our_own",
    )  # fmt: skip
    assert done.code == 0, done.err
    version = model.get_version("default", "census", "v_1")
    found = version.runtime_version, version.python_version, version.description
    assert found == ("1.0", "2.7", "--our_own")


def test_the_file_may_set_how_a_version_explains_and_what_it_logs(
    run: Run, model: FakeEngine, tmp_path: Path
) -> None:
    path = tmp_path / "v.yaml"
    path.write_text(
        "deploymentUri: gs://b/m/\nexplanationConfig: {sampledShapleyAttribution: {numPaths: 9}}\n"
        "requestLoggingConfig: {bigqueryTableName: p.d.t, samplingPercentage: 0.5}\n"
    )
    done = run("versions", "create", "v1", "--model=census", "--config", str(path), "--async")
    assert done.code == 0, done.err
    made = encode(model.get_version("default", "census", "v1"))
    assert made["explanationConfig"] == {"sampledShapleyAttribution": {"numPaths": 9}}
    assert made["requestLoggingConfig"]["bigqueryTableName"] == "p.d.t"


REFUSED = {
    "no origin": ([], "Either `--origin` must be provided or `deploymentUri` must be provided"),
    "container flags alone": (["--predict-route=/p"], "--image was not provided, but other"),
    "an origin that is not there": (["--origin=/nowhere"], "is neither gs://BUCKET/... nor a"),
    "a bad bucket": (["--origin=/tmp", "--staging-bucket=gs://b/c"], "write it as gs://BUCKET"),
}


@pytest.mark.parametrize(
    ("flag", "field"),
    [("--service-account=me", "service_account"), ("--image=x", "container")],
)
def test_a_field_that_is_refused_is_refused_before_anything_is_uploaded(
    run: Run, model: FakeEngine, artefact: str, flag: str, field: str
) -> None:
    done = run("versions", "create", "v1", "--model=census", "--origin", artefact, flag)
    assert done.code == 1 and f"does not support '{field}'" in done.err
    assert not model.objects and not model.buckets and not model.versions


def test_a_version_may_have_gpus(run: Run, model: FakeEngine) -> None:
    done = run(
        "versions", "create", "v1", "--model=census", "--origin=gs://b/m",
        "--machine-type=n1-standard-4", "--accelerator=type=nvidia-tesla-t4,count=2",
    )  # fmt: skip
    assert done.code == 0, done.err
    (version,) = model.versions.values()
    assert encode(version)["acceleratorConfig"] == {"type": "NVIDIA_TESLA_T4", "count": "2"}


@pytest.mark.parametrize(("flags", "text"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_a_version_is_refused(
    run: Run, model: FakeEngine, flags: list[str], text: str
) -> None:
    done = run("versions", "create", "v1", "--model=census", *flags)
    assert done.code == 1 and text in done.err and not model.versions


@pytest.mark.parametrize(("flags", "made"), [
    (["--explanation-method=sampled-shapley"], {"numPaths": 50}),
    (["--explanation-method=sampled-shapley", "--num-paths=0"], {"numPaths": 0}),
    (["--explanation-method=integrated-gradients", "--num-integral-steps=7"],
     {"numIntegralSteps": 7}),
])  # fmt: skip
def test_an_explanation_is_set_by_flags(
    run: Run, model: FakeEngine, flags: list[str], made: dict[str, int]
) -> None:
    done = run("versions", "create", "v1", "--model=census", "--origin=gs://b/m", *flags)
    assert done.code == 0, done.err
    (version,) = model.versions.values()
    assert list(encode(version)["explanationConfig"].values()) == [made]


@pytest.mark.parametrize(("flags", "problem"), [
    (["--num-paths=9"], "argument --num-paths: it goes with --explanation-method sampled-shapley."),
    (["--num-integral-steps=9"], "with --explanation-method integrated-gradients or xrai."),
    (["--explanation-method=integrated-gradients", "--num-paths=9"], "argument --num-paths:"),
    (["--explanation-method=sampled-shapley", "--num-integral-steps=9"],
     "argument --num-integral-steps:"),
])  # fmt: skip
def test_a_number_of_another_method_is_not_passed_over(
    run: Run, model: FakeEngine, flags: list[str], problem: str
) -> None:
    done = run("versions", "create", "v1", "--model=census", "--origin=gs://b/m", *flags)
    assert done.code == 2 and problem in " ".join(done.err.split()) and not model.versions


def test_batching_is_set_by_flags(run: Run, model: FakeEngine) -> None:
    done = run("versions", "create", "v1", "--model=census", "--origin=gs://b/m",
               "--max-batch-size=8", "--batch-deadline-ms=5", "--compile=onnx")  # fmt: skip
    assert done.code == 0, done.err
    (made,) = model.versions.values()
    assert made.options == VersionOptions(max_batch_size=8, batch_deadline_ms=5, compile="ONNX")


def test_a_field_that_may_not_stand_in_the_file_is_named(
    run: Run, model: FakeEngine, tmp_path: Path
) -> None:
    path = tmp_path / "v.yaml"
    path.write_text("state: READY\n")
    done = run("versions", "create", "v1", "--model=census", "--config", str(path))
    assert done.err.startswith(
        f"ERROR: (mlengine.versions.create) Invalid field [state] in configuration file [{path}]. "
        "Allowed fields: [autoScaling, container, deploymentUri, description, "
    )


@pytest.mark.parametrize(("text", "problem"), [
    ("packageUris: gs://b/x.tar.gz", "version.package_uris"),
    ("packageUris: 5", "version.package_uris"),
    ("packageUris: [5]", "version.package_uris[0]"),
    ("packageUris: [/nowhere.whl]", "The package [/nowhere.whl] of --package-uris is not a file"),
])  # fmt: skip
def test_packages_of_the_file_are_looked_at_before_anything_is_made(
    run: Run, model: FakeEngine, tmp_path: Path, text: str, problem: str
) -> None:
    path = tmp_path / "v.yaml"
    path.write_text(f"deploymentUri: gs://b/m/\n{text}\n")
    done = run("versions", "create", "v1", "--model=census", "--config", str(path))
    assert done.code == 1 and problem in done.err
    assert not model.buckets and not model.versions


def test_an_origin_that_is_not_there_is_told_before_packages_are_built(
    run: Run, model: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlengine.cli.commands.create_version.packed", pytest.fail)
    done = run("versions", "create", "v1", "--model=census", "--origin=/nowhere",
               "--package-uris=/code")  # fmt: skip
    assert done.code == 1 and "--origin [/nowhere] is neither" in done.err


def test_a_deployment_that_fails_prints_the_operations_error(run: Run, model: FakeEngine) -> None:
    def before(verb: str) -> None:
        if verb == "get_operation":
            (operation,) = model.operations.values()
            message = 'Create Version failed. Bad model detected with error: "x"'
            operation.done, operation.error = True, {"code": 9, "message": message}

    def begin(project: str, model_id: str, version: Version) -> object:
        return model.begin(project, "create_census_v1-1")

    model.before = before
    model.create_version = begin  # type: ignore[assignment, method-assign]
    assert run("versions", "create", "v1", "--model=census", "--origin=gs://b/m") == (
        1,
        "",
        (
            "Creating version (this might take a few minutes)......failed.\n"
            "ERROR: (mlengine.versions.create) Create Version failed. "
            'Bad model detected with error: "x"\n'
        ),
    )


@pytest.fixture
def away(model: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> list[EngineError]:
    """What looks at an operation are answered with, one after the other, until it has ended."""
    monkeypatch.setattr("mlengine.cli.waiting._LAST_LOOK_S", 0.001)
    answers: list[EngineError] = []

    def before(verb: str) -> None:
        if verb == "get_operation" and answers:
            raise answers.pop(0)
        for operation in model.operations.values():
            operation.done = True

    def begin(project: str, model_id: str, version: Version) -> object:
        return model.begin(project, "create_census_v1-1")

    model.before = before
    model.create_version = begin  # type: ignore[assignment, method-assign]
    return answers


def test_an_engine_that_is_away_for_a_moment_ends_no_wait(
    run: Run, away: list[EngineError]
) -> None:
    away += [Unavailable("No engine answers."), DeadlineExceeded("It is silent.", "Wait.")]
    assert run("versions", "create", "v1", "--model=census", "--origin=gs://b/m") == (
        0,
        "",
        (
            "Creating version (this might take a few minutes)......\n"
            "WARNING: The engine does not answer; the operation goes on with it. Waiting.\n"
            "done.\n"
        ),
    )


def test_of_an_engine_that_stays_away_it_is_said_how_to_look_again(
    run: Run, away: list[EngineError], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlengine.cli.waiting._ENGINE_AWAY_S", 0.0)
    away += [Unavailable("No engine answers.", "Start one.")] * 2
    done = run("versions", "create", "v1", "--model=census", "--origin=gs://b/m")
    assert done.code == 1 and done.err.endswith(
        "failed.\nERROR: (mlengine.versions.create) No engine answers. Start one. "
        "Operation [create_census_v1-1] goes on with the engine; "
        "see 'mlengine operations describe create_census_v1-1'.\n"
    )


def test_versions_are_described_chosen_updated_and_deleted(run: Run, model: FakeEngine) -> None:
    for name in ("v1", "v2"):
        model.create_version("default", "census", Version(name=name, deployment_uri="gs://b/m"))
    assert "isDefault: true\n" in run("versions", "set-default", "v2", "--model=census").out
    assert "isDefault" not in run("versions", "describe", "v1", "--model=census").out
    done = run("versions", "update", "v1", "--model=census", "--description=d")
    assert done.err.endswith("Updated AI Platform version [v1].\n")
    assert run("versions", "update", "v1", "--model=census").err == "No update to perform.\n"
    assert run("versions", "delete", "v1", "--model=census") == (
        0, "", "This will delete version [v1]...\n\nDeleting version [v1]...done.\n"
    )  # fmt: skip


def test_operations_are_listed_and_waited_for(run: Run, model: FakeEngine) -> None:
    model.begin("default", "create_census_v1-7")
    assert run("operations", "list").out == (
        "NAME                OPERATION_TYPE  DONE\ncreate_census_v1-7\n"
    )

    def end() -> None:
        model.operations["default", "create_census_v1-7"].done = True

    ending = threading.Timer(0.05, end)
    ending.start()
    name = "projects/default/operations/create_census_v1-7"
    assert run("operations", "wait", name) == (
        0, "", "Waiting for operation [create_census_v1-7]...done.\n"
    )  # fmt: skip
    ending.join()
    assert "done: true" in run("operations", "describe", "create_census_v1-7").out
    assert run("operations", "cancel", "create_census_v1-7") == (0, "", "")


def test_locations_are_listed_and_described(run: Run, engine: FakeEngine) -> None:
    assert run("locations", "list").out == (
        "NAME         TYPE      AVAILABLE_ACCELERATORS\nus-central1  TRAINING\n"
    )
    assert run("locations", "describe", "us-central1").out.startswith("{\n")
