"""Settings of an engine and of its clients: flag > ``MLENGINE_*`` variable > file > default.

The variables of gcloud's properties are read below our own: ``CLOUDSDK_CORE_PROJECT``.

The file is ``mlengine.toml`` in the home folder; `mlengine config set` writes it. Every setting has
a default that works on a laptop without a network.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlengine.core.databaseurl import is_sqlite, readable_name, sqlite_url
from mlengine.core.errors import FailedPrecondition, InvalidArgument, did_you_mean
from mlengine.core.limits import DEFAULT_PREDICT_BYTES, MAX_LOG_WAIT_S
from mlengine.engine.places import expanded
from mlengine.engine.ranges import out_of_range, possible
from mlengine.runtime.wholefile import write_whole

__all__ = [
    "PROPERTIES",
    "SETTINGS_FILE",
    "SHARED_FOLDERS",
    "Settings",
    "describe",
    "home_folder",
    "load",
    "shown",
    "variables",
    "write",
]

SETTINGS_FILE = "mlengine.toml"
# What scripts written for gcloud call our settings; of two for one setting the first goes before.
PROPERTIES: Mapping[str, str] = {
    "core/project": "project",
    "compute/region": "region",
    "ai_platform/region": "region",
    "api_endpoint_overrides/ml": "endpoint",
    "ml_engine/local_python": "local_python",
    "ml_engine/polling_interval": "polling_interval_s",
}
# What is left of work with Google in a shell would be sent the engine's token.
_NO_VARIABLE = "api_endpoint_overrides/ml"
_log = logging.getLogger(__name__)
_PREFIX = "MLENGINE_"
_BOOLS = {"true": True, "false": False}
# Up to the last @ of all: a password may hold an @ or / that its owner forgot to escape.
_USER_SECRET = re.compile(r"(\w://[^/\s:@]*:).*@", re.DOTALL)
_QUERY_SECRET = re.compile(r"([?&][^=&]*(?:pass|secret|token|key)[^=&]*=)[^&]*", re.IGNORECASE)

SHARED_FOLDERS = ("buckets", "jobs", "models", "tables")
"""Those that lie in the folder of the setting `shared`, if there is one."""


def _setting(default: Any, what: str) -> Any:
    return dataclasses.field(default=default, metadata={"what": what})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Every setting, with what it means; `docs/settings.md` is written from it.

    Example:
        >>> Settings().port
        8470
    """

    home: Path = _setting(Path("~/.mlengine"), "Folder that holds everything of an engine.")
    host: str = _setting("127.0.0.1", "Address to listen on.")
    port: int = _setting(8470, "Port to listen on; 0 takes any free one.")
    allowed_hosts: str = _setting(
        "", "Further host names that requests may be addressed to, separated by commas."
    )
    tls_cert: str = _setting(
        "", "PEM file of the certificate to answer with, for TLS; empty: plain HTTP."
    )
    tls_key: str = _setting("", "PEM file of that certificate's private key.")
    grpc_port: int = _setting(
        0, "Port for the Open Inference Protocol over gRPC; 0: none. Needs the extra 'grpc'."
    )
    endpoint: str = _setting("", "URL of the engine that commands talk to; empty: the local one.")
    ca: str = _setting(
        "",
        "PEM file of who vouches for the certificate of an https endpoint; empty: those whom this "
        "machine trusts.",
    )
    token: str = _setting("", "Access token that commands send; empty: the local engine's own.")
    project: str = _setting("default", "Project of commands that name none.")
    region: str = _setting("local", "Region of jobs that name none.")
    staging_bucket: str = _setting("", "Bucket that packages are uploaded to if none is named.")
    local_python: str = _setting(
        "", "Interpreter that `local train` runs; empty: the `python` on the PATH."
    )
    polling_interval_s: float = _setting(
        MAX_LOG_WAIT_S,
        "Longest wait of one look at a job's log, in seconds, 30 at most; 0: 30. Lines are shown "
        "at once.",
    )
    database: str = _setting(
        "",
        "SQLAlchemy URL of the store, in whose path %25 stands for % and %3F for ?; empty: "
        "engine.db in the home folder.",
    )
    shared: str = _setting(
        "",
        "Folder that the engines of one PostgreSQL database share: jobs, buckets, models, request "
        "logs, token; empty: the home folder, for an engine alone.",
    )
    backend: str = _setting(
        "",
        "Where replicas run: empty or `process` on this machine, `ray://HOST:PORT` on a Ray "
        "cluster, `ray` on the one that this machine is a node of.",
    )
    max_running_jobs: int = _setting(
        0,
        "Shares that the machine is divided into: jobs of one replica that may run at one time; "
        "0: one a CPU, at least two. On a cluster: the most jobs at one time.",
    )
    gpus: str = _setting(
        "", "Ids of the GPUs for jobs, separated by commas; empty: all others; `none`: none."
    )
    serving_gpus: str = _setting(
        "", "Ids of this machine's GPUs for versions, separated by commas; jobs get the others."
    )
    max_retries: int = _setting(
        0, "How often a job is started again after a failure that may pass, if it does not say."
    )
    retry_backoff_s: float = _setting(
        10.0, "Pause before the first retry, in seconds; it doubles, up to six minutes."
    )
    grace_s: float = _setting(
        10.0,
        "Seconds between SIGTERM and SIGKILL for a cancelled job, as set when its attempt began; "
        "a day at most.",
    )
    evaluator_grace_s: float = _setting(
        120.0, "Seconds that evaluators have to end by themselves after their job's chief."
    )
    install_timeout_s: float = _setting(
        600.0, "Longest installation of a job's packages, in seconds."
    )
    environments_max_bytes: int = _setting(
        20 << 30, "Most that runtimes and jobs' environments may hold, in bytes; 0: no limit."
    )
    allow_direct_requirements: bool = _setting(
        False, "Whether a package may require 'name @ URL', which is not on the index."
    )
    warm_interpreters: int = _setting(
        2, "Interpreters kept with a trainer's libraries imported; 0 starts every job anew."
    )
    warm_idle_s: float = _setting(
        900.0, "Seconds without a job after which a warm interpreter ends."
    )
    log_quota_bytes: int = _setting(
        256 << 20, "Most that an attempt's logs may hold, its replicas' together, in bytes."
    )
    max_model_bytes: int = _setting(10 << 30, "Largest model directory of a version, in bytes.")
    allow_model_code: bool = _setting(
        True, "Whether a new version may run code of its own: a pickle, a class, packages."
    )
    max_predict_bytes: int = _setting(
        DEFAULT_PREDICT_BYTES, "Largest body of a prediction request, in bytes; 1 GiB at most."
    )
    predict_timeout_s: float = _setting(60.0, "Longest that a prediction may take, in seconds.")
    load_timeout_s: float = _setting(300.0, "Longest that loading a version may take, in seconds.")
    idle_after_s: float = _setting(
        900.0, "Seconds without a prediction after which a version with minNodes 0 sleeps."
    )
    serving_memory_bytes: int = _setting(
        0, "Most that the workers of versions may hold, in bytes; 0: half of the machine's memory."
    )
    stay_awake: bool = _setting(
        True,
        "Whether gateway and workers may use CPU time to answer sooner: they then look for each "
        "other's next word without sleeping, while that brings a quarter more answers or better. "
        "Only on two CPUs or more whose time is not rationed.",
    )
    warm_workers: int = _setting(
        3, "Frameworks kept imported, so that versions wake at once; 0 starts every worker anew."
    )
    warm_workers_idle_s: float = _setting(
        14_400.0, "Seconds without a new worker after which a framework is kept imported no more."
    )

    def folder(self, name: str) -> Path:
        """Return a folder of the engine: in its home, or in what it shares with others."""
        return (self.shared_folder if name in SHARED_FOLDERS else self.home) / name

    @property
    def shared_folder(self) -> Path:
        """Where jobs, buckets, models and request logs lie."""
        if not self.shared:
            return self.home
        return expanded(self.shared, "The setting 'shared'").absolute()

    @property
    def run(self) -> Path:
        """The folder of sockets, locks and the token."""
        return self.home / "run"

    @property
    def allowed_host_names(self) -> list[str]:
        """The further host names, one by one, in lower case."""
        return [h.strip().lower() for h in self.allowed_hosts.split(",") if h.strip()]

    def job_slots(self, cpus: float) -> int:
        """Return into how many shares a machine of so many CPUs is divided among jobs."""
        return self.max_running_jobs or max(int(cpus), 2)

    @property
    def database_url(self) -> str:
        """The SQLAlchemy URL of the store."""
        return self.database or sqlite_url(self.home / "engine.db")

    @property
    def is_sqlite(self) -> bool:
        """Whether the store is a file, which is one engine's alone."""
        return is_sqlite(self.database_url)

    @property
    def store_name(self) -> str:
        """What people may read of the store: its host and name, and no password."""
        return readable_name(self.database_url)


_FIELDS = {f.name: f for f in dataclasses.fields(Settings)}


def home_folder(environ: Mapping[str, str], home: str = "") -> Path:
    """Return the home folder that a flag, the environment or the default names.

    Raises:
        InvalidArgument: It lies in the home of somebody whom this machine does not know.
    """
    text = home or environ.get(_PREFIX + "HOME") or "~/.mlengine"
    remedy = "Write the whole path into MLENGINE_HOME or --home."
    return expanded(text, "The home folder", remedy).absolute()


def variables(name: str) -> list[str]:
    """Return the variables that a setting is read from, the one that goes before the others first.

    Example:
        >>> variables("project")
        ['MLENGINE_PROJECT', 'CLOUDSDK_CORE_PROJECT']
    """
    properties = [k for k, setting in PROPERTIES.items() if setting == name and k != _NO_VARIABLE]
    return [
        _PREFIX + name.upper(),
        *("CLOUDSDK_" + key.replace("/", "_").upper() for key in properties),
    ]


def load(environ: Mapping[str, str] = os.environ, **flags: Any) -> Settings:
    """Read the settings; a flag that is None was not given.

    Raises:
        InvalidArgument: A setting that does not exist, or a value of the wrong type.
    """
    home = home_folder(environ, str(flags.get("home") or ""))
    found: dict[str, Any] = {}
    where = str(home / SETTINGS_FILE)
    for name, value in read_file(home).items():
        if name == "home":
            raise InvalidArgument(
                f"The setting 'home' cannot lie in the home itself ({where}).",
                "Remove it with 'mlengine config unset home', and set MLENGINE_HOME.",
            )
        found[name] = parse(name, _possible(name, value, where), where=where)
    for name in _FIELDS:
        variable = next((v for v in variables(name) if environ.get(v)), "")
        if variable:
            found[name] = parse(name, environ[variable], where=f"the variable {variable}")
    for name, value in flags.items():
        if value is not None:
            found[name] = parse(name, value, where=f"--{name.replace('_', '-')}")
    found["home"] = home
    return Settings(**found)


def read_file(home: Path) -> dict[str, Any]:
    """Return what the settings file says; nothing if there is none."""
    path = home / SETTINGS_FILE
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise FailedPrecondition(
            f"{path} cannot be read: {error.strerror}.",
            "Choose another home with MLENGINE_HOME or --home.",
        ) from None
    except (ValueError, RecursionError) as error:  # too many digits are no TOMLDecodeError
        raise FailedPrecondition(
            f"{path} is not TOML: {error}.", "Mend it, or remove it to start from the defaults."
        ) from None


def parse(name: str, value: Any, *, where: str) -> Any:
    """Read one setting's value from a string, or from TOML."""
    read = _typed(name, value, where)
    if isinstance(read, int | float) and (wrong := out_of_range(name, read)):
        raise InvalidArgument(f"The setting '{name}' is {value} ({where}).", wrong)
    return read


def _typed(name: str, value: Any, where: str) -> Any:
    if name not in _FIELDS:
        raise InvalidArgument(
            f"There is no setting '{name}' ({where}).",
            f"{did_you_mean(name, list(_FIELDS))}See 'mlengine config list'.",
        )
    kind: type = type(_FIELDS[name].default)
    try:
        if kind is str and not isinstance(value, str):
            raise ValueError
        if kind is bool:
            return _BOOLS[str(value).lower()]
        if isinstance(value, bool) or (kind is int and isinstance(value, float)):
            raise TypeError  # Python would make another number of it, and say nothing
        return kind(value)
    except (TypeError, ValueError, KeyError, OverflowError):
        nouns = {int: "a whole number", float: "a number", str: "a string", bool: "true or false"}
        noun = nouns[kind]
        raise InvalidArgument(
            f"The setting '{name}' is {shown(name, value)!r} ({where}).", f"It must be {noun}."
        ) from None


def _possible(name: str, value: Any, where: str) -> Any:
    """Return what a file means today: an earlier mlengine set fewer limits to what it took."""
    read = _typed(name, value, where)
    if isinstance(read, bool) or not isinstance(read, int | float):
        return read
    default: Any = _FIELDS[name].default
    taken = possible(name, read, default)
    if taken is not read:
        _log.warning("The setting '%s' is %s in %s; it is taken for %s. Set another with "
                     "'mlengine config set'.", name, value, SETTINGS_FILE, taken)  # fmt: skip
    return taken


def write(home: Path, name: str, value: str | None) -> None:
    """Set one setting in the file, or remove it (None); whole or not at all, one after another."""
    from mlengine.engine.home import alone, run_folder

    parsed = None if value is None else parse(name, value, where="mlengine config set")
    with alone(run_folder(home) / "settings.lock"):
        kept = read_file(home)
        if parsed is None:
            kept.pop(name, None)
        else:
            kept[name] = parsed
        text = "".join(f"{k} = {_toml(v)}\n" for k, v in sorted(kept.items()))
        write_whole(home / SETTINGS_FILE, text.encode(), durable=True)  # the token may be in it


def describe() -> list[tuple[str, Any, str]]:
    """Return name, default and meaning of every setting, in order."""
    return [(f.name, f.default, str(f.metadata["what"])) for f in _FIELDS.values()]


def shown(name: str, value: Any) -> Any:
    """Return a setting's value as people may read it over each other's shoulders.

    Example:
        >>> shown("database", "postgresql://me:secret@db/ml")
        'postgresql://me:***@db/ml'
    """
    if name == "token":
        return "(set)" if value else ""
    if not isinstance(value, str):
        return value
    hidden = _USER_SECRET.sub(r"\1***@", value)
    return _QUERY_SECRET.sub(r"\1***", hidden)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    escaped = "".join(
        c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08X}" for c in str(value)
    )
    return f'"{escaped}"'
