"""Balancing and retries: which servers a channel calls, and what happens when one fails, as gRPC's own service config.

Calls go to the servers in turn (`round_robin`), to those alone that say of themselves that they serve (`grpc.health.v1`).
A call that found nobody is tried again at once, a few times; whoever wants to wait longer does so on top of it. Streams are
not: with gRPC's own retries one fell silent for ever, past its deadline too, when its server was killed. Who opens a stream
tries again by itself.
"""

from __future__ import annotations

import ipaddress
import json
import socket
from collections.abc import Iterable
from typing import Any

from federation.core import errors
from federation.wire import methods

Options = tuple[tuple[str, Any], ...]

#: At once means: within a second in all, and no more of it while most calls fail.
_RETRY = {
    "maxAttempts": 4,
    "initialBackoff": "0.05s",
    "maxBackoff": "0.5s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
_THROTTLE = {"maxTokens": 100, "tokenRatio": 0.1}


def settings(target: str, repeatable: Iterable[str] = ()) -> tuple[str, Options]:
    """What gRPC is to connect to, and with which options, for `host:port`, or several of them with commas between.

    One name may stand for many servers: it is looked up, and again when they fail. Of several, each is looked up once, here,
    and all of them must prove to be the first one's host. `NAME@HOST:PORT` is one that must prove to be NAME (`inside`). Calls
    of the services that are `repeatable` are tried again.
    """
    name, _, place = target.rpartition("@")
    several = place.split(",")
    if len(several) == 1:
        own = _proving(name) if name else ()
        return place, (*own, *_service_config(repeatable, balanced=not _is_address(place)))
    family, places = _looked_up(several)
    return f"{family}:{','.join(places)}", (*_proving(host(place)), *_service_config(repeatable, balanced=True))


def inside(place: str, known: str) -> str:
    """The target of a server that others know by the address `known`, reached at another `place` (`host:port`)."""
    return f"{host(known)}@{place}"


def _proving(name: str) -> Options:
    return ("grpc.ssl_target_name_override", name), ("grpc.default_authority", name)


def _service_config(services: Iterable[str], *, balanced: bool) -> Options:
    names = [{"service": service} for service in services]
    paths = (method.path[1:].split("/") for method in methods.TABLE.values() if method.shape != "unary_unary")
    streams = [{"service": service, "method": name} for service, name in paths if {"service": service} in names]
    made: dict[str, Any] = {}
    if balanced:
        made |= {"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}}
    if names:
        config = [{"name": names, "retryPolicy": _RETRY}, *([{"name": streams}] if streams else [])]
        made |= {"methodConfig": config, "retryThrottling": _THROTTLE}
    return (("grpc.service_config", json.dumps(made)),) if made else ()


def host(target: str) -> str:
    """Whom the servers of a target prove to be: its first one's host."""
    return _host(target.partition(",")[0])


def _host(one: str) -> str:
    return one.rpartition(":")[0].strip("[]")


def _is_address(one: str) -> bool:
    try:
        ipaddress.ip_address(_host(one))
    except ValueError:
        return False
    return True


def _looked_up(several: Iterable[str]) -> tuple[str, tuple[str, ...]]:
    """`ipv4` or `ipv6`, and the places of that family; a name that is not known now is left out, as long as another is."""
    found: dict[str, list[str]] = {"ipv4": [], "ipv6": []}
    for one in several:
        port = one.rpartition(":")[2]
        try:
            rows = socket.getaddrinfo(_host(one), int(port), type=socket.SOCK_STREAM)
        except OSError:
            continue
        for row in rows:
            if row[0] == socket.AF_INET6:
                found["ipv6"].append(f"[{row[4][0]}]:{port}")
            else:
                found["ipv4"].append(f"{row[4][0]}:{port}")
    for family, places in found.items():
        if places:
            return family, tuple(dict.fromkeys(places))
    raise errors.Unavailable(
        f"none of {', '.join(map(_host, several))} can be found by its name",
        reason="HOST_UNKNOWN",
        help="Check the addresses, and the network.",
    )
