"""Who a site is to others: its signing key, its sealing key, and a secret that its tickets and tokens are made from.

All of it comes from the site's key connector, so that it outlives the agent's state folder and is kept where the KEKs are.
"""

from __future__ import annotations

import base64
import hmac
from dataclasses import dataclass, field

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from federation import ports
from federation.crypto import canonical, signing


@dataclass(frozen=True, kw_only=True)
class Identity:
    """A site's own keys. `repr` shows nothing of them."""

    signing_private: bytes = field(repr=False)
    sealing_private: bytes = field(repr=False)
    sealing_public: bytes
    secret: bytes = field(repr=False)

    @classmethod
    def of(cls, keys: ports.KeyConnector) -> Identity:
        """The identity that a site's key connector holds."""
        signing_private = keys.signing_key()
        sealing_private, sealing_public = keys.sealing_pair()
        secret = HKDF(hashes.SHA256(), 32, salt=None, info=b"fed/run-tokens/v1").derive(signing_private)
        return cls(
            signing_private=signing_private, sealing_private=sealing_private, sealing_public=sealing_public, secret=secret
        )

    @property
    def signing_public(self) -> str:
        """The public half of the signing key, hex."""
        return signing.public_hex(self.signing_private)

    def ticket(self, run: str) -> str:
        """The one-time ticket of a run: always the same, so that submitting twice is submitting once."""
        return self._derive("ticket", run)

    def token(self, run: str, nonce: str) -> str:
        """The token that a run's ticket is exchanged for under a nonce."""
        return self._derive("token", run, nonce)

    def _derive(self, *parts: str) -> str:
        mac = hmac.digest(self.secret, canonical.join(*parts), "sha256")
        return "fed_" + base64.urlsafe_b64encode(mac).rstrip(b"=").decode()
