"""The charts as Helm renders them, and what their network policies let through."""

from __future__ import annotations

import functools
import subprocess
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

#: Kinds of others' operators, whose fields have checks of their own.
CUSTOM = {"RayCluster", "PodMonitor", "PrometheusRule"}
INFRA = Path(__file__).parents[2] / "infra"
Object = dict[str, Any]


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Helm's own program, which a package of the development environment carries."""
    program = Path(sysconfig.get_path("scripts")) / "helm"
    return subprocess.run([str(program), *arguments], capture_output=True, text=True, timeout=60, check=False)


@functools.cache
def render(chart: str, *settings: str) -> tuple[Object, ...]:
    """The objects of a chart's release `eu` under settings like `ray.enabled=false`."""
    done = helm("template", "eu", str(INFRA / "helm" / chart), *(word for row in settings for word in ("--set", row)))
    assert done.returncode == 0, done.stderr
    return tuple(row for row in yaml.safe_load_all(done.stdout) if row)


def of_kind(objects: tuple[Object, ...], kind: str) -> list[Object]:
    """Those of one kind."""
    return [row for row in objects if row["kind"] == kind]


def pods(objects: tuple[Object, ...]) -> Iterator[tuple[str, Object]]:
    """The template of every pod that the objects make, by a name to call it by."""
    for row in objects:
        name = f"{row['kind']} {row['metadata']['name']}"
        if row["kind"] in ("Deployment", "StatefulSet"):
            yield name, row["spec"]["template"]
        elif row["kind"] == "RayCluster":
            yield f"{name} head", row["spec"]["headGroupSpec"]["template"]
            for group in row["spec"]["workerGroupSpecs"]:
                yield f"{name} {group['groupName']}", group["template"]


def matches(selector: Object, labels: Mapping[str, str]) -> bool:
    """Whether a label selector without expressions takes a pod; an empty one takes each."""
    assert set(selector) <= {"matchLabels"}, "the charts use no expressions"
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


def lets_in(policies: list[Object], source: Mapping[str, str], target: Mapping[str, str], port: int | str) -> bool:
    """Whether the policies let a pod of this namespace call a port of another: by the rules of NetworkPolicy, ingress side."""
    chosen = [row["spec"] for row in policies if matches(row["spec"]["podSelector"], target)]
    if not any("Ingress" in spec["policyTypes"] for spec in chosen):
        return True
    return any(
        (not rule.get("ports") or any(row["port"] == port for row in rule["ports"]))
        and (not rule.get("from") or any(_takes(peer, source) for peer in rule["from"]))
        for spec in chosen
        for rule in spec.get("ingress", ())
    )


def lets_out(policies: list[Object], source: Mapping[str, str], target: Mapping[str, str], port: int) -> bool:
    """The same for the egress side. Blocks of addresses count as reaching nobody: pods are named by their labels."""
    chosen = [row["spec"] for row in policies if matches(row["spec"]["podSelector"], source)]
    if not any("Egress" in spec["policyTypes"] for spec in chosen):
        return True
    return any(
        (not rule.get("ports") or any(row["port"] == port for row in rule["ports"]))
        and (not rule.get("to") or any(_takes(peer, target) for peer in rule["to"]))
        for spec in chosen
        for rule in spec.get("egress", ())
    )


def _takes(peer: Object, labels: Mapping[str, str]) -> bool:
    if "ipBlock" in peer:
        return False
    return matches(peer.get("podSelector", {}), labels)
