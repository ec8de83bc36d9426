"""Where things lie in a site's store: the one place that knows how keys are written.

    objects/<dataset uid>/<generation>/<object id>    a file's ciphertext
    manifests/<digest>                                a manifest, plain Arrow, named by its SHA-256

Both are written once and never changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from federation.core import errors

OBJECTS = "objects/"
MANIFESTS = "manifests/"
#: What a store is tried with, for a moment.
PROBES = "probe/"

_ID = re.compile(r"[a-z]-[0-9a-z]{26}")
_UID = re.compile(r"[0-9a-z][0-9a-z-]{0,62}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class ObjectKey(NamedTuple):
    """A file's ciphertext."""

    dataset_uid: str
    generation: str
    object_id: str


class ManifestKey(NamedTuple):
    """A manifest."""

    digest: str


def object_key(dataset_uid: str, generation: str, object_id: str) -> str:
    """The key of a file's ciphertext."""
    return f"{generation_prefix(dataset_uid, generation)}{identifier(object_id, 'object id')}"


def generation_prefix(dataset_uid: str, generation: str) -> str:
    """What the keys of all objects of one generation begin with."""
    return f"{dataset_prefix(dataset_uid)}{identifier(generation, 'generation')}/"


def dataset_prefix(dataset_uid: str) -> str:
    """What the keys of all objects of one dataset begin with."""
    return f"{OBJECTS}{uid(dataset_uid)}/"


def manifest_key(digest: str) -> str:
    """The key of a manifest."""
    return f"{MANIFESTS}{sha256(digest, 'manifest digest')}"


def parse(key: str) -> ObjectKey | ManifestKey | None:
    """What lies under a key; None for a key that nothing of ours has."""
    match key.split("/"):
        case ["objects", dataset_uid, generation, object_id]:
            legal = _UID.fullmatch(dataset_uid) and _ID.fullmatch(generation) and _ID.fullmatch(object_id)
            return ObjectKey(dataset_uid, generation, object_id) if legal else None
        case ["manifests", digest]:
            return ManifestKey(digest) if _DIGEST.fullmatch(digest) else None
    return None


def identifier(text: str, what: str) -> str:
    """`text` if it is an identifier as `Ids.new` makes them: `g-01k9...`."""
    _legal(_ID, (text,), what)
    return text


def identifiers(texts: Iterable[str], what: str) -> None:
    """Returns if all are identifiers."""
    _legal(_ID, texts, what)


def uid(text: str) -> str:
    """`text` if it can be a dataset's uid."""
    _legal(_UID, (text,), "dataset uid")
    return text


def sha256(text: str, what: str) -> str:
    """`text` if it is a SHA-256 in lower-case hex."""
    _legal(_DIGEST, (text,), what)
    return text


def sha256s(texts: Iterable[str], what: str) -> None:
    """Returns if all are SHA-256 in lower-case hex."""
    _legal(_DIGEST, texts, what)


def _legal(grammar: re.Pattern[str], texts: Iterable[str], what: str) -> None:
    legal = grammar.fullmatch
    for text in texts:
        if not legal(text):
            raise errors.InvalidArgument(
                f"{what} {text!r} is not legal", reason="NAME_INVALID", violations={what: f"must match {grammar.pattern}"}
            )
