"""The certificate under which replicas see our buckets as Google's, and whom they trust with it.

One self-signed certificate an engine, for the names of Google's storage service and no others. It
is no authority: there is no key that could sign for another host, so all it can ever do is serve
these names to who was told to trust it: the replicas, by variables that name a bundle of the
machine's own authorities and this certificate. It is installed nowhere.
"""

from __future__ import annotations

import os
import secrets
import ssl
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from mlengine.core.errors import FailedPrecondition
from mlengine.runtime.wholefile import write_whole
from mlengine.storage.sidecar.accounts import account_file

__all__ = ["INTERCEPTED", "Certificate", "ensure_certificate", "is_intercepted"]

INTERCEPTED = ("storage.googleapis.com", "www.googleapis.com")
"""Hosts that the sidecar answers for; also every name below the first."""

_DAYS = 3650
_RENEW_S = 365 * 24 * 3600
_LIMIT_S = 30.0
_BUNDLE_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
# Where systems keep their authorities, for an interpreter that was built to look elsewhere.
_SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem",
)  # fmt: skip


class Certificate(NamedTuple):
    """Files of a certificate: itself, its key (owner only), and the bundle that trusts it.

    Beside them lies `account`, the credentials for clients that want some (see `accounts`).
    """

    certificate: Path
    key: Path
    bundle: Path
    account: Path


def is_intercepted(host: str) -> bool:
    """Return whether the sidecar answers for a host itself.

    The certificate covers no bucket with dots in its name, as Google's own does not: who checks it
    is refused there, and who does not still asks us, not the far service.

    Example:
        >>> [is_intercepted(h) for h in ("www.googleapis.com", "census.storage.googleapis.com")]
        [True, True]
        >>> [is_intercepted(h) for h in ("a.b.storage.googleapis.com", "ml.googleapis.com")]
        [True, False]
    """
    host = host.lower().rstrip(".")
    return host in INTERCEPTED or host.endswith("." + INTERCEPTED[0])


def ensure_certificate(folder: Path, environ: Mapping[str, str]) -> Certificate:
    """Return the engine's certificate; make it, or anew when it is about to end.

    Args:
        folder: Where it lies; each is in a folder of its own, so that the attempts that began
            with an old one end with it.
        environ: May name the bundle of the machine's authorities.

    Raises:
        FailedPrecondition: It cannot be made here.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in sorted((p.name for p in folder.iterdir()), reverse=True):
        found = _files(folder / name)
        if found.key.exists() and _lasts(found.certificate):
            return _with_bundle(found, environ)
    made = Path(tempfile.mkdtemp(prefix=".new-", dir=folder))
    _make(_files(made))
    number = 1 + max((int(p.name) for p in folder.iterdir() if p.name.isdecimal()), default=0)
    home = folder / f"{number:04d}"
    made.rename(home)
    return _with_bundle(_files(home), environ)


def _files(folder: Path) -> Certificate:
    names = ("cert.pem", "key.pem", "bundle.pem", "account.json")
    return Certificate(*(folder / name for name in names))


def _make(files: Certificate) -> None:
    # The subject is new each time: of two with one subject in a bundle, the first alone is tried.
    names = ",".join([*(f"DNS:{h}" for h in INTERCEPTED), f"DNS:*.{INTERCEPTED[0]}"])
    _openssl(
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
        "-sha256", "-days", str(_DAYS), "-config", os.devnull,
        "-subj", f"/O=mlengine/CN=buckets of mlengine {secrets.token_hex(8)}",
        "-addext", f"subjectAltName=critical,{names}",
        "-addext", "basicConstraints=critical,CA:FALSE",
        "-addext", "extendedKeyUsage=serverAuth",
        "-keyout", str(files.key), "-out", str(files.certificate),
    )  # fmt: skip
    files.key.chmod(0o600)
    # Short, for it is quick to make and protects nothing.
    key = _openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024")
    files.account.touch(mode=0o600)
    files.account.write_bytes(account_file(key.decode("ascii")))


def _lasts(certificate: Path) -> bool:
    try:
        _openssl("x509", "-in", str(certificate), "-noout", "-checkend", str(_RENEW_S))
    except FailedPrecondition:
        return False
    return True


def _openssl(*words: str) -> bytes:
    remedy = (
        "Install OpenSSL's 'openssl'; without it TensorFlow's own gs:// file system "
        "cannot reach buckets of this engine."
    )
    try:
        return subprocess.run(
            ["openssl", *words], check=True, capture_output=True, timeout=_LIMIT_S, umask=0o077,
            stdin=subprocess.DEVNULL,
        ).stdout  # fmt: skip
    except FileNotFoundError:
        raise FailedPrecondition("There is no program 'openssl'.", remedy) from None
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip()[-500:]
        raise FailedPrecondition(f"'openssl {words[0]}' failed: {said}", remedy) from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FailedPrecondition(f"'openssl' could not be run: {error}", remedy) from None


def _with_bundle(files: Certificate, environ: Mapping[str, str]) -> Certificate:
    """Write the bundle again if it is not what the machine's authorities make of it now."""
    text = "".join(_texts([*_authorities(environ), files.certificate])).encode()
    if not files.bundle.exists() or files.bundle.read_bytes() != text:
        write_whole(files.bundle, text)
    return files


def _authorities(environ: Mapping[str, str]) -> list[Path]:
    """Return the bundles that programs of this machine would use, each once."""
    named = [environ[name] for name in _BUNDLE_VARIABLES if environ.get(name)]
    if not named:
        default = ssl.get_default_verify_paths().cafile
        named = [p for p in (default, *_SYSTEM_BUNDLES) if p and Path(p).is_file()][:1]
    return [*dict.fromkeys(Path(name).resolve() for name in named if Path(name).is_file())]


def _texts(paths: Iterable[Path]) -> Iterable[str]:
    for path in paths:
        text = path.read_text("utf-8", errors="replace")
        yield text if text.endswith("\n") else text + "\n"
