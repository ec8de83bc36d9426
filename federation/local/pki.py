"""The certificates of a local federation: a CA of its own, made on first start, an identity for the server and for each agent.

All keys are ECDSA P-256 in files that only their owner may read. The CA's key never leaves the state folder.
"""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from federation import config
from federation.core import errors

_YEARS = timedelta(days=3650)
_BACKDATE = timedelta(minutes=5)
_RENEW_BEFORE = timedelta(days=30)
_HOSTS: tuple[x509.GeneralName, ...] = (
    x509.DNSName("localhost"),
    x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    x509.IPAddress(ipaddress.ip_address("::1")),
)


def ensure(layout: config.Layout, sites: tuple[str, ...], *, now: datetime | None = None) -> None:
    """Makes what is missing: the CA, the server's certificate, and one for each site's agent. What is there and valid stays.

    `now` is for tests; the machine's clock is taken otherwise.
    """
    now = now or datetime.now(UTC)
    _ensure_ca(layout, now)
    _ensure_leaf(layout, layout.server_tls(), "server", (), now)
    for name in sites:
        spiffe = x509.UniformResourceIdentifier(f"spiffe://federation/agents/{name}")
        _ensure_leaf(layout, layout.agent_tls(name), f"agent {name}", (spiffe,), now)


def _ensure_ca(layout: config.Layout, now: datetime) -> None:
    if layout.ca.exists() and layout.ca_key.exists():
        return
    if layout.ca.exists() != layout.ca_key.exists():
        raise errors.FailedPrecondition(
            f"of the CA in {layout.ca.parent} only one half is there",
            reason="CA_INCOMPLETE",
            help=f"Bring back {layout.ca} and {layout.ca_key}, or remove both to make new ones.",
        )
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("dataset federation local CA")
    builder = (
        _builder(name, name, key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    config.write_secret(layout.ca_key, _pem(key))
    _write_public(layout.ca, builder.sign(key, hashes.SHA256()))


def _ensure_leaf(
    layout: config.Layout, files: config.TlsFiles, name: str, identities: tuple[x509.GeneralName, ...], now: datetime
) -> None:
    ca = x509.load_pem_x509_certificate(layout.ca.read_bytes())
    if files.cert.exists() and files.key.exists() and _is_good(files.cert, ca, now):
        return
    ca_key = serialization.load_pem_private_key(layout.ca_key.read_bytes(), None)
    if not isinstance(ca_key, ec.EllipticCurvePrivateKey):
        raise errors.FailedPrecondition(f"{layout.ca_key} is not an EC key", reason="CA_INCOMPLETE")
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        _builder(_name(name), ca.subject, key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(x509.SubjectAlternativeName([*identities, *_HOSTS]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
    )
    config.write_secret(files.key, _pem(key))
    _write_public(files.cert, builder.sign(ca_key, hashes.SHA256()))


def _is_good(path: Path, ca: x509.Certificate, now: datetime) -> bool:
    """Whether a certificate is this CA's and not about to end. A new CA makes all others new."""
    cert = x509.load_pem_x509_certificate(path.read_bytes())
    issuer = cert.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    own = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    return issuer == own and cert.not_valid_after_utc - _RENEW_BEFORE > now


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, now: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(now + _YEARS)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _write_public(path: Path, cert: x509.Certificate) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cert.public_bytes(serialization.Encoding.PEM))
