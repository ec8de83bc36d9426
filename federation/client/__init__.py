"""The SDK: `Client` speaks to a federation's catalog and to its gateways. Values of the core in and out, never messages."""

from federation.client.client import Client
from federation.client.values import Access, Entrance, Finding, Package, WhoAmI

__all__ = ["Access", "Client", "Entrance", "Finding", "Package", "WhoAmI"]
