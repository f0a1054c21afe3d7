from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from mlengine.core.errors import FailedPrecondition
from mlengine.storage.sidecar import certificates
from mlengine.storage.sidecar.certificates import ensure_certificate

ENVIRON = {"PATH": os.environ["PATH"]}


def described(path: Path) -> str:
    words = ["openssl", "x509", "-in", str(path), "-noout", "-text"]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def test_it_is_for_googles_names_alone_and_can_sign_nothing(tmp_path: Path) -> None:
    found = ensure_certificate(tmp_path, ENVIRON)
    text = described(found.certificate)
    names = "DNS:storage.googleapis.com, DNS:www.googleapis.com, DNS:*.storage.googleapis.com"
    assert names in text
    assert text.count("DNS:") == 3
    assert "CA:FALSE" in text
    for path in (found.key, found.account):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_it_signed_nobody_accepts(tmp_path: Path) -> None:
    found = ensure_certificate(tmp_path, ENVIRON)
    key, forged = tmp_path / "k.pem", tmp_path / "forged.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-subj", "/CN=bank.example", "-config", os.devnull, "-keyout", key,
         "-addext", "subjectAltName=DNS:bank.example", "-out", forged,
         "-CA", found.certificate, "-CAkey", found.key],
        check=True, capture_output=True,
    )  # fmt: skip
    checked = subprocess.run(
        ["openssl", "verify", "-CAfile", found.bundle, forged], capture_output=True, text=True
    )
    assert checked.returncode != 0
    assert "invalid CA certificate" in checked.stdout + checked.stderr


def test_it_is_made_once_and_again_before_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ensure_certificate(tmp_path, ENVIRON)
    assert ensure_certificate(tmp_path, ENVIRON) == first
    monkeypatch.setattr(certificates, "_RENEW_S", 3660 * 24 * 3600)
    second = ensure_certificate(tmp_path, ENVIRON)
    assert second != first
    assert first.key.exists()  # attempts that began with it end with it


def test_half_of_one_is_none(tmp_path: Path) -> None:
    first = ensure_certificate(tmp_path, ENVIRON)
    first.certificate.write_text("")
    (tmp_path / ".new-left").mkdir()
    second = ensure_certificate(tmp_path, ENVIRON)
    assert second != first
    assert second.certificate.read_text()


def test_the_bundle_follows_the_machines_authorities(tmp_path: Path) -> None:
    corp = tmp_path / "corp.pem"
    corp.write_text("corp\n")
    folder = tmp_path / "own"
    found = ensure_certificate(folder, {**ENVIRON, "CURL_CA_BUNDLE": str(corp)})
    own = found.certificate.read_text()
    assert found.bundle.read_text() == "corp\n" + own
    corp.write_text("corp, renewed\n")
    ensure_certificate(folder, {**ENVIRON, "CURL_CA_BUNDLE": str(corp)})
    assert found.bundle.read_text() == "corp, renewed\n" + own


@pytest.mark.parametrize(("script", "says"), [("", "no program"), ("exit 1", "'openssl req'")])
def test_what_is_missing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, says: str
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    if script:
        (tools / "openssl").write_text(f"#!{shutil.which('sh')}\n{script}\n")
        (tools / "openssl").chmod(0o700)
    monkeypatch.setenv("PATH", str(tools))
    with pytest.raises(FailedPrecondition, match=says):
        ensure_certificate(tmp_path / "own", ENVIRON)
    monkeypatch.undo()
    assert ensure_certificate(tmp_path / "own", ENVIRON).certificate.read_text()
