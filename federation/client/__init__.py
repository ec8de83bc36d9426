"""The SDK: `Client`, and `AsyncClient` on an event loop, speak to a federation's catalog and to its gateways.

Values of the core in and out, never messages.
"""

from federation.client.aio import AsyncClient
from federation.client.client import Client
from federation.client.values import Access, Entrance, Finding, Package, WhoAmI

__all__ = ["Access", "AsyncClient", "Client", "Entrance", "Finding", "Package", "WhoAmI"]
