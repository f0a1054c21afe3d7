"""From a patch of Google's client to a labelled row: keys, quotas and request logs of an engine."""

from __future__ import annotations

import itertools
import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from mlengine.core.errors import InvalidArgument, NotFound
from mlengine.core.keys import Key
from mlengine.core.predictions import LoggedPrediction, PredictionLabel
from mlengine.core.resources import Model, RequestLoggingConfig, Version
from tests.live.engines import LiveEngine
from tests.live.terminal import mlengine
from tests.waiting import wait_until, within_a_day

P = "default"
_keys = itertools.count()
ROWS = [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]


@pytest.fixture(scope="module")
def served(engine: LiveEngine, iris_model: bytes) -> LiveEngine:
    engine.client.create_model(P, Model(name="logged", online_prediction_logging=True))
    engine.deploy(engine.upload_model("iris", model__pkl=iris_model), model_id="logged")
    return engine


def ask(engine: LiveEngine, model_id: str, key: str, row: list[float]) -> Any:
    request = urllib.request.Request(
        f"{engine.url}/v1/projects/{P}/models/{model_id}:predict",
        json.dumps({"instances": [row]}).encode(), {"Authorization": f"Bearer {key}"},
    )  # fmt: skip
    return urllib.request.urlopen(request, timeout=60)


def refused(engine: LiveEngine, model_id: str, key: str) -> urllib.error.HTTPError:
    with pytest.raises(urllib.error.HTTPError) as error:
        ask(engine, model_id, key, ROWS[0])
    return error.value


def rows(engine: LiveEngine, **wanted: str) -> list[LoggedPrediction]:
    found, token = [], ""
    while True:
        page = engine.client.list_predictions(P, "logged", page_token=token, **wanted)
        found, token = found + page.items, page.next_page_token
        if not token:
            return found


def test_what_a_key_asked_is_a_row_that_a_label_joins(served: LiveEngine, tmp_path: Path) -> None:
    client = served.client
    config = RequestLoggingConfig(bigquery_table_name=f"{P}.logs.iris", sampling_percentage=1.0)
    served.done(client.update_version(
        P, "logged", "v1", Version(request_logging_config=config),
        update_mask="requestLoggingConfig.bigqueryTableName,requestLoggingConfig.samplingPercentage",
    ))  # fmt: skip
    assert client.get_version(P, "logged", "v1").request_logging_config == config
    key = client.create_key(P, Key(name="app", models=["logged"])).key_string
    ids = []
    for row in ROWS:
        with ask(served, "logged", key, row) as answer:
            ids.append(answer.headers["x-mlengine-prediction-id"])
    # At once: the engine waits for a row that is on its way.
    labels = [PredictionLabel(prediction_id=ids[0], value="setosa")]
    assert client.label_predictions(P, labels).labelled == 1
    wait_until(lambda: len(rows(served)) == 2)
    first, second = rows(served)
    assert [first.prediction_id, second.prediction_id] == ids
    assert json.loads(first.raw_data) == {"instances": [ROWS[0]]}
    assert json.loads(first.raw_prediction or "") == {"predictions": [0]}
    assert (first.groundtruth, second.groundtruth) == ("setosa", None)
    assert (first.model, first.model_version) == ("logged", "v1")
    assert rows(served, version="v1", since=second.time)[-1:] == [second]
    assert rows(served, since="2100-01-01") == []
    mlengine(served, "predictions", "export", "logged", "--out", "gs://mine/learn.parquet",
             cwd=tmp_path)  # fmt: skip
    parquet = b"".join(client.read_object("mine", "learn.parquet"))
    assert parquet[:4] == parquet[-4:] == b"PAR1" and ids[0].encode() in parquet
    nobodys = f"{ids[0][:-3]}fff00"  # an id as gateways give them
    with pytest.raises(NotFound, match=nobodys):
        client.label_predictions(P, [PredictionLabel(prediction_id=nobodys, value="setosa")])
    with pytest.raises(InvalidArgument, match=f"'{ids[0]}f' is no id"):
        client.label_predictions(P, [PredictionLabel(prediction_id=ids[0] + "f", value="setosa")])
    with pytest.raises(InvalidArgument, match="is no time"):
        client.list_predictions(P, "logged", since="yesterday")
    assert refused(served, "silent", key).code == 403
    with ask(served, "logged", key, ROWS[0]):
        pass
    client.revoke_key(P, "app")
    assert refused(served, "logged", key).code == 401
    (stats,) = client.model_stats(P, "logged").versions
    wait_until(lambda: client.model_stats(P, "logged").versions[0].logged == 3)
    assert stats.log_dropped == 0


def test_an_access_log_is_ended_and_begun_by_a_patch(served: LiveEngine) -> None:
    folder = served.home / "logs" / "predictions" / P / "logged"

    def sizes() -> list[int]:
        parts = sorted(folder.glob("*"))
        found = [json.loads(line) for part in parts for line in part.read_text().splitlines()]
        assert {line["status"] for line in found} <= {200}
        return [line["request_bytes"] for line in found]

    def predict(number: str, *, on: bool) -> int:
        change = Model(online_prediction_logging=on)
        served.client.update_model(P, "logged", change, update_mask="onlinePredictionLogging")
        row = [float(number)] * 4
        with ask(served, "logged", served.token, row):
            return len(json.dumps({"instances": [row]}))

    first, second = predict("0.12", on=True), predict("0.123", on=False)
    third = predict("0.1234", on=True)
    wait_until(lambda: third in sizes())
    assert first in sizes()
    assert second not in sizes()


@within_a_day
def test_a_key_with_a_days_quota_asks_so_often_and_no_more(served: LiveEngine) -> None:
    made = Key(name=f"daily{next(_keys)}", models=["logged"], daily_quota=2)
    key = served.client.create_key(P, made).key_string
    for left in ("1", "0"):
        with ask(served, "logged", key, ROWS[0]) as answer:
            assert answer.headers["x-ratelimit-remaining"] == left
    over = refused(served, "logged", key)
    assert (over.code, over.headers["x-ratelimit-limit"]) == (429, "2")
    assert int(over.headers["retry-after"]) >= 1
