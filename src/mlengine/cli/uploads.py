"""Files of this machine → a bucket, under a name that says what they hold."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from mlengine.cli.errors import CommandError
from mlengine.cli.session import Session
from mlengine.core.errors import AlreadyExists, NotFound
from mlengine.core.resources import Bucket
from mlengine.storage.paths import check_name

__all__ = ["DEFAULT_BUCKET", "bucket_of", "staging_bucket", "tree_digest", "upload", "upload_tree"]

DEFAULT_BUCKET = "mlengine-staging"
_CHUNK_BYTES = 1 << 20


def staging_bucket(session: Session, flag: str | None) -> str:
    """Return the bucket to upload to: the flag, the setting, or one made for this.

    Raises:
        CommandError: The flag does not name a bucket.
    """
    if flag:
        return bucket_of(flag, "--staging-bucket")
    if session.settings.staging_bucket:
        return bucket_of(session.settings.staging_bucket, "the setting staging_bucket")
    try:
        session.engine.create_bucket(Bucket(name=DEFAULT_BUCKET))
        session.say(f"Created the bucket gs://{DEFAULT_BUCKET}/ to upload to.")
    except AlreadyExists:
        session.say(f"Uploading to gs://{DEFAULT_BUCKET}/.")
    return DEFAULT_BUCKET


def bucket_of(text: str, where: str) -> str:
    """Return the name in ``gs://NAME`` or ``NAME``.

    Raises:
        CommandError: There is more, or less, than a bucket's name.
    """
    name = text.removeprefix("gs://").rstrip("/")
    if not name or "/" in name or ":" in name:
        raise CommandError(f"{where} is {text!r}: write it as gs://BUCKET.")
    return name


def upload(session: Session, files: Sequence[Path], bucket: str, folder: str) -> list[str]:
    """Put files beneath a folder of a bucket; return their URIs, in order."""
    uris = []
    for path in files:
        name = f"{folder}/{path.name}"
        _put(session, path, bucket, name)
        uris.append(f"gs://{bucket}/{name}")
    return uris


def upload_tree(session: Session, root: Path, bucket: str) -> str:
    """Put a folder into a bucket under its digest; return its URI, which ends in a slash.

    Raises:
        CommandError: There is no such folder, it is empty, or it holds a link.
        InvalidArgument: A file's name may name no object, as one that is not UTF-8.
    """
    files = [*_files(root)]
    folder = tree_digest(root, files)
    for path in files:
        _put(session, path, bucket, f"{folder}/{path.relative_to(root).as_posix()}")
    return f"gs://{bucket}/{folder}/"


def tree_digest(root: Path, files: Sequence[Path]) -> str:
    """Return the sha256, in hexadecimal, of the names and contents of files beneath `root`."""
    total = hashlib.sha256()
    for path in files:
        name = path.relative_to(root).as_posix().encode("utf-8", "surrogateescape")
        total.update(len(name).to_bytes(8, "little") + name)
        total.update(path.stat().st_size.to_bytes(8, "little"))
        for chunk in _chunks(path):
            total.update(chunk)
    return total.hexdigest()


def _files(root: Path) -> Iterator[Path]:
    """Yield the regular files beneath a folder, by name; a link in it could point anywhere."""
    if not root.is_dir():
        raise CommandError(f"The folder [{root}] does not exist.")
    found = False
    for path in sorted(root.rglob("*")):
        if path.is_symlink():
            raise CommandError(f"[{path}] is a link. Copy what it points to into its place.")
        if path.is_file():
            check_name(path.relative_to(root).as_posix())
            found = True
            yield path
    if not found:
        raise CommandError(f"The folder [{root}] is empty.")


def _put(session: Session, path: Path, bucket: str, name: str) -> None:
    """Upload a file, unless one of that name and size is there: the name holds its digest."""
    if _is_there(session, bucket, name, path.stat().st_size):
        return
    meter = _meter(path)
    session.engine.write_object(bucket, name, meter(_chunks(path)))


def _is_there(session: Session, bucket: str, name: str, size: int) -> bool:
    try:
        return session.engine.stat_object(bucket, name).size == size
    except NotFound:
        return False


def _chunks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk
    except OSError as error:
        raise CommandError(f"Unable to read file [{path}]: {error.strerror}") from None


def _meter(path: Path) -> Callable[[Iterator[bytes]], Iterator[bytes]]:
    from mlengine.cli.progress import meter

    return lambda chunks: meter(chunks, label=path.name, total_bytes=path.stat().st_size)
