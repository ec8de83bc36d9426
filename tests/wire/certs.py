"""A throwaway CA with a server's and some agents' certificates, made once for a test session."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from federation import config
from federation.local import pki
from federation.wire import tls

SITES = ("eu-1", "us-1")


@dataclass(frozen=True, kw_only=True)
class Certs:
    """Where they lie, and what a client needs of them."""

    layout: config.Layout

    @property
    def ca(self) -> bytes:
        return self.layout.ca.read_bytes()

    def agent(self, site: str) -> tls.Tls:
        """The identity of a site's agent."""
        files = self.layout.agent_tls(site)
        return tls.Tls(files.ca.read_bytes(), files.cert.read_bytes(), files.key.read_bytes())

    def server(self) -> tls.Tls:
        """The server's own identity: signed by the CA, and no agent's."""
        files = self.layout.server_tls()
        return tls.Tls(files.ca.read_bytes(), files.cert.read_bytes(), files.key.read_bytes())


def make(folder: Path) -> Certs:
    """Makes them in a folder."""
    layout = config.Layout(root=folder)
    pki.ensure(layout, SITES)
    return Certs(layout=layout)
