"""Buckets, objects, safe paths, archives, transfers: everything that touches a user's bytes.

`Buckets` resolves ``gs://NAME/…`` over the engine's bucket table. A bucket is a folder by default
or lies where a URL says, as in an object store; `Backend` is that seam, and
`tests/conformance/storage` holds every technology to it. `paths` is the only module that turns a
user's text into a file, `archives` the only one that unpacks what a user packed, `transfer` plans
``cp`` and ``mv``, `mirror` ``rsync``, `browse` ``rm``, ``ls``, ``stat`` and ``du``; `streams` does
``cat``.
"""

from __future__ import annotations

from mlengine.storage.backends import Backend, ObjectInfo
from mlengine.storage.objects import Buckets
from mlengine.storage.paths import BucketPath, parse_uri

__all__ = ["Backend", "BucketPath", "Buckets", "ObjectInfo", "parse_uri"]
