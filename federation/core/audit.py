"""Audit: what the log tells that no other table of the record holds, as rows. Pure."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime

from federation.core.events import Event


@dataclass(frozen=True, kw_only=True)
class AuditEntry:
    """One change of the catalog: what was changed, by whom, at which request, and its value after, as JSON.

    `body` has no secrets: events are told without them (`records.telling`). `body_sha256` (hex) is of `body` as it stands here.
    """

    time: datetime
    kind: str
    name: str
    actor: str
    request_id: str
    body: str
    body_sha256: str


def entry(event: Event) -> AuditEntry:
    """An event as its row. One that holds many facts as bytes is told by their number and digest: it has no JSON."""
    body = event.body
    if event.data:
        told = {"rows": event.rows, "sha256": hashlib.sha256(event.data).hexdigest()}
        body = json.dumps(told, sort_keys=True, separators=(",", ":"))
    return AuditEntry(
        time=event.time,
        kind=event.kind,
        name=event.name,
        actor=event.actor,
        request_id=event.request_id,
        body=body,
        body_sha256=hashlib.sha256(body.encode()).hexdigest(),
    )
