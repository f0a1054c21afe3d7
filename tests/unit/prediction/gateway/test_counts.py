from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mlengine.prediction.gateway.counts import BOUNDS_S, AnswerCounts, quantile_s
from mlengine.prediction.gateway.hearsay import WorkerCounts
from mlengine.prediction.gateway.metrics import render

TIMES = st.lists(st.floats(0, 100), min_size=1)


@given(TIMES, st.floats(0, 1))
def test_a_quantile_lies_in_the_bucket_of_the_true_one(times: list[float], share: float) -> None:
    counts = AnswerCounts()
    for taken_s in times:
        counts.answered(200, taken_s)
    true = sorted(times)[max(int(-(-share * len(times) // 1)) - 1, 0)]
    found = quantile_s(counts.buckets, share)
    assert found is not None
    if true > BOUNDS_S[-1]:
        assert found == BOUNDS_S[-1]
    else:
        edges = (0.0, *BOUNDS_S)
        low = max(edge for edge in edges if edge < true or edge == 0.0)
        high = min(edge for edge in BOUNDS_S if edge >= true)
        assert low <= found <= high


def test_without_answers_there_is_no_quantile() -> None:
    assert quantile_s(AnswerCounts().buckets, 0.5) is None


def test_labels_are_escaped_and_buckets_add_up() -> None:
    counts = AnswerCounts()
    counts.answered(200, 0.0007)
    counts.answered(400, 70.0)
    counts.failed(503)
    stats = {"load": 2, "held": 1, "wakes": 2, "failed_wakes": 1, **counts.as_stats()}
    worker = WorkerCounts(requests=3, calls=[1, 1, 0], waiting=4)
    text = render(
        {"connections": 3}, {401: 2}, {'a"b\\c\n': stats}, {("v", "0"): worker}, quotas={"k": 2}
    )
    lines = text.splitlines()
    assert text.endswith("\n")
    version = 'version="a\\"b\\\\c\\n"'
    assert f'mlengine_predictions_total{{{version},code="503"}} 1' in lines
    assert f'mlengine_prediction_seconds_bucket{{{version},le="0.0005"}} 0' in lines
    assert f'mlengine_prediction_seconds_bucket{{{version},le="0.001"}} 1' in lines
    assert f'mlengine_prediction_seconds_bucket{{{version},le="60"}} 1' in lines
    assert f'mlengine_prediction_seconds_bucket{{{version},le="+Inf"}} 2' in lines
    assert 'mlengine_worker_batch_requests_bucket{version="v",worker="0",le="+Inf"} 2' in lines
    assert 'mlengine_worker_waiting{version="v",worker="0"} 4' in lines
    assert "# TYPE mlengine_gateway_connections gauge" in lines
