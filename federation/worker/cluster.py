"""The connection of a run inside its Ray cluster: its launcher puts it into Ray's key-value store, its workers take it out.

`python -m federation.worker.cluster` puts the connection that comes on its standard input, in a process of its own: Ray costs
a second and a hundred megabytes, which a launcher need not have for as long as the job runs.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from federation import config
from federation.core import errors
from federation.worker import environment

_NAMESPACE = b"federation"
_ADDRESS = "RAY_ADDRESS"
_WAIT_SECONDS = 30


def find(run: str) -> environment.Connection:
    """The connection of the run whose Ray worker this is; waits a little for a launcher that is just putting it there."""
    kv = _worker_store()
    deadline = time.monotonic() + _WAIT_SECONDS
    while True:
        value = kv.internal_kv_get(_key(run), _NAMESPACE) if kv is not None else None
        if value is not None:
            return environment.from_json(value.decode())
        if kv is None or time.monotonic() > deadline:
            raise errors.FailedPrecondition(
                f"this process belongs to {run} but has no way to its gateway",
                reason="NOT_IN_A_JOB",
                help="Use `federation` in the entrypoint itself or in Ray tasks and actors of the job.",
            )
        time.sleep(0.2)


def put(connection: environment.Connection) -> None:
    """Puts the connection where workers of the cluster at RAY_ADDRESS find it."""
    _launcher_store().internal_kv_put(_key(connection.run), connection.to_json().encode(), True, _NAMESPACE)


def present() -> bool:
    """Whether this process was started by a Ray cluster."""
    return bool(config.environment().get(_ADDRESS))


def _key(run: str) -> bytes:
    return b"connection/" + run.encode()


def _worker_store() -> Any:
    """Ray's store as an initialised worker has it; None in any other process."""
    if "ray" not in sys.modules:
        return None
    from ray.experimental import internal_kv  # noqa: PLC0415

    return internal_kv.internal_kv_get_gcs_client()  # type: ignore[no-untyped-call, unused-ignore]


def _launcher_store() -> Any:
    from ray._raylet import GcsClient  # type: ignore[attr-defined, unused-ignore]  # noqa: PLC0415

    return GcsClient(address=environment.required(config.environment(), _ADDRESS))


if __name__ == "__main__":
    put(environment.from_json(sys.stdin.read()))
