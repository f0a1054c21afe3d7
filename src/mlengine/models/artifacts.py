"""A version's artefact: checked at its source, copied aside, hashed, committed by one rename."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

from mlengine.core.errors import FailedPrecondition, InvalidArgument
from mlengine.runtime import artifact as formats
from mlengine.runtime import failpoints
from mlengine.runtime.prediction_error import PredictionError
from mlengine.storage import Buckets

__all__ = ["Artifacts"]

MAX_FILES = 1000
_MANIFEST = "manifest.json"


class Artifacts:
    """The folder ``models/<uid>/artifact`` of every version.

    Args:
        buckets: Where deployment URIs point.
        root: The ``models`` folder of the engine's home.
        max_bytes: Largest model directory, in bytes.
    """

    def __init__(self, buckets: Buckets, root: Path, *, max_bytes: int) -> None:
        self._buckets = buckets
        self._root = root
        self._max_bytes = max_bytes

    def path(self, uid: str) -> Path:
        """Return where the committed artefact of a version lies, whether it is there or not."""
        return self._root / uid / "artifact"

    def is_whole(self, uid: str) -> bool:
        """Return whether a version's artefact is there, all of it."""
        return (self._root / uid / _MANIFEST).exists()

    def check_source(
        self, uri: str, framework: str, *, field: str = "version.deployment_uri"
    ) -> None:
        """Raise before anything is created unless the directory can be a model.

        Raises:
            FailedPrecondition: It is empty, too large, or holds no model or several.
            InvalidArgument: It is not a gs:// directory.
        """
        prefix = uri if uri.endswith("/") else uri + "/"
        found = self._buckets.glob(prefix + "**")
        if not found:
            raise FailedPrecondition(
                f"The model directory {uri} is empty or does not exist.",
                f"List its parent: 'mlengine storage ls {uri.rsplit('/', 1)[0]}/'.",
                field=field,
            )
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
        start = len(prefix.removeprefix("gs://").partition("/")[2])
        try:
            formats.detect([item.name[start:] for item in found], framework, where=uri)
        except PredictionError as error:
            raise FailedPrecondition(error.detail, field=field) from None

    def commit(self, uid: str, uri: str) -> str:
        """Copy a model directory; return its digest. Done again, it changes nothing.

        Returns:
            ``sha256:`` and the hash over the sorted (name, size, sha256) of its files.
        """
        target = self.path(uid)
        manifest = target.parent / _MANIFEST
        if manifest.exists():
            digest: str = json.loads(manifest.read_text())["digest"]
            return digest
        # A name of its own: an engine that led before may yet be writing there.
        staging = target.parent / f"staging-{uuid.uuid4().hex}"
        shutil.rmtree(target.parent, ignore_errors=True)
        staging.mkdir(parents=True, mode=0o700)
        files = self._buckets.download(uri, staging, max_files=MAX_FILES, max_bytes=self._max_bytes)
        rows = sorted((f.name, f.size, f.sha256) for f in files)
        digest = "sha256:" + hashlib.sha256(json.dumps(rows).encode()).hexdigest()
        failpoints.hit("artifact.copied")
        staging.rename(target)
        aside = manifest.with_suffix(".new")
        with aside.open("w") as out:
            json.dump({"digest": digest, "source": uri, "files": rows}, out)
            out.flush()
            os.fsync(out.fileno())
        aside.rename(manifest)
        failpoints.hit("artifact.renamed")
        return digest

    def remove(self, uid: str) -> None:
        """Remove a version's artefact; no error when there is none."""
        shutil.rmtree(self._root / uid, ignore_errors=True)

    def sweep(self, kept: Callable[[], set[str]]) -> None:
        """Remove the artefacts of all versions but those that `kept` names.

        It is asked after the folders were listed: each lies there after its version was recorded.
        """
        if self._root.exists():
            found = list(self._root.iterdir())
            named = kept()
            for folder in found:
                if folder.name not in named:
                    shutil.rmtree(folder, ignore_errors=True)
