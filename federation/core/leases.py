"""Leases: that one process, person or site was given the data keys of one version, once, for a short time. Values only.

The catalog records a lease before a gateway hands out the keys that it is for (`services.leases`), so whoever holds a key is
known, and until when. What the keys are sealed for names the lease: they open for nobody else's, and for no other one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from federation.core import errors, keys

#: How long a lease lasts. Whoever opens another file of the version later asks for a new one.
LIFE_SECONDS = 300
#: How far the clocks of catalog and gateway may be apart.
SKEW_SECONDS = 30
NONCE_CHARS_MIN = 32
NONCE_CHARS_MAX = 128
_KEY_CHARS = 64
_HEX = frozenset("0123456789abcdef")
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


class Use(StrEnum):
    """What keys are handed out for."""

    READ = "READ"
    WRITE = "WRITE"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a gateway wants to hand out, and to whom. `call` tells a repeated question from a replayed one.

    `version` is 0 for one that is yet to be written. `reader_key` is the fingerprint of the key that it will be sealed to.
    """

    nonce: str
    call: str
    use: Use
    grant: str = ""
    run: str = ""
    dataset: str
    version: int = 0
    generations: tuple[str, ...]
    sensitivities: tuple[str, ...] = (keys.DEFAULT,)
    reader_key: str

    @property
    def short(self) -> str:
        """`sales/flights@3`; the dataset alone for what is yet to be written."""
        return f"{self.dataset}@{self.version}" if self.version else self.dataset


@dataclass(frozen=True, kw_only=True)
class Lease:
    """A lease that was granted. `site` is whose gateway hands the keys out; `reader_site` whose gateway gets them, if one does.

    The other fields are as in `Asked`; `run` and `attempt`, `transfer` or neither (a person) say on whose behalf.
    """

    lease: str
    use: Use
    site: str
    dataset: str
    dataset_uid: str
    version: int
    generations: tuple[str, ...]
    sensitivities: tuple[str, ...]
    principal: str
    grant: str = ""
    run: str = ""
    attempt: int = 0
    transfer: str = ""
    reader_site: str = ""
    reader_key: str
    nonce: str
    call: str
    issue_time: datetime
    expire_time: datetime

    @property
    def short(self) -> str:
        """`sales/flights@3`; the dataset alone for what was yet to be written."""
        return f"{self.dataset}@{self.version}" if self.version else self.dataset

    def answers(self, asked: Asked) -> bool:
        """Whether it is what was asked for, in every field that a gateway relies on."""
        return (
            self.lease == name(asked.nonce)
            and (self.use, self.dataset, self.version) == (asked.use, asked.dataset, asked.version)
            and (self.generations, self.sensitivities) == (asked.generations, asked.sensitivities)
            and (self.grant, self.run if asked.run else "") == (asked.grant, asked.run)
            and (self.reader_key, self.nonce, self.call) == (asked.reader_key, asked.nonce, asked.call)
        )


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A lease that was asked for and not granted, as the log tells it."""

    use: Use
    site: str
    dataset: str
    version: int
    grant: str
    run: str
    reader_key: str
    reason: str
    detail: str


def name(nonce: str) -> str:
    """The id of the lease for a nonce: the same for the same one, so that a nonce is good for one."""
    number = int.from_bytes(hashlib.sha256(f"fed/lease/v1\n{nonce}".encode()).digest()[:17])
    return "l-" + "".join(_ALPHABET[(number >> (5 * place)) & 31] for place in range(26))


def audience(of: str, lease: str) -> str:
    """For whom keys are sealed: a run's or a grant's bearer, under this lease."""
    return f"{of}/{lease}"


def check(asked: Asked) -> None:
    """InvalidArgument (LEASE_INVALID) for a nonce or a key that cannot be one."""
    if not NONCE_CHARS_MIN <= len(asked.nonce) <= NONCE_CHARS_MAX or not _HEX.issuperset(asked.nonce):
        raise _invalid("nonce", f"must be {NONCE_CHARS_MIN} to {NONCE_CHARS_MAX} hexadecimal digits, chosen at random")
    if len(asked.reader_key) != _KEY_CHARS or not _HEX.issuperset(asked.reader_key):
        raise _invalid("reader_key", "must be the SHA-256 of a public key, in hexadecimal digits")
    if not asked.call or len(asked.call) > NONCE_CHARS_MAX:
        raise _invalid("call", f"must have 1 to {NONCE_CHARS_MAX} characters")
    if asked.version < 0 or (asked.use is Use.READ and not asked.version):
        raise _invalid("use", "must be READ of a version, or WRITE")


def _invalid(field: str, why: str) -> errors.InvalidArgument:
    return errors.InvalidArgument(
        f"a lease cannot be asked for like this: {field} {why}", reason="LEASE_INVALID", violations={field: why}
    )
