"""How a replica's own programs reach the buckets: the variables, commands and helper they get.

    STORAGE_EMULATOR_HOST            google-cloud-storage, gcsfs, pandas
    https_proxy, CURL_CA_BUNDLE, …   TensorFlow's gs:// file system, https://storage.googleapis.com
    PATH                             gsutil, gcloud storage

All lead to the attempt's own files; the first two through one helper process of the attempt
(`mlengine.storage.sidecar`), which its first connection starts. The proxy's variables are set even
for who never asks for a bucket: other hosts pass through it, and their certificates are checked as
before, for the bundle that replicas get holds the machine's own authorities too.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from mlengine.core.access import new_secret
from mlengine.core.errors import EngineError
from mlengine.core.resources import Bucket
from mlengine.storage.backends.remote import REMOTE_SCHEMES
from mlengine.storage.paths import parse_backing
from mlengine.storage.shims import CONFIG_VARIABLE
from mlengine.storage.shims.programs import install_programs
from mlengine.storage.sidecar.certificates import INTERCEPTED, Certificate, ensure_certificate
from mlengine.storage.sidecar.config import SidecarConfig, write_config
from mlengine.storage.sidecar.connect import USER
from mlengine.storage.sidecar.keys import keys_in, pack_keys
from mlengine.training.launchers import SidecarSpec
from mlengine.training.tfconfig import base_environment

__all__ = ["Access", "BucketAccess", "BucketListing"]

_CONFIG = "buckets.json"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_PROXY_VARIABLES = ("https_proxy", "HTTPS_PROXY")
_NO_PROXY_VARIABLES = ("no_proxy", "NO_PROXY")
_BUNDLE_VARIABLES = ("CURL_CA_BUNDLE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "HTTPLIB2_CA_CERTS")


class Access(NamedTuple):
    """What the specification of an attempt gets.

    Attributes:
        sidecars: For `AttemptSpec.sidecars`; variables that name the port come from there.
        env: The other variables.
        programs: The folder that has to lead ``PATH``.
        problem: Why TensorFlow's ``gs://`` does not reach our buckets; empty when it does.
    """

    sidecars: list[SidecarSpec]
    env: dict[str, str]
    programs: Path
    problem: str

    def apply(self, env: Mapping[str, str]) -> dict[str, str]:
        """Return a replica's environment with the access in it."""
        given = {name for sidecar in self.sidecars for name in sidecar.variables}
        path = os.pathsep.join(filter(None, (str(self.programs), env.get("PATH", ""))))
        merged = {**env, **self.env, "PATH": path}
        if given.isdisjoint(_PROXY_VARIABLES):
            return {name: value for name, value in merged.items() if name not in given}
        exceptions = _exceptions(env)
        if "*" in exceptions:  # no proxy for anybody: then the ones that were named go
            given |= {name for name in merged if name.lower().endswith("_proxy")}
        kept = ",".join(dict.fromkeys((*_LOOPBACK, *(e for e in exceptions if _spares_us(e)))))
        merged = {name: value for name, value in merged.items() if name not in given}
        return {**merged, **dict.fromkeys(_NO_PROXY_VARIABLES, kept)}


class BucketListing(Protocol):
    """Who knows the buckets, such as `mlengine.storage.Buckets`."""

    def list(self) -> Sequence[Bucket]: ...


class BucketAccess:
    """Prepares the access of one attempt after another; starts nothing.

    Args:
        buckets: Tells all buckets of the engine, or those at least that are backed elsewhere.
        root: Folder of those that are folders.
        run: The engine's folder for what it runs with; certificate and commands lie there.
        environ: The engine's environment: authorities, and the proxies to go on through.
    """

    def __init__(
        self, buckets: BucketListing, root: Path, run: Path, environ: Mapping[str, str]
    ) -> None:
        self._buckets, self._root, self._run, self._environ = buckets, root, run, environ
        self._guard = threading.Lock()
        self._certificate: Certificate | None = None
        self._problem = ""

    def prepare(self, attempt_dir: Path, *, project: str) -> Access:
        """Write down what the helper and the commands of one attempt need to know.

        Args:
            project: What programs are told when they ask in which project they run.
        """
        secret, config = new_secret(), attempt_dir / _CONFIG
        certificate, problem, programs = self._shared()
        backed = [b for b in self._buckets.list() if b.backing]
        remote = any(parse_backing(b.backing).scheme in REMOTE_SCHEMES for b in backed)
        write_config(config, SidecarConfig(
            secret=secret, root=str(self._root), buckets=backed,
            certificate=str(certificate.certificate) if certificate else "",
            key=str(certificate.key) if certificate else "",
        ))  # fmt: skip
        variables = {"STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{{port}}/{secret}"}
        env = {
            CONFIG_VARIABLE: str(config),
            "GOOGLE_CLOUD_PROJECT": project,
            "NO_GCE_CHECK": "true",  # there is no metadata server to wait for
            # Else gcsfs asks by gRPC what kind of bucket it is, for a minute.
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        }
        if certificate:
            proxy = f"http://{USER}:{secret}@127.0.0.1:{{port}}"
            variables |= dict.fromkeys(_PROXY_VARIABLES, proxy)
            env |= dict.fromkeys(_BUNDLE_VARIABLES, str(certificate.bundle))
            if not _has_credentials(self._environ):
                env["GOOGLE_APPLICATION_CREDENTIALS"] = str(certificate.account)
        takes_keys = remote and bool(keys_in(self._environ))
        if takes_keys:
            pack_keys(self._environ)  # refuses now what the launcher could not hand over
        return Access([self._helper(config, variables, takes_keys)], env, programs, problem)

    def _shared(self) -> tuple[Certificate | None, str, Path]:
        """Return what all attempts share: looked after once while the engine lives."""
        with self._guard:
            if self._certificate is None or not self._certificate.bundle.exists():
                try:
                    folder = self._run / "certificates"
                    self._certificate = ensure_certificate(folder, self._environ)
                    self._problem = ""
                except EngineError as error:
                    self._certificate, self._problem = None, error.description
            return self._certificate, self._problem, install_programs(self._run / "bin")

    def _helper(self, config: Path, variables: dict[str, str], takes_keys: bool) -> SidecarSpec:
        env = base_environment(self._environ)
        if "PYTHONPATH" in self._environ:  # an engine that runs from a checkout
            env["PYTHONPATH"] = self._environ["PYTHONPATH"]
        argv = [sys.executable, "-P", "-m", "mlengine.storage.sidecar", "{fd}", str(config)]
        argv += ["{keys}"] if takes_keys else []
        return SidecarSpec(argv=argv, env=env, variables=variables)


def _has_credentials(environ: Mapping[str, str]) -> bool:
    """Return whether programs of this user find credentials for Google that are real."""
    home = Path(environ.get("HOME") or "/")
    folder = Path(environ.get("CLOUDSDK_CONFIG") or home / ".config" / "gcloud")
    return (folder / "application_default_credentials.json").exists()


def _exceptions(env: Mapping[str, str]) -> list[str]:
    """Return the hosts that are to be reached without a proxy."""
    found = (env[name].split(",") for name in _NO_PROXY_VARIABLES if env.get(name))
    return [entry.strip() for entries in found for entry in entries if entry.strip()]


def _spares_us(entry: str) -> bool:
    """Return whether an exception leaves the hosts to us that we answer for."""
    domain = entry.lstrip("*.").lower()
    return bool(domain) and not any(f".{host}".endswith(f".{domain}") for host in INTERCEPTED)
