"""`jobs trials` and what else the command line says of tuning jobs."""

from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from mlengine.cli.drawing import SIZE, width
from mlengine.cli.trialpictures import importance, pictures
from mlengine.core.resources import (
    Bucket,
    Job,
    JobDetails,
    Model,
    TrainingInput,
    TrainingOutput,
)
from tests.fakes.engine import FakeEngine
from tests.unit.cli.conftest import Run


def trial(number: int, value: float | None = None, **more: Any) -> dict[str, Any]:
    final = {"finalMetric": {"objectiveValue": value, "trainingStep": "10"}}
    return {
        "trialId": str(number),
        "hyperparameters": {"rate": str(number / 10), "kind": "ab"[number % 2]},
        **(final if value is not None else {}),
        "state": "SUCCEEDED",
        "startTime": "2018-03-02T06:50:00Z",
        "endTime": "2018-03-02T06:50:07Z",
        **more,
    }


@pytest.fixture
def tuned(engine: FakeEngine) -> FakeEngine:
    spec = TrainingInput(
        region="local", python_module="t.task", job_dir="gs://mine/t",
        hyperparameters={"goal": "MAXIMIZE", "maxTrials": 4},
    )  # fmt: skip
    engine.create_job("default", Job(job_id="t", training_input=spec))
    job = engine.jobs["default", "t"]
    job.state = "SUCCEEDED"
    trials = [
        trial(1, 0.5), trial(2, 0.75, isTrialStoppedEarly=True), trial(3, 0.9, state="FAILED"),
        trial(4, None, state="RUNNING", endTime=""),
    ]  # fmt: skip
    job.training_output = TrainingOutput(
        completed_trial_count=2, trials=trials, hyperparameter_metric_tag="auc",
        is_hyperparameter_tuning_job=True,
    )  # fmt: skip
    return engine


def test_trials_are_shown_best_first_with_a_column_for_each_parameter(
    run: Run, tuned: FakeEngine
) -> None:
    assert run("jobs", "trials", "t").out == (
        "TRIAL  STATE          OBJECTIVE  STEP  SECONDS  rate  kind\n"
        "2      STOPPED_EARLY  0.75       10    7        0.2   a\n"
        "1      SUCCEEDED      0.5        10    7        0.1   b\n"
        "3      FAILED         0.9        10    7        0.3   b\n"
        "4      RUNNING                                  0.4   a\n"
    )


def test_why_trials_failed_is_said_once_for_all_with_the_same_reason(
    run: Run, tuned: FakeEngine
) -> None:
    output = tuned.jobs["default", "t"].training_output
    assert output is not None
    output.trials[0] |= {"state": "FAILED", "errorMessage": "gs://b/t/1: exit\nstatus 2"}
    output.trials[2] |= {"errorMessage": "gs://b/t/3: exit\nstatus 2"}
    output.trials[3] |= {"state": "CANCELLED", "errorMessage": "The tuning job is over."}
    said = (
        "2 trials failed (1, 3): gs://b/t/1: exit status 2\n"
        "1 trial was stopped (4): The tuning job is over.\n"
    )
    assert run("jobs", "trials", "t").err == said
    assert run("jobs", "trials", "t", "--format=csv").err == ""
    summary = run("jobs", "describe", "t", "--summarize").out.partition("Trials Without Success")[2]
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in summary.splitlines()[2:]]
    assert ["1, 3", "FAILED", "gs://b/t/1: exit status 2"] in cells
    assert ["4", "CANCELLED", "The tuning job is over."] in cells


def test_trials_as_csv_sorted_and_in_a_format_of_ones_own(run: Run, tuned: FakeEngine) -> None:
    assert run("jobs", "trials", "t", "--format=csv", "--sort-by=trialId").out == (
        "TRIAL,STATE,OBJECTIVE,STEP,SECONDS,rate,kind\n"
        "1,SUCCEEDED,0.5,10,7,0.1,b\n"
        "2,STOPPED_EARLY,0.75,10,7,0.2,a\n"
        "3,FAILED,0.9,10,7,0.3,b\n"
        "4,RUNNING,,,,0.4,a\n"
    )
    shown = run("jobs", "trials", "t", "--format=value(hyperparameters.rate)", "--limit=1")
    assert shown.out == "0.2\n"


@pytest.mark.parametrize(
    ("form", "shown"),
    [
        ("json(trialId)", '[\n  {\n    "trialId": 4\n  },\n  {\n    "trialId": 3\n  }\n]\n'),
        ("value(trialId)", "4\n3\n"),
        ("csv(trialId,rate)", "trial_id,rate\n4,\n3,\n"),
        ("csv(hyperparameters.rate)", "rate\n0.4\n0.3\n"),
        ("csv(RATE)", 'rate\n""\n""\n'),
        ("csv", ("TRIAL,STATE,OBJECTIVE,STEP,SECONDS,rate,kind\n4,RUNNING,,,,0.4,a\n"
                 "3,FAILED,0.9,10,7,0.3,b\n")),
    ],
)  # fmt: skip
def test_parameters_are_keys_whatever_is_shown(
    run: Run, tuned: FakeEngine, form: str, shown: str
) -> None:
    done = run("jobs", "trials", "t", "--filter=rate>0.2", "--sort-by=~rate", f"--format={form}")
    assert (done.out, done.err) == (shown, "")


@pytest.mark.parametrize("name", ["net.units", "NET.units", "step.size", "layer.0"])
def test_a_parameter_with_a_dot_is_a_key_too(run: Run, tuned: FakeEngine, name: str) -> None:
    output = tuned.jobs["default", "t"].training_output
    assert output is not None
    for one, units in zip(output.trials, ("64", "512", "256", "1024"), strict=True):
        one["hyperparameters"] = {name.lower(): units}
    words = [f"--filter={name}>100", f"--sort-by={name}", "--format=value(trialId)"]
    assert run("jobs", "trials", "t", *words) == (0, "3\n2\n4\n", "")
    done = run("jobs", "trials", "t", f"--filter={name}.x=1 OR units.y=1", f"--sort-by=~{name}.x")
    assert f"--filter keys were not present in any resource: {name}.x, units.y." in done.err
    assert f"--sort-by keys were not present in any resource: {name}.x." in done.err


def test_a_key_that_no_trial_has_is_not_among_those_that_there_are(
    run: Run, tuned: FakeEngine
) -> None:
    done = run("jobs", "trials", "t", "--filter=units>5", "--format=csv(trialId,units)")
    said = "WARNING: --filter keys were not present in any resource: units. "
    assert done.err.startswith(said)
    assert "UNITS" not in done.err
    assert "rate" in done.err.lower()


def test_less_may_be_better(run: Run, tuned: FakeEngine) -> None:
    spec = tuned.jobs["default", "t"].training_input
    assert spec is not None
    assert spec.hyperparameters is not None
    spec.hyperparameters["goal"] = "MINIMIZE"
    assert run("jobs", "trials", "t", "--format=value(trialId)").out == "1\n2\n3\n4\n"


def test_a_job_without_trials_says_so(run: Run, engine: FakeEngine) -> None:
    engine.create_job("default", Job(job_id="plain", training_input=TrainingInput()))
    done = run("jobs", "trials", "plain")
    assert done.code == 1
    assert "is no tuning job" in done.err


def test_pictures_are_files_that_a_browser_shows(
    run: Run, tuned: FakeEngine, tmp_path: Path
) -> None:
    done = run("jobs", "trials", "t", "--plot", str(tmp_path / "p"))
    assert done.code == 0, done.err
    names = ["history.svg", "parallel.svg", "importance.svg"]
    assert done.out == "".join(f"{tmp_path / 'p' / name}\n" for name in names)
    for name in names:
        root = ET.fromstring((tmp_path / "p" / name).read_text())
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
    drawn = (tmp_path / "p" / "history.svg").read_text()
    assert drawn.count("<circle") == 2  # one has no value yet, one failed


@pytest.mark.parametrize(
    ("folder", "name"),
    [("gs://mine/plots", "plots/"), ("gs://mine/a/b/", "a/b/"), ("gs://mine", "")],
)
def test_pictures_are_stored_in_a_bucket(
    run: Run, tuned: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    folder: str, name: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    tuned.create_bucket(Bucket(name="mine"))
    done = run("jobs", "trials", "t", "--plot", folder)
    assert (done.code, done.err) == (0, "")
    names = [f"{name}{kind}.svg" for kind in ("history", "parallel", "importance")]
    assert done.out == "".join(f"gs://mine/{name}\n" for name in names)
    for picture in names:
        ET.fromstring(b"".join(tuned.read_object("mine", picture)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("folder", ["s3://mine/plots", "gs://", "gs://Mine/x"])
def test_pictures_are_stored_nowhere_else(
    run: Run, tuned: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("jobs", "trials", "t", "--plot", folder)
    assert done.code == 1
    assert folder in done.err
    assert list(tmp_path.iterdir()) == []


def test_a_picture_folder_that_cannot_be_is_an_error(
    run: Run, tuned: FakeEngine, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    done = run("jobs", "trials", "t", "--plot", str(tmp_path / "file"))
    assert done.code == 1
    assert "cannot be written" in done.err


@pytest.mark.parametrize(
    "values",
    [[0.5], [1.0, 1.0], [1e308, -1e308, 0.0], [5e-324, 0.0], [5e-324, 1.7e308]],
    ids=str,
)
def test_any_values_can_be_drawn(values: list[float]) -> None:
    rows = [
        {**trial(n, value), "hyperparameters": {"<&>\x07": f"a\"'{n}", "rate": str(value)}}
        for n, value in enumerate(values, 1)
    ]
    for text in pictures(rows, minimize=True, tag="<loss>").values():
        assert "nan" not in text
        assert "inf" not in text
        ET.fromstring(text)


def test_a_trial_that_failed_is_in_no_picture() -> None:
    rows = [
        {**trial(1, 0.5), "hyperparameters": {"x": "1"}},
        {**trial(2, 0.0), "hyperparameters": {"x": "777"}, "state": "FAILED"},
        {**trial(3, 0.25), "hyperparameters": {"x": "2"}, "state": "RUNNING"},
    ]
    drawn = pictures(rows, minimize=True, tag="loss")
    assert "trial 1: 0.5" in drawn["history.svg"]
    assert "trial 3: 0.25" in drawn["history.svg"]
    assert "trial 2" not in drawn["history.svg"]
    assert "777" not in drawn["parallel.svg"]
    assert pictures(rows[1:2], minimize=True, tag="loss") == {}


def test_values_of_many_magnitudes_lie_by_their_logarithms() -> None:
    rows = [
        {**trial(n, 0.5), "hyperparameters": {"rate": str(rate)}}
        for n, rate in enumerate((0.0001, 0.01, 1.0), 1)
    ]
    drawn = pictures(rows, minimize=True, tag="loss")["parallel.svg"]
    middle = re.search(r'y="([0-9.]+)" text-anchor="start"[^>]*>0.01<', drawn)
    assert middle is not None
    assert middle[1] == "244.0"  # half-way between the ends


def _boxes(drawn: str) -> list[tuple[str, float, float, float, float]]:
    """Return each text with its left, top, right and bottom; those of the picture come first."""
    root = ET.fromstring(drawn)
    found = [("", 0.0, 0.0, float(root.attrib["width"]), float(root.attrib["height"]))]
    for element in root.iter("{http://www.w3.org/2000/svg}text"):
        words = (element.text or "") + "".join(child.tail or "" for child in element)
        size = int(element.attrib.get("font-size", SIZE))
        x, y, wide = float(element.attrib["x"]), float(element.attrib["y"]), width(words, size)
        x -= {"start": 0.0, "middle": wide / 2, "end": wide}[element.attrib["text-anchor"]]
        found.append((words, x, y - 0.75 * size, x + wide, y + 0.2 * size))
    return found


@pytest.mark.parametrize("count", [1, 2, 5, 16])
@pytest.mark.parametrize("length", [1, 12, 128])
@pytest.mark.parametrize("letter", ["n", "W", "数"])
def test_no_text_is_cut_off_or_lies_on_another(count: int, length: int, letter: str) -> None:
    names = [f"{chr(97 + n)}{letter * (length - 1)}" for n in range(count)]
    rows = [
        {**trial(at, -1.2345e-100 * at**3),
         "hyperparameters": {name: f"{letter * length}{at}" if n % 2 else f"-{at}.2345e-100"
                             for n, name in enumerate(names)}}
        for at in range(1, 60)
    ]  # fmt: skip
    for drawn in pictures(rows, minimize=True, tag=letter * length).values():
        (_none, *edges), *boxes = _boxes(drawn)
        for words, left, top, right, bottom in boxes:
            assert left >= 0, words
            assert top >= 0, words
            assert right <= edges[2], words
            assert bottom <= edges[3], words
        for one, other in itertools.combinations(boxes, 2):
            apart = one[1] >= other[3] or other[1] >= one[3]
            assert apart or one[2] >= other[4] or other[2] >= one[4], (one, other)


def test_a_name_that_is_cut_is_whole_under_the_pointer() -> None:
    name = "first-layer-size-of-the-wide-part-of-a-wide-and-deep-network"
    rows = [{**trial(n, 0.5), "hyperparameters": {name: str(n)}} for n in (1, 2)]
    drawn = pictures(rows, minimize=True, tag="loss")["parallel.svg"]
    assert f"<title>{name}</title>first-" in drawn
    assert f">{name}</text>" not in drawn


def test_what_matters_is_told_from_what_does_not() -> None:
    points = [{"x": str(n / 60), "y": str(n * 37 % 60), "same": "1"} for n in range(60)]
    found = importance(points, [(n / 60) ** 2 for n in range(60)])
    assert found["x"] > 0.8
    assert found["y"] < 0.2
    assert found["same"] == 0.0


def test_a_summary_of_one_that_runs_says_what_remains(run: Run, tuned: FakeEngine) -> None:
    details = JobDetails(remaining_seconds=90.5, remaining_usd=0.25)
    tuned.jobs["default", "t"].details = details
    output = tuned.jobs["default", "t"].training_output
    assert output is not None
    output.trials = output.trials[::-1]  # whatever the order, gcloud lists them by number
    out = run("jobs", "describe", "t", "--summarize").out
    assert "Remaining (estimate)" in out
    assert "90.5" in out
    trials = out.partition("Training Output Trials")[2].partition("Trials Without Success")[0]
    _heading, _title, *rows = trials.splitlines()
    first = [row.split("|")[1].strip() for row in rows if row.startswith("|")]
    assert [number for number in first if number.isdecimal()] == ["1", "2", "3", "4"]


# --- versions create --from-job -----------------------------------------------------------------


def put(engine: FakeEngine, *names: str) -> None:
    if "mine" not in {bucket.name for bucket in engine.list_buckets()}:
        engine.create_bucket(Bucket(name="mine"))
    for name in names:
        engine.write_object("mine", name, [b"x"])


def deploy(run: Run, engine: FakeEngine, *flags: str) -> Any:
    engine.create_model("default", Model(name="m"))
    return run("versions", "create", "v1", "--model=m", *flags)


def deployed(engine: FakeEngine) -> str:
    return engine.get_version("default", "m", "v1").deployment_uri


def test_the_best_trial_is_deployed(run: Run, tuned: FakeEngine) -> None:
    put(tuned, "t/1/model/model.joblib", "t/2/model/model.joblib", "t/2/metrics.json")
    done = deploy(run, tuned, "--from-job=t")
    assert done.code == 0, done.err
    assert "Deploying trial 2 of job [t]." in done.err
    assert deployed(tuned) == "gs://mine/t/2/model"


def test_of_a_job_that_is_not_over_the_best_trial_so_far_is_deployed_with_a_warning(
    run: Run, tuned: FakeEngine
) -> None:
    put(tuned, "t/2/model.joblib", "t/1/model.joblib")
    said = "WARNING: Job [t] is RUNNING: this is the best trial so far.\n"
    assert said not in deploy(run, tuned, "--from-job=t").err
    tuned.jobs["default", "t"].state = "RUNNING"
    best = run("versions", "create", "v2", "--model=m", "--from-job=t")
    assert best.code == 0 and said in best.err
    named = run("versions", "create", "v3", "--model=m", "--from-job=t", "--trial=1")
    assert named.code == 0 and said not in named.err


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("RUNNING", "value so far. Wait with 'mlengine jobs stream-logs t'."),
        ("FAILED", "value. See 'mlengine jobs trials t' for what they did."),
    ],
)
def test_without_a_trial_to_deploy_the_jobs_state_is_told(
    run: Run, tuned: FakeEngine, state: str, said: str
) -> None:
    job = tuned.jobs["default", "t"]
    assert job.training_output is not None
    job.state, job.training_output.trials = state, []
    done = deploy(run, tuned, "--from-job=t")
    assert done.code == 1
    assert f"Job [t] is {state}: no trial has succeeded with a {said}" in done.err


def test_a_trial_may_be_named(run: Run, tuned: FakeEngine) -> None:
    put(tuned, "t/1/model.pkl", "t/12/model.pkl")
    assert deploy(run, tuned, "--from-job=t", "--trial=1").code == 0
    assert deployed(tuned) == "gs://mine/t/1"


def test_an_export_is_preferred_to_checkpoints(run: Run, tuned: FakeEngine) -> None:
    put(tuned, "t/2/export/1/saved_model.pb", "t/2/checkpoints/c.keras")
    done = deploy(run, tuned, "--from-job=t")
    assert deployed(tuned) == "gs://mine/t/2/export/1"
    assert "There are 2 models below [gs://mine/t/2/]" in done.err


def test_a_plain_job_is_deployed_too(run: Run, engine: FakeEngine) -> None:
    spec = TrainingInput(job_dir="gs://mine/plain/")
    engine.create_job("default", Job(job_id="p", training_input=spec))
    put(engine, "plain/model/saved_model.pb", "plain/model/variables/variables.index")
    done = deploy(run, engine, "--from-job=p")
    assert done.code == 1
    assert "Job [p] is QUEUED" in done.err
    engine.jobs["default", "p"].state = "SUCCEEDED"
    assert run("versions", "create", "v1", "--model=m", "--from-job=p").code == 0
    assert deployed(engine) == "gs://mine/plain/model"


@pytest.mark.parametrize("above", ["gs://mine/model/d1", "gs://mine/exports", "gs://mine"])
def test_only_folders_of_the_jobs_own_tell_an_export(
    run: Run, engine: FakeEngine, above: str
) -> None:
    engine.create_job("default", Job(job_id="p", training_input=TrainingInput(job_dir=above)))
    engine.jobs["default", "p"].state = "SUCCEEDED"
    inside = f"{above}/".removeprefix("gs://mine/")
    put(engine, f"{inside}model/model.pkl", f"{inside}zz/model.pkl", f"{inside}model.pkl")
    done = deploy(run, engine, "--from-job=p")
    assert done.code == 0, done.err
    assert deployed(engine) == f"{above}/model"
    assert f"3 models below [{above}/]; this one is deployed: [{above}/model]." in done.err


def test_a_model_right_in_a_bucket_is_deployed(run: Run, engine: FakeEngine) -> None:
    spec = TrainingInput(job_dir="gs://mine/")
    engine.create_job("default", Job(job_id="p", training_input=spec))
    engine.jobs["default", "p"].state = "SUCCEEDED"
    put(engine, "model.joblib", "data/train.csv")
    assert deploy(run, engine, "--from-job=p").code == 0
    assert deployed(engine) == "gs://mine"


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["--from-job=t", "--trial=9"], "has no trial [9]"),
        (["--from-job=t", "--trial=3"], "Trial 3 of job [t] is FAILED"),
        (["--from-job=t"], "There is no model below [gs://mine/t/2/]"),
        (["--from-job=t", "--origin=gs://mine/x"], "--origin"),
        (["--trial=3", "--origin=gs://mine/x"], "--from-job"),
        (["--from-job=none"], "none"),
    ],
)
def test_what_cannot_be_deployed_is_refused(
    run: Run, tuned: FakeEngine, flags: list[str], word: str
) -> None:
    put(tuned, "t/2/notes.txt")
    done = deploy(run, tuned, *flags)
    assert done.code != 0
    assert word in done.err
