"""What exists and where: namespaces, datasets, versions, replicas, and the keys that they are sealed with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from federation.core import errors, ids, keys
from federation.core.columns import ColumnClass


class DatasetKind(StrEnum):
    """What a dataset holds. A model is a dataset whose versions are trained weights and their files."""

    DATA = "DATA"
    MODEL = "MODEL"


class Classification(StrEnum):
    """How much harm misuse of a dataset would do, in rising order."""

    PUBLIC = "PUBLIC"
    INTERNAL = "INTERNAL"
    CONFIDENTIAL = "CONFIDENTIAL"
    RESTRICTED = "RESTRICTED"

    @property
    def level(self) -> int:
        """0 for PUBLIC, one more for each step."""
        return list(Classification).index(self)


@dataclass(frozen=True, kw_only=True)
class DataCard:
    """What people must know of a dataset or model before they use it; what is empty is not known.

    `origin` says where it comes from, `consent` on which consent or other ground it may be processed. `without` are fields of
    which it is known that there is nothing to say: nothing is inherited into them.
    """

    origin: str = ""
    licence: str = ""
    consent: str = ""
    known_bias: str = ""
    sensitive_columns: tuple[str, ...] = ()
    without: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Restrictions:
    """What restricts the use of data, and of all that is made of it. An empty `residency` or `purposes` restricts nothing."""

    classification: Classification = Classification.PUBLIC
    residency: tuple[str, ...] = ()
    purposes: tuple[str, ...] = ()
    use_expire_time: datetime | None = None
    group_size_min: int = 0

    def __bool__(self) -> bool:
        """Whether it restricts anything."""
        return self != NO_RESTRICTIONS

    def looser(self, than: Restrictions) -> tuple[str, ...]:
        """Fields in which these would let through what those do not."""
        found = {
            "classification": self.classification.level < than.classification.level,
            "residency": _wider(self.residency, than.residency),
            "purposes": _wider(self.purposes, than.purposes),
            "use_expire_time": than.use_expire_time is not None
            and (self.use_expire_time is None or self.use_expire_time > than.use_expire_time),
            "group_size_min": self.group_size_min < than.group_size_min,
        }
        return tuple(name for name, yes in found.items() if yes)


NO_RESTRICTIONS = Restrictions()


def _wider(these: tuple[str, ...], those: tuple[str, ...]) -> bool:
    """Whether a set of names, empty for all, has some that the other has not."""
    return bool(those) and (not these or not set(these) <= set(those))


def strictest(several: Iterable[Restrictions]) -> Restrictions:
    """What restricts data that is made of several: nothing that any of them forbids. Residencies are left to `policy.binding`.

    InvalidArgument (PURPOSE_CONTRADICTION) where no purpose is allowed by all of them.
    """
    rows = tuple(several)
    purposes: set[str] | None = None
    for row in rows:
        if row.purposes:
            purposes = set(row.purposes) if purposes is None else purposes & set(row.purposes)
    if purposes is not None and not purposes:
        told = " and ".join(", ".join(row.purposes) for row in rows if row.purposes)
        raise errors.InvalidArgument(
            f"no purpose is allowed by all of the data: {told}",
            reason="PURPOSE_CONTRADICTION",
            help="Use them in separate jobs, or have an owner allow a common purpose.",
        )
    return Restrictions(
        classification=max((row.classification for row in rows), key=lambda each: each.level, default=Classification.PUBLIC),
        purposes=tuple(sorted(purposes or ())),
        use_expire_time=min((row.use_expire_time for row in rows if row.use_expire_time), default=None),
        group_size_min=max((row.group_size_min for row in rows), default=0),
    )


@dataclass(frozen=True, kw_only=True)
class Inherited:
    """What a dataset (`ml/sums`) has inherited from all that it was ever made of: only a declassification loosens it.

    `sources` are those that restrict it, as soon as a job is to make it; `made_of` are all that its versions were made of.
    """

    dataset: str
    restrictions: Restrictions
    sources: tuple[str, ...] = ()
    made_of: tuple[str, ...] = ()
    etag: str = ""


@dataclass(frozen=True, kw_only=True)
class Declassified:
    """That a dataset is restricted less than what it was made of: by whom, why, and with what before and after."""

    dataset: str
    by: str
    reason: str
    before: Restrictions
    after: Restrictions
    sources: tuple[str, ...]


class ReplicaState(StrEnum):
    """Whether a replica can be read."""

    AVAILABLE = "AVAILABLE"
    COPYING = "COPYING"
    SUSPECT = "SUSPECT"
    DELETING = "DELETING"


@dataclass(frozen=True, kw_only=True)
class Namespace:
    """A room of its own for datasets: `sales`.

    Its jobs share saturated sites with those of other namespaces by `weight`. A quota of 0 is none; both count by month.
    """

    name: str
    description: str = ""
    owner: str = ""
    weight: int = 1
    gpu_seconds_quota: int = 0
    egress_micros_quota: int = 0
    uid: str = ""
    etag: str = ""
    create_time: datetime | None = None
    update_time: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A named, governed collection of data; the unit of policy.

    `residency` holds jurisdictions (`EU`); empty means anywhere. `latest_version` is 0 before the first.
    `parts` are datasets (`sales/flights-eu`) of which a partitioned one consists; it has no versions of its own, and its parts
    may never meet. Outputs of at most `release_bytes_max` that are made from it may be released from its residency (0: none).
    It may be used for `purposes` (empty: all) by `readers` (`users/ada`, `groups/analysts`) until `use_expire_time`; under
    `legal_hold` nothing of it is destroyed. Groups of an exported aggregate are about `group_size_min` people or more.
    """

    namespace: str
    dataset: str
    kind: DatasetKind = DatasetKind.DATA
    description: str = ""
    residency: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    owner: str = ""
    latest_version: int = 0
    parts: tuple[str, ...] = ()
    release_bytes_max: int = 0
    classification: Classification = Classification.INTERNAL
    purposes: tuple[str, ...] = ()
    readers: tuple[str, ...] = ()
    use_expire_time: datetime | None = None
    legal_hold: bool = False
    group_size_min: int = 0
    card: DataCard = DataCard()
    uid: str = ""
    etag: str = ""
    create_time: datetime | None = None
    update_time: datetime | None = None
    delete_time: datetime | None = None

    @property
    def name(self) -> ids.DatasetName:
        return ids.DatasetName(self.namespace, self.dataset)

    @property
    def restrictions(self) -> Restrictions:
        """What restricts its use, and that of what is made of it. A legal hold is not among them: it is on this data alone."""
        return Restrictions(
            classification=self.classification,
            residency=self.residency,
            purposes=self.purposes,
            use_expire_time=self.use_expire_time,
            group_size_min=self.group_size_min,
        )


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
    `total_bytes` is of plaintext, `object_bytes` of what lies in the store. `run` is the run that made it, if one did. From
    `erase_time` on nothing opens it; from `collect_time` on it lies nowhere, for it was old and nobody needed it.
    `group_size` is the size of its smallest group, if it is an aggregate whose site has counted that in its files.
    `column_classes` are those of its manifest.
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
    erase_time: datetime | None = None
    collect_time: datetime | None = None
    group_size: int | None = None
    column_classes: tuple[ColumnClass, ...] = ()

    @property
    def name(self) -> ids.VersionName:
        return ids.VersionName(ids.DatasetName(self.namespace, self.dataset), self.number)


@dataclass(frozen=True, kw_only=True)
class Release:
    """A version that left the residency of what it was made from, with the consent of each input's owner.

    `inputs` are the datasets that bind (`sales/flights-eu`), `bytes` what it has, and `bytes_max` the least that they allow.
    `group_size` is that of the version, `group_size_min` the greatest least that they ask for.
    """

    version: str
    run: str
    inputs: tuple[str, ...]
    bytes: int
    bytes_max: int
    group_size: int | None = None
    group_size_min: int = 0


@dataclass(frozen=True, kw_only=True)
class Replica:
    """A version at a site.

    One that was copied says by which `transfer`. It ends at `expire_time` unless it is read again; None: it stays.
    """

    namespace: str
    dataset: str
    number: int
    site: str
    state: ReplicaState = ReplicaState.AVAILABLE
    object_bytes: int = 0
    verify_time: datetime | None = None
    transfer: str = ""
    expire_time: datetime | None = None
    uid: str = ""
    etag: str = ""
    create_time: datetime | None = None

    @property
    def version(self) -> ids.VersionName:
        return ids.VersionName(ids.DatasetName(self.namespace, self.dataset), self.number)


@dataclass(frozen=True, kw_only=True)
class WrappedKey:
    """The DEK of one class of one generation of a dataset, wrapped by one site. Opens nothing without its key connector."""

    generation: str
    site: str
    dataset_uid: str
    kek: str
    wrapped: str
    create_time: datetime | None = None
    sensitivity: str = keys.DEFAULT


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The content-addressed list of a version's files, in path order.

    With `column_classes` each file is Parquet by Parquet Modular Encryption, inside of its container (`crypto.modular`).
    """

    dataset_uid: str
    files: tuple[FileEntry, ...] = field(default=())
    column_classes: tuple[ColumnClass, ...] = ()

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
    """A version that a site's agent has stored and signed and wants committed. `keys` are those of its new generations.

    `group_size` is what the site has counted in its files, None where nobody asked it to.
    """

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
    group_size: int | None = None
    column_classes: tuple[ColumnClass, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SealedVersion:
    """A version as a gateway needs it: with the key of the site that signed its manifest and its own site's wrapped DEKs.

    Nothing is to be built on an `outdated` one: it has generations from before the site's were to be made anew.
    """

    version: Version
    dataset_uid: str
    signing_key: str
    keys: tuple[WrappedKey, ...]
    outdated: bool = False
