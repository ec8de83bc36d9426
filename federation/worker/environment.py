"""How code inside a job finds its site's gateway: the connection, and the names under which it travels to where the code runs.

The driver has it in its environment, put there by the launcher; the job's Ray workers find it in the cluster's own key-value
store, under the run. Both are inside one trust domain. It is never in a runtime_env, which Ray shows and logs.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from federation.core import errors
from federation.wire.gateway import GatewayClient

GATEWAY = "FED_GATEWAY"
CA = "FED_CA"
RUN = "FED_RUN"
TICKET = "FED_TICKET"
TOKEN = "FED_TOKEN"  # noqa: S105 - the name of a variable
BINDINGS = "FED_BINDINGS"
LOG_BYTES_MAX = "FED_LOG_BYTES_MAX"
TRACEPARENT = "FED_TRACEPARENT"


@dataclass(frozen=True, kw_only=True)
class Binding:
    """A dataset under the alias that the job has for it. `version` is 0 for an output.

    `column_classes` are those that the job reads of an input beside `default`; of an output, those that it is sealed by, as
    `core.columns.parse` reads them.
    """

    alias: str
    dataset: str
    version: int = 0
    column_classes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Connection:
    """A run's way to its gateway. Its repr shows nothing secret; its pickle and `to_json` hold the token.

    `traceparent` is the span below which the run's processes trace what they do, '' for none.
    """

    gateway: str
    run: str
    ca: bytes = field(repr=False)
    token: str = field(repr=False)
    inputs: tuple[Binding, ...] = ()
    outputs: tuple[Binding, ...] = ()
    traceparent: str = ""

    def client(self) -> GatewayClient:
        """A client that speaks for the run."""
        return GatewayClient(self.gateway, self.ca, token=self.token)

    def variables(self) -> dict[str, str]:
        """The environment in which `of` finds it again."""
        traced = {TRACEPARENT: self.traceparent} if self.traceparent else {}
        return traced | {
            GATEWAY: self.gateway,
            RUN: self.run,
            CA: base64.b64encode(self.ca).decode(),
            TOKEN: self.token,
            BINDINGS: json.dumps({"inputs": [asdict(b) for b in self.inputs], "outputs": [asdict(b) for b in self.outputs]}),
        }

    def to_json(self) -> str:
        return json.dumps(self.variables())


def of(variables: Mapping[str, str]) -> Connection | None:
    """The connection that those variables hold; None when they hold no token."""
    if not variables.get(TOKEN):
        return None
    bindings = json.loads(variables.get(BINDINGS) or "{}")
    return Connection(
        gateway=required(variables, GATEWAY),
        run=required(variables, RUN),
        ca=ca(variables),
        token=variables[TOKEN],
        inputs=tuple(_binding(b) for b in bindings.get("inputs", ())),
        outputs=tuple(_binding(b) for b in bindings.get("outputs", ())),
        traceparent=variables.get(TRACEPARENT, ""),
    )


def _binding(told: dict[str, Any]) -> Binding:
    return Binding(**told | {"column_classes": tuple(told.get("column_classes", ()))})


def from_json(text: str) -> Connection:
    """The connection of `to_json`."""
    found = of(json.loads(text))
    assert found is not None
    return found


def ca(variables: Mapping[str, str]) -> bytes:
    """The certificate authority of the gateway, PEM."""
    return base64.b64decode(required(variables, CA))


def required(variables: Mapping[str, str], name: str) -> str:
    """The value of a variable; FailedPrecondition (NOT_IN_A_JOB) where it is missing."""
    value = variables.get(name)
    if not value:
        raise errors.FailedPrecondition(
            f"{name} is not set: this process is not part of a job",
            reason="NOT_IN_A_JOB",
            help="`federation.inputs`, `federation.outputs` and fed:// work inside of jobs; submit one with `fed job submit`.",
        )
    return value
