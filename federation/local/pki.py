"""The certificates of a local federation: a CA of its own, made on first start, an identity for the server and for each agent.

All keys are ECDSA P-256 in files that only their owner may read. The CA's key never leaves the state folder.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from federation import config
from federation.core import errors
from federation.crypto import certificates

_LIFE = timedelta(days=3650)
_RENEW_BEFORE = timedelta(days=30)


def ensure(
    layout: config.Layout, sites: tuple[str, ...], *, trust_domain: str = config.TRUST_DOMAIN, now: datetime | None = None
) -> None:
    """Makes what is missing: the CA, the server's certificate, and one for each site's agent. What is there and valid stays.

    `now` is for tests; the machine's clock is taken otherwise.
    """
    now = now or datetime.now(UTC)
    _ensure_ca(layout, now)
    _ensure_leaf(layout, layout.server_tls(), "server", (), now)
    for name in sites:
        _ensure_leaf(layout, layout.agent_tls(name), f"agent {name}", (certificates.agent_uri(trust_domain, name),), now)


def _ensure_ca(layout: config.Layout, now: datetime) -> None:
    if layout.ca.exists() and layout.ca_key.exists():
        return
    if layout.ca.exists() != layout.ca_key.exists():
        raise errors.FailedPrecondition(
            f"of the CA in {layout.ca.parent} only one half is there",
            reason="CA_INCOMPLETE",
            help=f"Bring back {layout.ca} and {layout.ca_key}, or remove both to make new ones.",
        )
    made = certificates.Authority.make("dataset federation local CA", now=now, life=_LIFE)
    config.write_secret(layout.ca_key, certificates.key_pem(made.key))
    _write_public(layout.ca, made.certificate)


def _ensure_leaf(layout: config.Layout, files: config.TlsFiles, name: str, identities: tuple[str, ...], now: datetime) -> None:
    names = certificates.alt_names(identities, certificates.OWN_HOSTS)
    if files.cert.exists() and files.key.exists():
        ca = x509.load_pem_x509_certificate(layout.ca.read_bytes())
        cert = x509.load_pem_x509_certificate(files.cert.read_bytes())
        if certificates.is_good(cert, ca, names=names, until=now + _RENEW_BEFORE):
            return
    authority = certificates.Authority.load(layout.ca.read_bytes(), layout.ca_key.read_bytes())
    key = certificates.new_key()
    config.write_secret(files.key, certificates.key_pem(key))
    _write_public(files.cert, authority.issue(name, key.public_key(), identities=identities, now=now, life=_LIFE))


def _write_public(path: Path, cert: x509.Certificate) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(certificates.pem(cert))
