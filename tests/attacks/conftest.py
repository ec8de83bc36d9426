"""The federations and servers that attacks are tried on: those of the agents' and of the wire's tests."""

from __future__ import annotations

from tests.agent.conftest import certs, fed, held, shared
from tests.wire.conftest import edge, shared_edge

__all__ = ["certs", "edge", "fed", "held", "shared", "shared_edge"]
