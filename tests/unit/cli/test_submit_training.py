"""`mlengine jobs submit training`: packages, configuration, flags."""

from __future__ import annotations

import tarfile
from io import BytesIO
from pathlib import Path

import click
import pytest

from mlengine.cli.commands.submit_training import training
from mlengine.core.resources import JobOptions, Scheduling, TrainingInput
from mlengine.training import sdist
from mlengine.training.verdict import FINDINGS
from tests.fakes.engine import FakeEngine
from tests.unit.cli.conftest import Outcome, Run

SUBMIT = ["jobs", "submit", "training", "J"]
CONFIG = """\
labels: {team: blue}
trainingInput:
  scaleTier: CUSTOM
  masterType: n1-standard-4
  runtimeVersion: 1.10
  args: [--epochs, 3, --lr, 1e-3]
  packageUris: [gs://b/p.tar.gz]
  pythonModule: trainer.task
  region: us-east1
  masterConfig: {acceleratorConfig: {type: NVIDIA_TESLA_K80, count: 2}}
"""


@pytest.fixture
def package(tmp_path: Path) -> str:
    folder = tmp_path / "code" / "trainer"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "task.py").write_text("print('hello')\n")
    return str(folder)


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "job.yaml"
    path.write_text(CONFIG)
    return str(path)


def spec(engine: FakeEngine) -> TrainingInput:
    found = engine.get_job("default", "J").training_input
    assert found is not None
    return found


def test_a_folder_becomes_an_uploaded_package(run: Run, engine: FakeEngine, package: str) -> None:
    done = run(*SUBMIT, "--package-path", package, "--module-name=trainer.task", "--", "--x", "1")
    assert (done.code, done.out) == (0, "jobId: J\nstate: QUEUED\n")
    assert done.err.startswith("Created the bucket gs://mlengine-staging/ to upload to.\nJob [J] ")
    (uri,) = spec(engine).package_uris
    bucket, job, digest, name = uri.removeprefix("gs://").split("/")
    assert (bucket, job, len(digest), name) == (
        "mlengine-staging", "J", 64, "trainer-0.0.0.tar.gz"
    )  # fmt: skip
    archive = engine.objects[bucket, f"{job}/{digest}/{name}"]
    with tarfile.open(fileobj=BytesIO(archive)) as tar:
        assert "trainer-0.0.0/trainer/task.py" in tar.getnames()
    assert spec(engine).args == ["--x", "1"] and spec(engine).region == "local"


def test_a_large_package_is_warned_of(
    run: Run, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sdist, "_LARGE_BYTES", 10)
    done = run(*SUBMIT, "--package-path", package, "--module-name=trainer.task")
    assert done.code == 0
    assert "WARNING: The package trainer-0.0.0.tar.gz holds " in done.err


def test_packages_go_below_the_job_dir_when_there_is_no_staging_bucket(
    run: Run, engine: FakeEngine, package: str
) -> None:
    run("storage", "buckets", "create", "bucket", "stage")
    flags = ["--package-path", package, "--module-name=trainer.task", "--job-dir=gs://bucket/out/"]
    assert run(*SUBMIT, *flags).code == 0
    assert spec(engine).package_uris[0].startswith("gs://bucket/out/packages/")
    engine.jobs.clear()
    assert run(*SUBMIT, *flags, "--staging-bucket=gs://stage").code == 0
    assert spec(engine).package_uris[0].startswith("gs://stage/J/")


def test_remote_packages_come_first_and_local_ones_are_uploaded(
    run: Run, engine: FakeEngine, tmp_path: Path
) -> None:
    wheel = tmp_path / "x-1-py3-none-any.whl"
    wheel.write_bytes(b"wheel")
    flags = ["--module-name=m", f"--packages={wheel},gs://b/y.whl"]
    assert run(*SUBMIT, *flags).code == 0
    first, second = spec(engine).package_uris
    assert first == "gs://b/y.whl" and second.endswith("/x-1-py3-none-any.whl")


def test_the_file_alone_is_a_whole_job(run: Run, engine: FakeEngine, config: str) -> None:
    assert run(*SUBMIT, "--config", config).code == 0
    job = engine.get_job("default", "J")
    assert job.labels == {"team": "blue"}
    found = spec(engine)
    assert found.package_uris == ["gs://b/p.tar.gz"]
    assert found.args == ["--epochs", "3", "--lr", "1e-3"]
    assert (found.runtime_version, found.region) == ("1.10", "us-east1")


def test_a_flag_overwrites_its_field_and_no_other(
    run: Run, engine: FakeEngine, config: str
) -> None:
    flags = ["--config", config, "--region=us-west1", "--labels=a=b",
             "--master-accelerator=type=nvidia-tesla-t4"]  # fmt: skip
    assert run(*SUBMIT, *flags, "--", "--only", "this").code == 0
    found = spec(engine)
    assert (found.region, found.args, found.master_type) == (
        "us-west1", ["--only", "this"], "n1-standard-4"
    )  # fmt: skip
    assert engine.get_job("default", "J").labels == {"a": "b"}
    master = found.master_config
    assert master and master.accelerator_config
    assert master.accelerator_config.type == "NVIDIA_TESLA_T4"


def test_every_flag_reaches_its_field(run: Run, engine: FakeEngine) -> None:
    assert run(
        *SUBMIT, "--packages=gs://b/p.whl", "--module-name=m", "--scale-tier=custom",
        "--master-machine-type=n1-standard-4", "--master-accelerator=type=nvidia-tesla-t4",
        "--worker-machine-type=n1-standard-8", "--worker-count=3",
        "--parameter-server-machine-type=n1-standard-2", "--parameter-server-count=2",
        "--use-chief-in-tf-config=true", "--python-version=3.11", "--job-dir=/tmp/out", "--async",
    ).code == 0  # fmt: skip
    found = spec(engine)
    assert (found.scale_tier, found.worker_count, found.parameter_server_count) == ("CUSTOM", 3, 2)
    assert found.master_config and found.master_config.accelerator_config
    assert found.master_config.accelerator_config.type == "NVIDIA_TESLA_T4"
    assert found.use_chief_in_tf_config and found.job_dir == "/tmp/out"


@pytest.mark.parametrize(
    ("flag", "field"),
    [("--master-image-uri=gcr.io/x", "image_uri"), ("--worker-image-uri=w", "image_uri"),
     ("--parameter-server-image-uri=w", "image_uri"), ("--service-account=me", "service_account"),
     ("--enable-web-access", "enable_web_access"), ("--network=n", "network"),
     ("--tpu-tf-version=2", "tpu_tf_version"),
     ("--kms-key=projects/p/locations/l/keyRings/r/cryptoKeys/k", "encryption_config")],
)  # fmt: skip
def test_a_field_that_is_refused_is_refused_before_anything_is_built(
    run: Run, engine: FakeEngine, package: str, flag: str, field: str
) -> None:
    done = run(*SUBMIT, "--package-path", package, "--module-name=trainer.task", flag)
    assert done.code == 1 and f"does not support '{field}'" in done.err
    assert not engine.jobs and not engine.objects and not engine.buckets


def test_the_job_dir_may_be_a_files_address(run: Run, engine: FakeEngine) -> None:
    program = ["--packages=gs://b/p.whl", "--module-name=m"]
    assert run(*SUBMIT, *program, "--job-dir=file:///tmp/z").code == 0
    assert spec(engine).job_dir == "/tmp/z"


def test_the_engines_own_options_have_flags(run: Run, engine: FakeEngine) -> None:
    base = [*SUBMIT, "--packages=gs://b/p.whl", "--module-name=m"]
    assert run(*base).code == 0
    assert engine.get_job("default", "J").options is None
    engine.jobs.clear()
    assert run(
        *base, "--strict-runtime", "--strict-resources", "--legacy-keras", "--max-retries=0",
        "--allow=export", "--allow", "non-finite",
    ).code == 0  # fmt: skip
    assert engine.get_job("default", "J").options == JobOptions(
        strict_runtime=True, strict_resources=True, legacy_keras=True, max_retries=0,
        allow=["export", "non-finite"],
    )  # fmt: skip


def test_what_may_be_allowed_is_what_is_found() -> None:
    (flag,) = [o for o in training.params if o.name == "allow"]
    assert isinstance(flag.type, click.Choice)
    assert set(flag.type.choices) == set(FINDINGS)


CLUSTER = """\
options: {maxRetries: 3, strictResources: true, allow: [export]}
trainingInput:
  scaleTier: CUSTOM
  masterType: n1-standard-4
  workerType: n1-standard-4
  workerCount: 2
  evaluatorType: n1-highmem-2
  evaluatorCount: 1
  evaluatorConfig: {acceleratorConfig: {type: NVIDIA_TESLA_T4, count: 1}}
  scheduling: {maxRunningTime: 7200s, maxWaitTime: 3600s, priority: 7}
  packageUris: [gs://b/p.tar.gz]
  pythonModule: trainer.task
"""


def test_what_has_no_flag_of_gclouds_comes_from_the_file(
    run: Run, engine: FakeEngine, tmp_path: Path
) -> None:
    (tmp_path / "job.yaml").write_text(CLUSTER)
    flags = ["--config", str(tmp_path / "job.yaml"), "--max-retries=0", "--worker-count=3"]
    done = run(*SUBMIT, *flags, "--worker-machine-type=n1-standard-8")
    assert done.code == 0
    assert done.err.splitlines()[0] == (
        "Replicas: 1 master (n1-standard-4), 3 worker (n1-standard-8), 1 evaluator (n1-highmem-2 + "
        "1 NVIDIA_TESLA_T4): 5 replicas, 30 CPUs, 118 GiB of memory, 1 GPU; in the cloud about "
        "$1.80 an hour."
    )
    job = engine.get_job("default", "J")
    found = spec(engine)
    assert (found.evaluator_count, found.evaluator_type) == (1, "n1-highmem-2")
    assert found.scheduling == Scheduling(
        max_running_time="7200s", max_wait_time="3600s", priority=7
    )
    assert job.options == JobOptions(strict_resources=True, max_retries=0, allow=["export"])


def test_the_summary_of_a_job_of_many_replicas_shows_them(run: Run, engine: FakeEngine) -> None:
    flags = ["--packages=gs://b/p.whl", "--module-name=m"]
    assert run(*SUBMIT, *flags, "--scale-tier=standard-1").code == 0
    text = run("jobs", "describe", "J", "--summarize").out
    assert " Replicas " in text
    rows = [line.split() for line in text.splitlines()]
    assert ["|", "ps", "|", "3", "|", "n1-standard-4", "|", "4", "|", "15", "|", "0", "|", "0.19",
            "|"] in rows  # fmt: skip


REFUSED = {
    "no package": (["--module-name=m"], 1, "Non-custom jobs must have packages."),
    "an image and a runtime": (
        ["--master-image-uri=x", "--runtime-version=2.1"], 1,
        "Only one of --master-image-uri, --runtime-version can be set.",
    ),
    "custom without a machine": (
        ["--scale-tier=custom", "--packages=gs://b/p.whl"], 1,
        "--master-machine-type is required if scale-tier is set to `CUSTOM`.",
    ),
    "workers without a machine": (["--worker-count=2"], 2, "--worker-machine-type must go with it"),
    "no workers": (["--worker-count=0", "--worker-machine-type=x"], 2, "--worker-count"),
    "another tier": (["--scale-tier=huge"], 2, "Invalid choice: 'huge'"),
    "too many retries": (["--max-retries=21"], 2, "--max-retries"),
    "nothing that is found": (["--allow=anything"], 2, "--allow"),
    "half a label": (["--labels=a"], 2, "Bad syntax for dict arg: [a]"),
    "a label twice": (["--labels=a=1,b=2,a=1"], 2, "[a] is given twice: a=1 and a=1."),
    "a label in two flags": (
        ["--labels=a=1", "--labels=a=2", "--packages=gs://b/p.whl"], 2,
        "[a] is given twice: a=1 and a=2.",
    ),
    "two ways to end": (["--async", "--stream-logs"], 2, "At most one of"),
    "a package that is not there": (["--packages=/nowhere/x.whl"], 1, "is not a file"),
    "a job dir of nowhere": (["--job-dir=out/x", "--packages=x.whl"], 1, "nor an absolute path"),
    "a job dir without a root": (["--job-dir=file://z"], 1, "nor an absolute path"),
    "a misspelled flag": (["--regoin=x"], 2, "did you mean '--region'?"),
    "a flag without a value": (["--scale-tier"], 2, "argument --scale-tier: expected one argument"),
}  # fmt: skip


@pytest.mark.parametrize(("flags", "code", "text"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_a_job_is_refused_before_anything_is_made(
    run: Run, engine: FakeEngine, flags: list[str], code: int, text: str
) -> None:
    done: Outcome = run(*SUBMIT, *flags)
    assert (done.code, done.out) == (code, "")
    assert done.err.startswith("ERROR: (mlengine.jobs.submit.training) ") and text in done.err
    assert not engine.jobs and not engine.objects and not engine.buckets


MILLION = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{below}'] * 10)}]\n"
    for below, name in zip("abcde", "bcdef", strict=True)
)
CONFIGS = {
    "an unknown field": ("trainingInput: {regoin: x}", "Unknown name \"regoin\" at 'job.training_"),
    "no mapping": ("- a\n- b\n", "holds no mapping"),
    "no YAML": ("a: [", "is not YAML"),
    "a tag that builds objects": ("a: !!python/object/apply:os.system [id]", "is not YAML"),
    "a number of nothing": ('scaleTier: !!int ""', "not YAML: '' is no int in"),
    "a number of no digits": ('scaleTier: !!float "_"', "not YAML: '_' is no float in"),
    "a switch of another word": ("restart: !!bool maybe", "not YAML: 'maybe' is no bool in"),
    "bytes": ("labels: {a: !!binary aGk=}", "a !!binary is nothing that JSON has"),
    "a name of bytes": ("labels: {!!binary aGk=: a}", "a !!binary is nothing that JSON has"),
    "a set": ("trainingInput: {args: !!set {a, b}}", "a !!set is nothing that JSON has"),
    "pairs": ("trainingInput: {args: !!pairs [a: b]}", "a !!pairs is nothing that JSON has"),
    "a key twice": ("labels: {}\nlabels: {}\n", "the key 'labels' is there twice"),
    "a wrong type": ("trainingInput: {workerCount: many}", "This must be an integer"),
    "ten lines that mean a million": (MILLION, "too many values"),
    "a key twice in JSON": ('{"labels": {},\n\t"labels": {}}', "the key 'labels' is there twice"),
    "neither JSON nor YAML": ('{\n\t"labels": {},}', "nor JSON: "),
    "a file too large": ("#" * (1 << 20) + "\n", "is larger than"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "message"), CONFIGS.values(), ids=CONFIGS)
def test_a_bad_configuration_says_what_is_wrong(
    run: Run, engine: FakeEngine, tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    done = run(*SUBMIT, "--config", str(path))
    assert done.code == 1 and message in done.err and not engine.jobs


def test_json_is_a_configuration_too_and_may_come_from_stdin(run: Run, engine: FakeEngine) -> None:
    text = '{"training_input": {"package_uris": ["gs://b/p.whl"], "pythonModule": "m"}}'
    assert run(*SUBMIT, "--config=-", stdin=text).code == 0
    assert spec(engine).python_module == "m"


def test_numbers_among_the_arguments_stay_as_they_were_typed(run: Run, engine: FakeEngine) -> None:
    words = ["--zip", "010", "0777", "0x10", "1_000", "1:30", "007", "+1", "0b11", "-5", "3.10"]
    text = (
        "trainingInput: {packageUris: [gs://b/p.whl], pythonModule: m, workerCount: 0x2, "
        f"args: [{', '.join(words)}]}}"
    )
    assert run(*SUBMIT, "--config=-", stdin=text).code == 0
    assert (spec(engine).args, spec(engine).worker_count) == (words, 2)


def test_words_that_yaml_takes_for_truths_stay_words_where_text_stands(
    run: Run, engine: FakeEngine
) -> None:
    text = (
        "labels: {on: yes}\n"
        "trainingInput: {packageUris: [gs://b/p.whl], pythonModule: m, args: [--cache, true], "
        "hyperparameters: {enableTrialEarlyStopping: yes, params: [{parameterName: bias, "
        "type: CATEGORICAL, categoricalValues: [yes, No, on, off]}]}}"
    )
    assert run(*SUBMIT, "--config=-", stdin=text).code == 0
    found = spec(engine)
    assert found.args == ["--cache", "true"] and found.hyperparameters is not None
    assert found.hyperparameters["params"][0]["categoricalValues"] == ["yes", "No", "on", "off"]
    assert found.hyperparameters["enableTrialEarlyStopping"] is True
    assert engine.get_job("default", "J").labels == {"on": "yes"}


def test_what_only_gclouds_own_client_knows_does_not_stop_a_job(
    run: Run, engine: FakeEngine
) -> None:
    text = (
        "trainingInput: {packageUris: [gs://b/p.whl], pythonModule: m, nasJobSpec: {}, "
        "scheduling: {strategy: BATCH, resilient_to_worker_restart: true, maxRunningTime: 60s}}"
    )
    assert run(*SUBMIT, "--config=-", stdin=text).code == 0
    assert spec(engine).scheduling == Scheduling(max_running_time="60s")


YAML_NUMBERS = """\
labels: {commit: 12e4567}
trainingInput:
  packageUris: [gs://b/p.whl]
  pythonModule: m
  runtimeVersion: 1.10
  args: [--lr, 1e-4, --momentum, 1.50]
  hyperparameters:
    params:
    - {parameterName: lr, type: DOUBLE, minValue: 1e-05, maxValue: +1.5E2}
    - {parameterName: decay, type: CATEGORICAL, categoricalValues: [1e-3, 0.10, 010]}
"""
JSON_NUMBERS = """\
{
\t"labels": {"commit": 12e4567},
\t"trainingInput": {
\t\t"packageUris": ["gs://b/p.whl"], "pythonModule": "m", "runtimeVersion": 1.10,
\t\t"args": ["--lr", 1e-4, "--momentum", 1.50],
\t\t"hyperparameters": {"params": [
\t\t\t{"parameterName": "lr", "type": "DOUBLE", "minValue": 1e-05, "maxValue": 1.5E2},
\t\t\t{"parameterName": "decay", "categoricalValues": [1e-3, 0.10, "010"]}
\t\t]}
\t}
}
"""


@pytest.mark.parametrize("text", [YAML_NUMBERS, JSON_NUMBERS], ids=["YAML", "tabbed JSON"])
def test_numbers_may_have_an_exponent_and_text_stays_as_it_was_typed(
    run: Run, engine: FakeEngine, text: str
) -> None:
    assert run(*SUBMIT, "--config=-", stdin=text).code == 0
    found = spec(engine)
    assert (found.runtime_version, found.args[1::2]) == ("1.10", ["1e-4", "1.50"])
    assert engine.get_job("default", "J").labels == {"commit": "12e4567"}
    assert found.hyperparameters is not None
    rate, decay = found.hyperparameters["params"]
    assert (rate["minValue"], rate["maxValue"]) == (1e-5, 150.0)
    assert decay["categoricalValues"] == ["1e-3", "0.10", "010"]


def test_a_module_that_is_not_in_the_package_is_found_before_the_upload(
    run: Run, engine: FakeEngine, package: str
) -> None:
    done = run(*SUBMIT, "--package-path", package, "--module-name=trainer.tsk")
    assert done.code == 1 and "Did you mean 'trainer.task'?" in done.err
    assert not engine.objects


def test_a_folder_without_init_is_no_package(run: Run, tmp_path: Path) -> None:
    done = run(*SUBMIT, "--package-path", str(tmp_path), "--module-name=x.y")
    assert done.code == 1 and "does not contain an `__init__.py` file." in done.err


def test_the_same_package_is_uploaded_once(run: Run, engine: FakeEngine, package: str) -> None:
    writes: list[str] = []
    engine.before = lambda verb: writes.append(verb) if verb == "write_object" else None
    flags = ["--package-path", package, "--module-name=trainer.task"]
    assert run(*SUBMIT, *flags).code == 0
    again = run(*SUBMIT, *flags)
    assert again.code == 1 and again.err.splitlines()[1] == (
        "ERROR: (mlengine.jobs.submit.training) Resource in projects [default] is the subject of a "
        "conflict: Field: job.job_id Error: A job with this id already exists."
    )
    assert writes == ["write_object"]


def test_arguments_that_look_dangerous_arrive_word_for_word(run: Run, engine: FakeEngine) -> None:
    words = ["$(touch x)", "; rm -rf /", "-rf", "a\nb", "--project=other", ""]
    assert run(*SUBMIT, "--packages=gs://b/p.whl", "--module-name=m", "--", *words).code == 0
    assert spec(engine).args == words
