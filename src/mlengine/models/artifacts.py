"""A version's artefact: checked at its source, copied aside, hashed, committed by one rename.

    models/<uid>/artifact/          the model directory
                 packages/000/…     its packages, one in each folder
                 manifest.json      written last

Without its manifest nothing of it counts; whoever loads the model compares both, see
`runtime.manifest`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path

from mlengine.core.errors import FailedPrecondition, InvalidArgument, NotFound
from mlengine.environments import check_archive_name
from mlengine.runtime import artifact as formats
from mlengine.runtime import failpoints
from mlengine.runtime.compiled import FOLDER
from mlengine.runtime.manifest import manifest_of
from mlengine.runtime.prediction_error import PredictionError
from mlengine.runtime.wholefile import sync_folder, write_whole
from mlengine.storage import Buckets
from mlengine.storage.paths import parse_uri

__all__ = ["Artifacts"]

MAX_FILES = 1000
MAX_PACKAGES = 100
_PACKAGES = "packages"


class Artifacts:
    """The folder ``models/<uid>/artifact`` of every version.

    Args:
        buckets: Where deployment URIs point.
        root: The ``models`` folder of the engine's home.
        max_bytes: Largest model directory, in bytes.
        allow_code: Whether a model may run code of its own: a pickle, a routine, packages.
    """

    def __init__(
        self, buckets: Buckets, root: Path, *, max_bytes: int, allow_code: bool = True
    ) -> None:
        self._buckets = buckets
        self._root = root
        self._max_bytes = max_bytes
        self._allow_code = allow_code

    def path(self, uid: str) -> Path:
        """Return where the committed artefact of a version lies, whether it is there or not."""
        return self._root / uid / "artifact"

    def packages(self, uid: str) -> tuple[Path, ...]:
        """Return the committed packages of a version, in the order in which they are installed."""
        return tuple(sorted((self._root / uid / _PACKAGES).glob("*/*")))

    def check_source(
        self, uri: str, framework: str, *, routine: bool = False,
        field: str = "version.deployment_uri",
    ) -> None:  # fmt: skip
        """Raise before anything is created unless the directory can be a model.

        Args:
            routine: A class of the user's loads it, from whatever files it likes.

        Raises:
            FailedPrecondition: It is empty, has too many files or a link, holds no model or
                several, or one that needs code execution where that is not allowed.
            InvalidArgument: It is not a gs:// directory, or has too many bytes.
        """
        bucket, name = parse_uri(uri, field=field)
        prefix = name if not name or name.endswith("/") else name + "/"
        try:  # strictly, as it is copied: what is no object is named, not passed over
            found = [*self._buckets.backend(bucket).list(prefix, strict=True)]
        except FailedPrecondition as error:
            raise FailedPrecondition(error.problem, error.remedy, field=field) from None
        if not found:
            raise FailedPrecondition(
                f"The model directory {uri} is empty or does not exist.",
                f"List its parent: 'mlengine storage ls {uri.rsplit('/', 1)[0]}/'.",
                field=field,
            )
        names = [item.name.removeprefix(prefix) for item in found]
        _check_names(names, uri, field=field)
        if routine and not self._allow_code:
            raise _needs_code("A prediction class", field="version.prediction_class")
        self.check_code(names, uri, field=field)
        if len(found) > MAX_FILES:
            raise FailedPrecondition(
                f"The model directory {uri} has {len(found)} files or more.",
                f"Point at the exported model itself; at most {MAX_FILES} files are allowed.",
                field=field,
            )
        total = sum(item.size for item in found)
        if total > self._max_bytes:
            raise InvalidArgument(
                f"The total size of files in {uri} is {total} bytes, which exceeds the allowed "
                f"maximum of {self._max_bytes} bytes.",
                "Raise the setting max_model_bytes, or export a smaller model.",
                field=field,
            )
        if routine:
            return
        try:
            formats.detect(names, framework, where=uri)
        except PredictionError as error:
            raise FailedPrecondition(error.detail, field=field) from None

    def check_code(
        self, names: Iterable[str], uri: str, *, field: str = "version.deployment_uri"
    ) -> None:
        """Raise when a model directory holds a pickle, where models may run no code.

        Args:
            names: Its files.
            uri: How the user calls it.

        Raises:
            FailedPrecondition: It does.
        """
        pickles = [] if self._allow_code else sorted(formats.PICKLES.intersection(names))
        if pickles:
            raise _needs_code(f"The pickle {uri.rstrip('/')}/{pickles[0]}", field=field)

    def check_packages(self, uris: Sequence[str], *, field: str = "version.package_uris") -> None:
        """Raise before anything is created unless these packages are there to be installed.

        Raises:
            FailedPrecondition: No version may bring code.
            InvalidArgument: One is no archive, two have one name, or they are too large.
            NotFound: One is not there.
        """
        if uris and not self._allow_code:
            raise _needs_code(f"The package {uris[0]}", field=field)
        names = [parse_uri(uri, field=field).name.rpartition("/")[2] for uri in uris]
        for name in names:
            check_archive_name(name, field=field)
            if names.count(name) > 1:
                raise InvalidArgument(
                    f"There are several packages with the filename '{name}'.",
                    "Rename one of them.", field=field,
                )  # fmt: skip
        if len(names) > MAX_PACKAGES:
            raise InvalidArgument(
                f"{len(names)} packages are too many.", f"Use at most {MAX_PACKAGES}.", field=field
            )
        total = 0
        for uri in uris:
            found = self._buckets.glob(uri)
            if not found:
                raise NotFound(
                    f"There is no package {uri}.",
                    "Upload it, or give its local path to 'mlengine versions create'.",
                    field=field,
                )
            total += found[0].size
        if total > self._max_bytes:
            raise InvalidArgument(
                f"The total size of the packages is {total} bytes, which exceeds the allowed "
                f"maximum of {self._max_bytes} bytes.",
                "Raise the setting max_model_bytes, or put data into the model directory.",
                field=field,
            )

    def commit(self, uid: str, uri: str, *, packages: Sequence[str] = ()) -> str:
        """Copy a model directory and its packages; return their digest. Again changes nothing.

        Returns:
            ``sha256:`` and the hash over the sorted (name, size, sha256) of the files.
        """
        target = self.path(uid)
        manifest = manifest_of(target)
        if manifest.exists():
            digest: str = json.loads(manifest.read_text())["digest"]
            return digest
        # A name of its own: an engine that led before may yet be writing there.
        staging = target.parent / f"staging-{uuid.uuid4().hex}"
        shutil.rmtree(target.parent, ignore_errors=True)
        staging.mkdir(parents=True, mode=0o700)
        files = self._buckets.download(uri, staging, max_files=MAX_FILES, max_bytes=self._max_bytes)
        _check_names((f.name for f in files), uri, field="version.deployment_uri")
        self.check_code((f.name for f in files), uri)  # it may have changed since it was looked at
        rows = sorted((f.name, f.size, f.sha256) for f in files)
        brought = self._copy_packages(target.parent / _PACKAGES, packages)
        digest = "sha256:" + hashlib.sha256(json.dumps(rows + brought).encode()).hexdigest()
        failpoints.hit("artifact.copied")
        staging.rename(target)
        for folder in [path for path in target.parent.rglob("*") if path.is_dir()]:
            sync_folder(folder)  # else the manifest could reach the disk before what it names
        said = {"digest": digest, "source": uri, "files": rows, "packages": brought}
        write_whole(manifest, json.dumps(said).encode(), durable=True)
        sync_folder(self._root)
        failpoints.hit("artifact.renamed")
        return digest

    def _copy_packages(self, folder: Path, uris: Sequence[str]) -> list[tuple[str, int, str]]:
        rows = []
        for index, uri in enumerate(uris):
            source = parse_uri(uri, field="version.package_uris")
            # A folder for each: their order is kept, and their names, which installers read.
            path = folder / f"{index:03}" / source.name.rpartition("/")[2]
            path.parent.mkdir(parents=True, mode=0o700)
            digest, size = hashlib.sha256(), 0
            with self._buckets.open_read(source) as data, path.open("wb") as out:
                while chunk := data.read(1 << 20):
                    digest.update(chunk)
                    size += out.write(chunk)
                out.flush()
                os.fsync(out.fileno())
            rows.append((f"{_PACKAGES}/{path.name}", size, digest.hexdigest()))
        return rows

    def remove(self, uid: str) -> None:
        """Remove a version's artefact; no error when there is none."""
        shutil.rmtree(self._root / uid, ignore_errors=True)

    def sweep(self, dead: Iterable[str]) -> None:
        """Remove what is left of these versions, which nothing can serve any more.

        What no record names stays. The records at hand may be the older ones, of a backup perhaps,
        and a version's folder is gone before its record is.
        """
        for uid in dead:
            if (self._root / uid).exists():
                self.remove(uid)


def _check_names(names: Iterable[str], uri: str, *, field: str) -> None:
    """Raise when a model brings what only the compiler makes: workers would answer from it."""
    if any(name.partition("/")[0] == FOLDER for name in names):
        raise FailedPrecondition(
            f"The model directory {uri} holds '{FOLDER}', where the engine keeps compiled forms.",
            "Remove it there; 'mlengine versions create --compile' has the model compiled.",
            field=field,
        )


def _needs_code(what: str, *, field: str) -> FailedPrecondition:
    return FailedPrecondition(
        f"{what} needs code execution, which the setting allow_model_code forbids here.",
        "Deploy a model that is data: ONNX, XGBoost's own format, a SavedModel or model.keras.",
        field=field,
    )
