"""From measured bytes to ledger entries. Pure: what a run moved is priced here, and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What left a source gateway under one grant, once it is settled.

    `sent_bytes` were counted; `unsettled_bytes` were granted in quanta but never accounted for, because a process died: they are
    charged too, and the entry is marked.
    """

    grant: str
    source_site: str
    sent_bytes: int
    unsettled_bytes: int = 0
    requests: int = 0
    settle_time: datetime

    @property
    def charged_bytes(self) -> int:
        return self.sent_bytes + self.unsettled_bytes


@dataclass(frozen=True, kw_only=True)
class LedgerEntry:
    """One line of the egress ledger: append-only, a correction is a new entry.

    One entry for each settled grant, the zero ones too: bytes read at no charge inside a region are the proof of what was
    saved. `charge_micros` is F(month to date + bytes) - F(month to date), each F rounded, so that many small reads cost what one
    big one does. `estimate_micros` and `avoided_micros` keep the baseline that was frozen when the job was placed.
    """

    entry: str
    grant: str
    time: datetime
    month: str
    namespace: str
    dataset: str
    version: int
    alias: str
    job: str
    run: str
    attempt: int
    principal: str
    source_site: str
    source_region: str
    destination_site: str
    destination_region: str
    bytes: int
    unsettled_bytes: int
    requests: int
    charge_micros: int
    estimate_bytes: int
    estimate_micros: int
    avoided_micros: int | None
    month_to_date_bytes: int
    price_source: str
    corrects: str = ""
