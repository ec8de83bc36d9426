"""Sites coming in: invited with a join token, let in once by it, and certified by the catalog's CA where it has one.

What a site calls itself is never asked: the token says which site it is for, and the CA what stands in its certificate.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
from collections.abc import Iterable
from datetime import datetime, timedelta

from federation import ports
from federation.core import admission, errors, kinds, site
from federation.crypto import certificates, secrets
from federation.services import scan, sites
from federation.services.context import Context

PREFIX = "fedjoin"
TOKEN_LIFE = timedelta(hours=1)
TOKEN_LIFE_MAX = timedelta(days=1)
#: A site's certificate lasts so long; its agent has it renewed well before.
CERTIFICATE_LIFE = timedelta(days=90)
HOSTS_MAX = 16


def invite(
    tx: ports.Transaction, name: str, hosts: Iterable[str] = (), expire_time: datetime | None = None
) -> tuple[kinds.JoinRecord, str]:
    """A join token for a declared site, and its secret. `hosts` are those of its gateway, for its certificate.

    A site that has joined may be invited again: its agent has lost its key.
    """
    place = sites.get_site(tx, name)
    life = TOKEN_LIFE if expire_time is None else expire_time - tx.now
    if not timedelta(0) < life <= TOKEN_LIFE_MAX:
        raise errors.InvalidArgument(
            "a join token ends within a day of being made",
            reason="TTL_INVALID",
            help=f"Leave its time out for {TOKEN_LIFE.seconds // 60} minutes, or name one that is near.",
            violations={"expire_time": "must be within a day"},
        )
    named = tuple(dict.fromkeys(hosts)) or certificates.OWN_HOSTS
    if len(named) > HOSTS_MAX:
        raise errors.InvalidArgument(f"{len(named)} hosts are more than {HOSTS_MAX}", reason="HOST_INVALID")
    for host in named:
        certificates.host(host)
    secret = secrets.new_token(PREFIX)
    stored = tx.insert(
        kinds.JoinRecord(
            join=_key(secret),
            digest=secrets.digest(secret),
            site=place.site,
            hosts=named,
            create_time=tx.now,
            expire_time=tx.now + life,
        )
    )
    tx.emit("site.invited", f"sites/{place.site}", stored)
    return stored, secret


def join(tx: ports.Transaction, ctx: Context, secret: str, csr: bytes) -> tuple[site.Site, bytes]:
    """Lets a site in: itself, and its certificate (PEM), empty where none was asked for or the CA is not the catalog's.

    Unauthenticated (JOIN_TOKEN_INVALID, JOIN_TOKEN_EXPIRED, JOIN_TOKEN_USED) for a secret that lets nobody in, any more. The
    same key may ask again, for an answer that was lost.
    """
    record = tx.get(kinds.JoinRecord, _key(secret))
    if record is None or not hmac.compare_digest(record.digest, secrets.digest(secret)):
        raise _refused("is not known here", "JOIN_TOKEN_INVALID")
    if record.expire_time <= tx.now:
        raise _refused(f"ended at {record.expire_time:%Y-%m-%d %H:%M} UTC", "JOIN_TOKEN_EXPIRED")
    used_for = hashlib.sha256(csr).hexdigest()
    if record.use_time is not None:
        if record.used_for != used_for:
            raise _refused("was used before, with another key", "JOIN_TOKEN_USED")
        return sites.get_site(tx, record.site), record.certificate.encode()
    place = sites.get_site(tx, record.site)
    certificate = _certificate(ctx, place.site, record.hosts, csr, tx.now) if csr and ctx.authority else b""
    tx.replace(dataclasses.replace(record, use_time=tx.now, used_for=used_for, certificate=certificate.decode()))
    joined = tx.replace(dataclasses.replace(place, join_time=tx.now, update_time=tx.now))
    tx.emit("site.joined", f"sites/{joined.site}", joined)
    return joined, certificate


def renew(tx: ports.Transaction, ctx: Context, name: str, csr: bytes) -> bytes:
    """A new certificate (PEM) for a site that has one, with the hosts that it joined with."""
    place = sites.get_site(tx, name)
    if ctx.authority is None:
        raise errors.FailedPrecondition(
            "the catalog holds no CA's key", reason="CA_ELSEWHERE", help="Renew the certificate where it was issued."
        )
    used = _used(tx, place.site)
    certificate = _certificate(ctx, place.site, used[-1].hosts if used else certificates.OWN_HOSTS, csr, tx.now)
    tx.emit("site.certified", f"sites/{place.site}", place)
    return certificate


def require_current(tx: ports.Transaction, name: str, shown: bytes) -> None:
    """Unauthenticated (CERTIFICATE_REPLACED) for a certificate (PEM) older than the newest that the site joined with.

    That one ends all before it, whoever has them: a site that had this name, the machine that the site was on, a thief. What a
    renewal brings is younger.
    """
    issued = [certificates.begin(row.certificate.encode()) for row in _used(tx, name) if row.certificate]
    if issued and certificates.begin(shown) < max(issued):
        raise errors.Unauthenticated(
            f"site {name} has joined anew since this certificate was issued",
            reason="CERTIFICATE_REPLACED",
            help="Start its agent with the newer certificate, or let it join again: `fed site invite`, `fed agent join`.",
            metadata={"site": name},
        )


def admit(tx: ports.Transaction, name: str, grade: str, reason: str) -> site.Site:
    """Holds a site's grade down to B or C, or with A lets its tests decide again. It never lifts what they found."""
    place = sites.get_site(tx, name)
    if grade not in admission.GRADES or (grade != admission.GRADES[0] and not reason.strip()):
        raise errors.InvalidArgument(
            f"a grade is one of {', '.join(admission.GRADES)}, and one that is held down has a reason",
            reason="GRADE_INVALID",
            help="Name both: `fed site admit eu-2 --grade B --reason TEXT`.",
            violations={"grade": "must be A, B or C, with a reason"},
        )
    if not place.admission:
        raise admission.refusal(place.site, ())
    held = "" if grade == admission.GRADES[0] else grade
    return sites.regrade(tx, dataclasses.replace(place, grade_max=held, grade_reason=reason[:1000] if held else ""))


def _used(tx: ports.Transaction, name: str) -> list[kinds.JoinRecord]:
    """The tokens with which a site has joined, in this order."""
    used = [row for row in scan.every(tx, kinds.JoinRecord, where={"site": name}) if row.use_time is not None]
    return sorted(used, key=lambda row: row.use_time or row.create_time)


def _key(secret: str) -> str:
    return f"j{secrets.digest(secret)[:24]}"


def _certificate(ctx: Context, name: str, hosts: tuple[str, ...], csr: bytes, now: datetime) -> bytes:
    assert ctx.authority is not None
    signed = ctx.authority.issue(
        f"agent {name}",
        certificates.requested_key(csr),
        identities=(certificates.agent_uri(ctx.trust_domain, name),),
        hosts=hosts,
        now=now,
        life=CERTIFICATE_LIFE,
    )
    return certificates.pem(signed)


def _refused(why: str, reason: str) -> errors.Unauthenticated:
    return errors.Unauthenticated(
        f"the join token {why}", reason=reason, help="Ask an administrator for another: `fed site invite SITE`."
    )
