"""Certificates: a CA, leaves that it signs, requests for them, and the SPIFFE-style names by which sites are known.

All keys are ECDSA P-256. Who asks for a certificate proves that they hold its key; what it says is the CA's to decide.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from federation.core import errors

#: A certificate begins so long before it is made, for clocks that are behind.
_BACKDATE = timedelta(minutes=5)
#: Where a machine finds itself, for gateways that nobody reaches from elsewhere.
OWN_HOSTS = ("localhost", "127.0.0.1", "::1")
REQUEST_BYTES_MAX = 16 * 1024


def agent_uri(trust_domain: str, site: str) -> str:
    """How a site's agent is called in its certificate: `spiffe://acme/agents/eu-1`."""
    return f"spiffe://{trust_domain}/agents/{site}"


def new_key() -> ec.EllipticCurvePrivateKey:
    """A fresh P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A private key as PEM, not encrypted: its file is for its owner alone."""
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def pem(certificate: x509.Certificate) -> bytes:
    """A certificate as PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def begin(certificate: bytes) -> datetime:
    """From when on a certificate (PEM) is good."""
    return x509.load_pem_x509_certificate(certificate).not_valid_before_utc


def fingerprint(ca: bytes) -> str:
    """SHA-256 (hex) of the first certificate in a PEM text, as DER."""
    return hashlib.sha256(x509.load_pem_x509_certificate(ca).public_bytes(serialization.Encoding.DER)).hexdigest()


def pinned(ca: bytes, pin: str) -> bytes:
    """The one certificate (PEM) of a text that has the fingerprint; Unauthenticated (CA_UNKNOWN) where none has.

    Others beside it are left out: whoever sent them may have put one of their own there.
    """
    try:
        found = x509.load_pem_x509_certificates(ca)
    except ValueError:
        found = []
    for certificate in found:
        if hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest() == pin:
            return pem(certificate)
    raise errors.Unauthenticated(
        "the server there is not the one that made this join token: its CA is another",
        reason="CA_UNKNOWN",
        help="See that the address is right, and that nobody stands between; ask for another join token.",
    )


def request(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A request (PKCS #10, PEM) that proves to hold the key, and asks for no name: names are the CA's to give."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def requested_key(csr: bytes) -> ec.EllipticCurvePublicKey:
    """The key of a request; InvalidArgument (CSR_INVALID) unless it is P-256 and has signed the request."""
    try:
        if len(csr) > REQUEST_BYTES_MAX:
            raise ValueError("it is too long")
        parsed = x509.load_pem_x509_csr(csr)
        key, signed = parsed.public_key(), parsed.is_signature_valid
    except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature) as error:
        raise _bad_request(f"it cannot be read: {str(error)[:100]}") from None
    if not signed:
        raise _bad_request("its key has not signed it")
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise _bad_request("its key is not an ECDSA P-256 key")
    return key


def alt_names(identities: Iterable[str], hosts: Iterable[str]) -> x509.SubjectAlternativeName:
    """URIs, then host names and IP addresses."""
    return x509.SubjectAlternativeName([*map(x509.UniformResourceIdentifier, identities), *map(host, hosts)])


def host(text: str) -> x509.GeneralName:
    """A host as a certificate names it; InvalidArgument (HOST_INVALID) for what is neither a name nor an address."""
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        pass
    labels = text.split(".")
    good = len(text) <= 253 and all(
        0 < len(label) <= 63 and label.isascii() and label.replace("-", "a").isalnum() and label.strip("-") == label
        for label in labels
    )
    if not good:
        raise errors.InvalidArgument(
            f"{text[:100]!r} is neither a host's name nor an IP address",
            reason="HOST_INVALID",
            help="Write for example gateway.eu-1.example or 10.0.0.7. No wildcard, no port.",
            violations={"hosts": "must be names or IP addresses"},
        )
    return x509.DNSName(text)


@dataclass(frozen=True)
class Authority:
    """A CA that signs: its certificate, and its key, which no repr shows."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def make(cls, name: str, *, now: datetime, life: timedelta) -> Authority:
        """A new CA that signs leaves alone."""
        key = new_key()
        subject = _name(name)
        builder = (
            _builder(subject, subject, key.public_key(), now, life)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        return cls(builder.sign(key, hashes.SHA256()), key)

    @classmethod
    def load(cls, certificate: bytes, key: bytes) -> Authority:
        """A CA from PEM; FailedPrecondition (CA_INCOMPLETE) where the key is not its certificate's."""
        loaded = serialization.load_pem_private_key(key, None)
        cert = x509.load_pem_x509_certificate(certificate)
        if not isinstance(loaded, ec.EllipticCurvePrivateKey) or loaded.public_key() != cert.public_key():
            raise errors.FailedPrecondition("the CA's key is not the EC key of its certificate", reason="CA_INCOMPLETE")
        return cls(cert, loaded)

    def issue(
        self,
        name: str,
        public: ec.EllipticCurvePublicKey,
        *,
        identities: Iterable[str] = (),
        hosts: Iterable[str] = OWN_HOSTS,
        now: datetime,
        life: timedelta,
    ) -> x509.Certificate:
        """A leaf for both sides of TLS, which names these URIs and hosts and nothing else."""
        builder = (
            _builder(_name(name), self.certificate.subject, public, now, life)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
            )
            .add_extension(alt_names(identities, hosts), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        return builder.sign(self.key, hashes.SHA256())


def is_good(cert: x509.Certificate, ca: x509.Certificate, *, names: x509.SubjectAlternativeName, until: datetime) -> bool:
    """Whether a certificate is this CA's, says these names, and lasts beyond `until`."""
    issuer = cert.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    own = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    said = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return issuer == own and said == names and cert.not_valid_after_utc > until


def require_pair(certificate: bytes, key: bytes, ca: bytes) -> x509.Certificate:
    """The certificate of a PEM identity; InvalidArgument (TLS_INVALID) where its parts do not fit."""
    try:
        cert = x509.load_pem_x509_certificate(certificate)
        private = serialization.load_pem_private_key(key, None)
        x509.load_pem_x509_certificates(ca)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _unusable(f"they cannot be read: {str(error)[:100]}") from None
    if private.public_key() != cert.public_key():
        raise _unusable("the key is not the certificate's")
    return cert


def _unusable(why: str) -> errors.InvalidArgument:
    return errors.InvalidArgument(
        f"the TLS files cannot be used: {why}", reason="TLS_INVALID", help="Write all of ca, cert and key anew, as PEM."
    )


def _bad_request(why: str) -> errors.InvalidArgument:
    return errors.InvalidArgument(
        f"the certificate request is no good: {why}", reason="CSR_INVALID", violations={"csr": "must be PKCS #10, PEM, P-256"}
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(now + life)
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
