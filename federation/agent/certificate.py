"""A site's own certificate: asked for with a join token, and renewed before it ends. The key is made here and never leaves."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from cryptography import x509

from federation import config
from federation.core import errors
from federation.crypto import certificates

#: A certificate is renewed when less than this share of its life is left.
_SHARE = 1 / 3


class Signer(Protocol):
    """Who signs for a site that has a certificate: the catalog."""

    def renew_certificate(self, csr: bytes) -> tuple[bytes, bytes]: ...


def renew(files: config.TlsFiles, signer: Signer, now: datetime) -> bool:
    """Puts a new certificate and key in place where the old one will end soon; whether it did.

    A certificate that another CA has made is left to whoever looks after that.
    """
    cert = x509.load_pem_x509_certificate(files.cert.read_bytes())
    life = cert.not_valid_after_utc - cert.not_valid_before_utc
    if cert.not_valid_after_utc - now > life * _SHARE:
        return False
    key = certificates.new_key()
    try:
        signed, ca = signer.renew_certificate(certificates.request(key))
    except errors.FailedPrecondition as error:
        if error.reason == "CA_ELSEWHERE":
            return False
        raise
    # The CAs, too, of which there are two while one takes the other's place: who tells them was known by the old one.
    write(files, certificates.key_pem(key), signed, ca if ca != files.ca.read_bytes() else b"")
    return True


def write(files: config.TlsFiles, key: bytes, cert: bytes, ca: bytes = b"") -> None:
    """Puts the files in place, each whole; between them whoever reads keeps what it had."""
    if ca:
        config.write_secret(files.ca, ca)
    config.write_secret(files.key, key)
    config.write_secret(files.cert, cert)
