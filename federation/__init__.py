"""Sends the job to the data. `Client` speaks to a federation; inside a job, `inputs` and `outputs` are the job's datasets."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from federation.client import AsyncClient, Client
    from federation.client.connect import connect, connect_async
    from federation.core import errors

__all__ = ["AsyncClient", "Client", "connect", "connect_async", "errors", "filesystem", "inputs", "outputs"]

#: Loaded at their first use: `import federation` costs nothing, and a job that only reads needs no client.
_WHERE = {
    "AsyncClient": "federation.client",
    "Client": "federation.client",
    "connect": "federation.client.connect",
    "connect_async": "federation.client.connect",
    "errors": "federation.core",
    "filesystem": "federation.worker.session",
    "inputs": "federation.worker.session",
    "outputs": "federation.worker.session",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = importlib.import_module(_WHERE[name])
    return importlib.import_module(f"{_WHERE[name]}.{name}") if name == "errors" else getattr(found, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
