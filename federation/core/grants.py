"""A grant: the catalog's signed word on what a bearer may do at one site's gateway, checked there offline. Values only.

`crypto.grants` signs and checks them; `encode` is the one canonical form that is signed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Access(StrEnum):
    """What a grant allows at the gateway that it names."""

    READ = "READ"
    WRITE = "WRITE"
    LOGS = "LOGS"
    CHECK = "CHECK"


@dataclass(frozen=True, kw_only=True)
class Grant:
    """Who may do what at which site, for which run, how many bytes, until when.

    `site` is whose gateway serves it (the source); `reader_site` is whose gateway presents it, empty for a person.
    `reader_region` is where the bytes go (`internet` for a person), and `reader_sealing_key` the fingerprint of the key to
    which a DEK is re-wrapped for that site. `bytes_max` bounds what may leave, 0 for no bound. A person's grant has no `run`
    and attempt 0. `version` is short (`sales/flights@3`) for READ, `dataset` for WRITE.
    """

    grant: str
    access: Access
    subject: str
    site: str
    dataset: str = ""
    dataset_uid: str = ""
    version: str = ""
    alias: str = ""
    run: str = ""
    attempt: int = 0
    reader_site: str = ""
    reader_region: str = ""
    reader_sealing_key: str = ""
    reader_signing_key: str = ""
    bytes_max: int = 0
    issue_time: datetime
    expire_time: datetime

    @property
    def for_site(self) -> bool:
        """Whether it is a site's own, for a transfer, and neither a run's nor a person's."""
        return bool(self.reader_site) and not self.run
