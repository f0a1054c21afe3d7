"""What a replica is given so that its programs reach the buckets, and nothing more."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from pathlib import Path

import pytest

from mlengine.core.resources import Bucket
from mlengine.storage import Buckets
from mlengine.training.access import Access, BucketAccess
from tests.fakes.bucket_table import BucketTableFake


def access(tmp_path: Path, **environ: str) -> BucketAccess:
    buckets = Buckets(BucketTableFake(), tmp_path / "buckets")
    buckets.create(Bucket(name="mine"))
    buckets.create(Bucket(name="far", backing="memory://far"))
    environ.setdefault("PATH", os.environ["PATH"])
    return BucketAccess(buckets, tmp_path / "buckets", tmp_path / "run", environ)


def prepared(tmp_path: Path, **environ: str) -> Access:
    return access(tmp_path, **environ).prepare(tmp_path, project="census")


def test_the_file_is_its_owners_and_tells_what_the_folder_cannot(tmp_path: Path) -> None:
    found = prepared(tmp_path)
    path = tmp_path / "buckets.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    told = json.loads(path.read_text())
    assert [bucket["name"] for bucket in told["buckets"]] == ["far"]
    assert stat.S_IMODE(Path(told["key"]).stat().st_mode) == 0o600
    (sidecar,) = found.sidecars
    assert told["secret"] not in json.dumps([sidecar.argv, sidecar.env])
    assert told["secret"] in sidecar.variables["https_proxy"]
    assert not {name for name in sidecar.env if "PROXY" in name.upper()}


def test_every_attempt_has_a_secret_of_its_own_and_all_share_a_certificate(tmp_path: Path) -> None:
    engine, told = access(tmp_path), []
    for number in ("1", "2"):
        (tmp_path / number).mkdir()
        engine.prepare(tmp_path / number, project="census")
        told.append(json.loads((tmp_path / number / "buckets.json").read_text()))
    assert told[0]["secret"] != told[1]["secret"]
    assert told[0]["certificate"] == told[1]["certificate"]


def test_the_engines_secrets_stay_with_the_engine(tmp_path: Path) -> None:
    found = prepared(tmp_path, MLENGINE_TOKEN="canary", DATABASE_URL="canary", AWS_X_KEY="canary")
    assert "canary" not in json.dumps([found.sidecars[0].env, found.env])


def test_the_engines_own_proxy_is_the_helpers_and_no_more_the_replicas(tmp_path: Path) -> None:
    outer = {"HTTPS_PROXY": "http://outer:3128", "http_proxy": "http://outer:3128"}
    found = prepared(tmp_path, **outer)
    assert found.sidecars[0].env["HTTPS_PROXY"] == "http://outer:3128"
    env = found.apply({**outer, "PATH": "/bin", "TZ": "UTC"})
    assert "HTTPS_PROXY" not in env  # the supervisor fills it in, for it knows the port
    assert env["http_proxy"] == "http://outer:3128"
    assert env["TZ"] == "UTC"
    assert env["PATH"] == f"{tmp_path / 'run' / 'bin'}:/bin"
    assert env["no_proxy"] == env["NO_PROXY"] == "localhost,127.0.0.1,::1"


@pytest.mark.parametrize(
    ("outer", "kept"),
    [
        ("corp.example,10.0.0.0/8", "corp.example,10.0.0.0/8"),
        ("googleapis.com,corp.example", "corp.example"),
        (".googleapis.com, *.com ,storage.googleapis.com,localhost", ""),
        ("notgoogleapis.com", "notgoogleapis.com"),
    ],
)
def test_exceptions_are_kept_unless_they_would_lead_past_us(
    tmp_path: Path, outer: str, kept: str
) -> None:
    env = prepared(tmp_path).apply({"PATH": "/bin", "no_proxy": outer})
    assert env["no_proxy"] == ",".join(filter(None, ("localhost,127.0.0.1,::1", kept)))


def test_where_no_proxy_was_to_be_used_none_is_but_ours(tmp_path: Path) -> None:
    env = prepared(tmp_path).apply({"PATH": "/bin", "no_proxy": "*", "http_proxy": "http://outer"})
    assert "http_proxy" not in env
    assert env["no_proxy"] == "localhost,127.0.0.1,::1"


def test_the_bundle_holds_the_machines_authorities_and_one_certificate_more(
    tmp_path: Path,
) -> None:
    authorities = tmp_path / "corp.pem"
    authorities.write_text("-----BEGIN CERTIFICATE-----\ncorp\n-----END CERTIFICATE-----")
    found = prepared(tmp_path, SSL_CERT_FILE=str(authorities))
    names = ("CURL_CA_BUNDLE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "HTTPLIB2_CA_CERTS")
    (bundle,) = {found.env[name] for name in names}
    own = json.loads((tmp_path / "buckets.json").read_text())["certificate"]
    assert Path(bundle).read_text() == authorities.read_text() + "\n" + Path(own).read_text()


def test_without_openssl_everything_else_still_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = prepared(tmp_path)
    assert "no program 'openssl'" in found.problem
    assert list(found.sidecars[0].variables) == ["STORAGE_EMULATOR_HOST"]
    assert json.loads((tmp_path / "buckets.json").read_text())["certificate"] == ""
    env = found.apply({"PATH": "/bin", "https_proxy": "http://outer", "SSL_CERT_FILE": "/corp"})
    assert (env["https_proxy"], env["SSL_CERT_FILE"]) == ("http://outer", "/corp")


def test_the_helper_starts_with_what_it_is_given(tmp_path: Path) -> None:
    (sidecar,) = prepared(tmp_path).sidecars
    argv = [word.replace("{fd}", "99") for word in sidecar.argv]
    done = subprocess.run(argv, env=sidecar.env, cwd=tmp_path, capture_output=True, text=True)
    assert "Bad file descriptor" in done.stderr  # all was imported and read: only the socket lacks
