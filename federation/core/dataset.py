"""What exists and where: namespaces, datasets, versions, replicas, and the keys that they are sealed with."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from federation.core import ids


class DatasetKind(StrEnum):
    """What a dataset holds. A model is a dataset whose versions are trained weights and their files."""

    DATA = "DATA"
    MODEL = "MODEL"


class ReplicaState(StrEnum):
    """Whether a replica can be read."""

    AVAILABLE = "AVAILABLE"
    COPYING = "COPYING"
    SUSPECT = "SUSPECT"
    DELETING = "DELETING"


@dataclass(frozen=True, kw_only=True)
class Namespace:
    """A room of its own for datasets: `sales`."""

    name: str
    description: str = ""
    owner: str = ""
    uid: str = ""
    etag: str = ""
    create_time: datetime | None = None
    update_time: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A named, governed collection of data; the unit of policy.

    `residency` holds jurisdictions (`EU`); empty means anywhere. `latest_version` is 0 before the first.
    """

    namespace: str
    dataset: str
    kind: DatasetKind = DatasetKind.DATA
    description: str = ""
    residency: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    owner: str = ""
    latest_version: int = 0
    uid: str = ""
    etag: str = ""
    create_time: datetime | None = None
    update_time: datetime | None = None
    delete_time: datetime | None = None

    @property
    def name(self) -> ids.DatasetName:
        return ids.DatasetName(self.namespace, self.dataset)


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """One file of a version. The object is its ciphertext at a site, named by generation and object id.

    `object_bytes` and `object_sha256` are of the ciphertext; `commitment` is its container's key commitment (hex), which
    the signed manifest pins so that neither file nor key can be swapped. `tag` is a keyed digest of the plaintext, by
    which a writer finds that a file has not changed. `rows` is -1 where it is not known.
    """

    path: str
    file_bytes: int
    object_id: str
    generation: str
    object_bytes: int
    object_sha256: str
    commitment: str
    tag: str = ""
    rows: int = -1


@dataclass(frozen=True, kw_only=True)
class Version:
    """One immutable state of a dataset. `manifest_digest` is the SHA-256 (hex) of its manifest's bytes.

    `signature` (hex, Ed25519) is by `signed_by`'s site over the manifest statement; see `crypto.manifest`.
    `total_bytes` is of plaintext, `object_bytes` of what lies in the store. `run` is the run that made it, if one did.
    """

    namespace: str
    dataset: str
    number: int
    manifest_digest: str
    signature: str
    signed_by: str
    files: int
    total_bytes: int
    object_bytes: int
    rows: int = -1
    columns: tuple[tuple[str, str], ...] = ()
    generations: tuple[str, ...] = ()
    run: str = ""
    source: str = ""
    uid: str = ""
    etag: str = ""
    create_time: datetime | None = None

    @property
    def name(self) -> ids.VersionName:
        return ids.VersionName(ids.DatasetName(self.namespace, self.dataset), self.number)


@dataclass(frozen=True, kw_only=True)
class Replica:
    """A version at a site."""

    namespace: str
    dataset: str
    number: int
    site: str
    state: ReplicaState = ReplicaState.AVAILABLE
    object_bytes: int = 0
    verify_time: datetime | None = None
    uid: str = ""
    etag: str = ""
    create_time: datetime | None = None

    @property
    def version(self) -> ids.VersionName:
        return ids.VersionName(ids.DatasetName(self.namespace, self.dataset), self.number)


@dataclass(frozen=True, kw_only=True)
class WrappedKey:
    """The DEK of one generation of a dataset, wrapped by one site's KEK. Opens nothing without that site's key connector."""

    generation: str
    site: str
    dataset_uid: str
    kek: str
    wrapped: str
    create_time: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The content-addressed list of a version's files, in path order."""

    dataset_uid: str
    files: tuple[FileEntry, ...] = field(default=())

    @property
    def total_bytes(self) -> int:
        return sum(entry.file_bytes for entry in self.files)

    @property
    def object_bytes(self) -> int:
        return sum(entry.object_bytes for entry in self.files)

    @property
    def generations(self) -> tuple[str, ...]:
        return tuple(sorted({entry.generation for entry in self.files}))


@dataclass(frozen=True, kw_only=True)
class NewVersion:
    """A version that a site's agent has stored and signed and wants committed. `keys` are those of its new generations."""

    dataset: str
    dataset_uid: str
    manifest_digest: str
    signature: str
    files: int
    total_bytes: int
    object_bytes: int
    rows: int = -1
    columns: tuple[tuple[str, str], ...] = ()
    generations: tuple[str, ...] = ()
    keys: tuple[WrappedKey, ...] = ()
    source: str = ""
    alias: str = ""


@dataclass(frozen=True, kw_only=True)
class SealedVersion:
    """A version as a gateway needs it: with the key of the site that signed its manifest and its own site's wrapped DEKs."""

    version: Version
    dataset_uid: str
    signing_key: str
    keys: tuple[WrappedKey, ...]
