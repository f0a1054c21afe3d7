"""Fields beyond the public document are left out, and only where they belong."""

from __future__ import annotations

from mlengine.core.undocumented import without_undocumented


def test_they_are_left_out_in_both_spellings_and_nowhere_else() -> None:
    job = {
        "jobId": "j",
        "explanation_input": {},
        "nasJobSpec": {},
        "trainingInput": {"nas_job_spec": {}, "scheduling": {"strategy": 1, "priority": 2}},
        "training_output": {"nasJobOutput": {}},
        "predictionInput": {"framework": "x", "runtimeVersion": "2.1"},
    }
    assert without_undocumented(job, "job") == {
        "jobId": "j",
        "nasJobSpec": {},
        "trainingInput": {"scheduling": {"priority": 2}},
        "training_output": {},
        "predictionInput": {"runtimeVersion": "2.1"},
    }
    assert without_undocumented(["strategy"], "job") == ["strategy"]
