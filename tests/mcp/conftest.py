"""The servers of the wire's tests, for these too."""

from tests.wire.conftest import certs, edge

__all__ = ["certs", "edge"]
