"""Keys as facts: what a site's key connector says of itself, without any of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

#: The sensitivity class of what names none.
DEFAULT = "default"


@dataclass(frozen=True, kw_only=True)
class ConnectorStatus:
    """What a site's connector holds, by name. `keks` has the current one too; of `destroyed` generations the secret is gone."""

    kind: str
    kek: str
    keks: tuple[str, ...]
    destroyed: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SiteKeyring:
    """What the catalog knows of a site's keys, by its agent's word.

    `wanted` rotations were asked for and `done` of them are; `target` is the KEK to which the present one goes. `retired` KEKs
    are not taken in rows any more; `stuck` rows could not be re-wrapped, and keep the KEKs that they name. What is put at the
    site builds on no generation from before `dek_time`. `destroyed` counts generations whose secret is gone.
    """

    site: str
    kind: str = ""
    kek: str = ""
    keks: tuple[str, ...] = ()
    retired: tuple[str, ...] = ()
    destroyed: int = 0
    wanted: int = 0
    done: int = 0
    target: str = ""
    stuck: int = 0
    dek_time: datetime | None = None
    update_time: datetime | None = None
    etag: str = ""

    @property
    def rotating(self) -> bool:
        return self.wanted > self.done


@dataclass(frozen=True, kw_only=True)
class KeyUse:
    """The rows of one dataset at one site: how many by KEK, of how many generations, in which classes, and in escrow."""

    site: str
    dataset: str
    keks: tuple[tuple[str, int], ...]
    generations: int
    sensitivities: tuple[str, ...]
    escrowed: int = 0


@dataclass(frozen=True, kw_only=True)
class RotationNote:
    """What the log tells of rotations at a site."""

    site: str
    number: int
    done: int
    kek: str = ""
    retired: tuple[str, ...] = ()
    stuck: int = 0


@dataclass(frozen=True, kw_only=True)
class RotateKeys:
    """Makes a site's agent take all its rows to a new KEK: to `target`, or to a fresh one where none is named yet."""

    number: int
    target: str = ""


@dataclass(frozen=True, kw_only=True)
class Custodian:
    """Who holds a share of an escrow: their HPKE public key, hex, and the share sealed to it, once it is made."""

    principal: str
    public_key: str
    sealed_share: str = ""


@dataclass(frozen=True, kw_only=True)
class Escrow:
    """A way back to a site's keys if its KEK is lost, for `threshold` of its custodians together and no fewer.

    `public_key` is the escrow's own, made by the site's agent, which split its private half over the custodians and forgot it.
    With `dataset` it is for that dataset alone. It is `behind` while the site has rows that are not in it.
    """

    escrow: str
    site: str
    threshold: int
    custodians: tuple[Custodian, ...]
    dataset: str = ""
    public_key: str = ""
    behind: bool = True
    keys: int = 0
    principal: str = ""
    create_time: datetime | None = None
    etag: str = ""


@dataclass(frozen=True, kw_only=True)
class EscrowedKey:
    """A DEK in escrow: sealed to the escrow's public key, and within still under the secret of its generation."""

    escrow: str
    generation: str
    sensitivity: str
    dataset_uid: str
    sealed: str


class OpeningState(StrEnum):
    """Lifecycle of an opening of an escrow."""

    PENDING = "PENDING"
    APPROVED = "APPROVED"
    OPENED = "OPENED"


@dataclass(frozen=True, kw_only=True)
class Approval:
    """A custodian's yes: their share, sealed to the site for this opening."""

    principal: str
    sealed_share: str
    time: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Opening:
    """Somebody's wish to open an escrow, and why; good until `expire_time`. `keys` rows were given back to the site."""

    opening: str
    escrow: str
    site: str
    reason: str
    principal: str
    state: OpeningState = OpeningState.PENDING
    approvals: tuple[Approval, ...] = ()
    keys: int = 0
    sealing_key: str = ""
    create_time: datetime | None = None
    expire_time: datetime | None = None
    open_time: datetime | None = None
    etag: str = ""


@dataclass(frozen=True, kw_only=True)
class EscrowNote:
    """What the log tells of an escrow: who did what, and why; no share, sealed or not."""

    escrow: str
    site: str
    principal: str
    opening: str = ""
    reason: str = ""
    dataset: str = ""
    threshold: int = 0
    custodians: tuple[str, ...] = ()
    approvals: tuple[str, ...] = ()
    keys: int = 0


@dataclass(frozen=True, kw_only=True)
class FillEscrow:
    """Makes a site's agent put what is missing into an escrow; the escrow's own key first, where it has none."""

    escrow: Escrow


@dataclass(frozen=True, kw_only=True)
class OpenEscrow:
    """Makes a site's agent open an escrow with the shares of an approved opening."""

    opening: Opening
    escrow: Escrow
