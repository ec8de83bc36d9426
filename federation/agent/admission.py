"""The admission test of a site, as far as its agent can make it: store, gateway, compute, keys and disk, and what was found.

It says what it found and judges nothing but the single part; the catalog adds the clock and gives the grade.
"""

from __future__ import annotations

import shutil
import ssl
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from cryptography import x509

from federation import config, ports
from federation.core import admission, errors
from federation.core.admission import Finding
from federation.wire import handshake, tls

_SECONDS = 5.0
_GRADE_OF_KEYS = {"local": ("B", "keys lie in files of the site's own machine"), "memory": ("C", "keys are in memory alone")}


class Examiner:
    """Tests one site again whenever it is asked."""

    def __init__(
        self,
        settings: config.AgentSettings,
        *,
        store: ports.ObjectStore,
        compute: ports.Compute | None,
        identity: tls.Source,
    ) -> None:
        self._settings = settings
        self._store = store
        self._compute = compute
        self._identity = identity

    def examine(self, gateway: str, *, listening: bool) -> tuple[Finding, ...]:
        """All findings. The gateway's certificate is tried in memory until it is `listening`, and over the network then."""
        return (
            _found("store", lambda: _store(self._store)),
            _found("gateway_tls", lambda: self._gateway(gateway, listening=listening)),
            _found("compute", self._compute_found),
            self._keys(),
            admission.disk(_free_bytes(self._settings.state_dir)),
            Finding(check="version", grade="A", detail=metadata.version("dataset-federation")),
        )

    def _gateway(self, gateway: str, *, listening: bool) -> Finding:
        host, _, port = gateway.rpartition(":")
        host = host.strip("[]")
        client = ssl.create_default_context(cadata=self._identity.current().ca.decode())
        client.set_alpn_protocols(["h2"])
        cert = handshake.certificate(host, int(port), client, host, _SECONDS) if listening else self._in_memory(client, host)
        names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
        mine = f"/agents/{self._settings.site}"
        if not any(uri.startswith("spiffe://") and uri.endswith(mine) for uri in uris):
            return Finding(check="gateway_tls", grade=admission.REFUSED, detail=f"its certificate does not name {mine}")
        how = "answers with" if listening else "has"
        until = f"{cert.not_valid_after_utc:%Y-%m-%d}"
        return Finding(check="gateway_tls", grade="A", detail=f"{gateway} {how} a certificate of the CA, until {until}")

    def _in_memory(self, client: ssl.SSLContext, host: str) -> x509.Certificate:
        """The certificate that a client at the gateway would accept, by a handshake with the gateway's own files."""
        files = self._settings.tls
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(files.cert, files.key)
        up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
        asking = client.wrap_bio(down, up, server_hostname=host)
        answering = server.wrap_bio(up, down, server_side=True)
        for _ in range(10):
            over = [_step(side) for side in (asking, answering)]
            if all(over):
                break
        return x509.load_der_x509_certificate(asking.getpeercert(binary_form=True) or b"")

    def _compute_found(self) -> Finding:
        if self._compute is None:
            return Finding(check="compute", grade="A", detail="the site stores and runs nothing")
        return self._compute.examine()

    def _keys(self) -> Finding:
        kind = self._settings.keys.kind
        grade, detail = _GRADE_OF_KEYS.get(kind, ("A", f"KEKs never leave {kind}"))
        return Finding(check="keys", grade=grade, detail=detail)


def _found(check: str, look: Callable[[], Finding]) -> Finding:
    """What a test found, also where it could not be made: that keeps the site out."""
    try:
        return look()
    except (errors.FederationError, OSError, ValueError, x509.ExtensionNotFound) as error:
        return Finding(check=check, grade=admission.REFUSED, detail=f"{type(error).__name__}: {str(error)[:300]}")


def _store(store: ports.ObjectStore) -> Finding:
    store.probe()
    return Finding(check="store", grade="A", detail="conditional puts and ranges are honest")


def _step(side: ssl.SSLObject) -> bool:
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free
