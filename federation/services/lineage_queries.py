"""What lineage answers: what came from what, which models saw a version, what its erasure would cost, why a dataset is bound.

Ways are walked in the index (`lineage_index`); what is true of a name today is looked up in the catalog. Each answer says
whether it is complete, and at which position of the log it holds.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from federation import ports
from federation.core import dataset, errors, ids, job, lineage, pipeline, transfer
from federation.core.lineage_graph import FRONTIER_MAX, View, Walked
from federation.services import bindings, datasets, scan

DEPTH_DEFAULT, DEPTH_MAX = 10, 100
EDGES_DEFAULT, EDGES_MAX = 2_000, 50_000
#: For questions whose answer is short and whose walk may be long.
EDGES_SEARCHED = 200_000
READERS_MAX = 100
#: Models, or versions that came of something, that are told one by one; each is looked up in the catalog.
NAMED_MAX = 2_000
REASONS_MAX = 1_000

Expired = Callable[[], bool]


def never() -> bool:
    """For callers without a deadline: never out of time."""
    return False


# What came from what


def walk(
    tx: ports.Transaction,
    view: View,
    position: int,
    query: lineage.Query,
    *,
    continuation: str = "",
    expired: Expired = never,
) -> lineage.Graph:
    """Walks from a dataset (all its versions), a version, a run or a foreign node, in the record as of `position` or before.

    NotFound for a name that neither lineage nor the catalog knows; InvalidArgument (DEPTH_INVALID, EDGES_INVALID,
    POSITION_UNKNOWN, CONTINUATION_INVALID) for a question that cannot be.
    """
    query = _checked(query, position, continuation)
    root, nodes, runs = _start(tx, view, query.name)
    found = view.walk(nodes, runs, query, expired)
    edges = view.values(found.edges)
    told = query.skip + len(edges)
    return lineage.Graph(
        root=root,
        runs=tuple(fact for run in found.runs.tolist() if (fact := view.fact(run)) is not None),
        edges=edges,
        complete=found.complete,
        frontier=found.frontier,
        frontier_size=found.frontier_size,
        continuation="" if found.complete else _token(query, told),
        position=query.as_of_position,
        nodes=tuple(_infos(tx, {edge.node for edge in edges})),
    )


def _checked(query: lineage.Query, position: int, continuation: str = "") -> lineage.Query:
    """The query with its defaults, pinned to a position."""
    for field, value, most, reason in (
        ("depth", query.depth, DEPTH_MAX, "DEPTH_INVALID"),
        ("edges_max", query.edges_max, EDGES_MAX, "EDGES_INVALID"),
    ):
        if not 0 <= value <= most:
            raise errors.InvalidArgument(
                f"{field} is {value}", reason=reason, help=f"Use 1 to {most}.", violations={field: f"must be 1 to {most}"}
            )
    if not 0 <= query.as_of_position <= position:
        raise errors.InvalidArgument(
            f"the log has no position {query.as_of_position} yet",
            reason="POSITION_UNKNOWN",
            help=f"It has come to {position}.",
            violations={"as_of_position": f"must be 0 to {position}"},
        )
    whole = dataclasses.replace(
        query,
        depth=query.depth or DEPTH_DEFAULT,
        edges_max=query.edges_max or EDGES_DEFAULT,
        as_of_position=query.as_of_position or position,
    )
    return _continued(whole, position, continuation) if continuation else whole


def _start(tx: ports.Transaction, view: View, name: str) -> tuple[str, list[int], list[int]]:
    """The root as it will be called, and the nodes or runs that the walk begins with, by number."""
    run = view.run(name)
    if run >= 0:
        return name, [], [run]
    if lineage.is_run(name):
        if tx.get(job.Run, name) is None:
            raise errors.NotFound(f"run {name} does not exist", metadata={"run": name})
        return name, [], []
    if (foreign := view.node(name)) >= 0:
        return name, [foreign], []
    if lineage.node_kind(name) is not lineage.NodeKind.VERSION and "://" in name:
        raise errors.NotFound(f"lineage knows nothing of {name}", reason="NODE_UNKNOWN", metadata={"node": name})
    parsed, number = ids.dataset_or_version(name)
    if number is not None:
        version = ids.VersionName(parsed, number).short
        if view.node(version) < 0:
            datasets.get_version(tx, ids.VersionName(parsed, number))
        return version, _known(view, [version]), []
    stored = datasets.get_dataset(tx, parsed)
    return parsed.short, _known(view, lineage.versions_of(parsed, stored.latest_version)), []


def _known(view: View, names: Iterable[str]) -> list[int]:
    return [number for name in names if (number := view.node(name)) >= 0]


def _infos(tx: ports.Transaction, nodes: set[str]) -> Iterator[lineage.NodeInfo]:
    known: dict[str, dataset.Dataset | None] = {}
    for node in sorted(nodes):
        name = lineage.dataset_of(node)
        if not name:
            continue
        if name not in known:
            known[name] = tx.get(dataset.Dataset, name)
        stored = known[name]
        if stored is None or stored.delete_time is not None:
            yield lineage.NodeInfo(node=node, gone=True)
        else:
            yield lineage.NodeInfo(node=node, kind=str(stored.kind), residency=stored.residency)


def _token(query: lineage.Query, told: int) -> str:
    plain = json.dumps([query.as_of_position, told, _asked(query)], separators=(",", ":"))
    return base64.urlsafe_b64encode(plain.encode()).decode().rstrip("=")


def _continued(query: lineage.Query, position: int, token: str) -> lineage.Query:
    """The query where an earlier answer to it has stopped. A token opens nothing that could not be asked for without it."""
    try:
        at, told, asked = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (ValueError, binascii.Error):
        at = told = asked = None
    legal = isinstance(at, int) and isinstance(told, int) and 0 < at <= position and told >= 0
    if not legal or asked != _asked(query):
        raise errors.InvalidArgument(
            "the continuation is not of this question",
            reason="CONTINUATION_INVALID",
            help="Ask with the same name, direction and time as before; depth and number of edges may change.",
            violations={"continuation": "must be that of an answer to the same question"},
        )
    return dataclasses.replace(query, as_of_position=at, skip=told)


def _asked(query: lineage.Query) -> str:
    """What must stay the same between one answer and its continuation."""
    parts = [query.name, str(query.direction), query.as_of_time.isoformat() if query.as_of_time else ""]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


# Ways downstream


class _Downstream:
    """Everything downstream of some nodes: for each node the run that made it, and the shortest way there."""

    def __init__(self, view: View, roots: list[int], found: Walked) -> None:
        self._view = view
        self.maker: dict[int, int] = {}
        self.hops: dict[int, int] = dict.fromkeys(roots, 0)
        self._entered: dict[int, tuple[int, int]] = {}
        out, node, run = (view.column(name)[found.edges].tolist() for name in ("out", "node", "run"))
        for edge, is_out, at, through in zip(found.edges.tolist(), out, node, run, strict=True):
            if not is_out:
                self._entered.setdefault(through, (at, edge))
            elif through in self._entered and at not in self.hops:
                self.maker[at] = through
                self.hops[at] = self.hops[self._entered[through][0]] + 1

    def nearest(self) -> list[int]:
        """The nodes downstream of the roots, nearest first."""
        found = [node for node, hops in self.hops.items() if hops]
        return sorted(found, key=lambda node: (self.hops[node], self._view.node_name(node)))

    def way(self, node: int) -> tuple[list[str], int]:
        """Names from the root to a node, runs between them, and the edge by which the first of those runs read the root."""
        names, first = [self._view.node_name(node)], -1
        while node in self.maker:
            run = self.maker[node]
            node, first = self._entered[run]
            names += [self._view.run_name(run), self._view.node_name(node)]
        return names[::-1], first

    def inputs(self, run: int) -> list[str]:
        """What a run read."""
        edges, _ = self._view.by_run.of(np.array([2 * run], np.int32))
        return [self._view.node_name(node) for node in self._view.column("node")[edges].tolist()]


def _downstream(view: View, roots: list[int], query: lineage.Query, expired: Expired) -> tuple[_Downstream, Walked]:
    wide = dataclasses.replace(query, direction=lineage.Direction.DOWNSTREAM, depth=DEPTH_MAX, edges_max=EDGES_SEARCHED)
    found = view.walk(roots, [], wide, expired)
    return _Downstream(view, roots, found), found


def models(
    tx: ports.Transaction, view: View, position: int, query: lineage.Query, *, expired: Expired = never
) -> lineage.Sightings:
    """Which models saw a dataset, a version or a foreign node: every version of kind MODEL that came of it, nearest first."""
    query = _checked(query, position)
    root, roots, _ = _start(tx, view, query.name)
    down, found = _downstream(view, roots, query, expired)
    saw = list(_models(tx, view, down))
    return lineage.Sightings(
        root=root,
        models=tuple(_sighting(tx, view, down, node, stored) for node, stored in saw[:NAMED_MAX]),
        complete=found.complete and len(saw) <= NAMED_MAX,
        frontier=found.frontier or tuple(view.node_name(node) for node, _ in saw[NAMED_MAX:][:FRONTIER_MAX]),
        position=query.as_of_position,
    )


def _models(tx: ports.Transaction, view: View, down: _Downstream) -> Iterator[tuple[int, dataset.Dataset]]:
    """The nodes that are of models, nearest first."""
    seen: dict[str, dataset.Dataset | None] = {}
    for node in down.nearest():
        of = lineage.dataset_of(view.node_name(node))
        if of and of not in seen:
            seen[of] = tx.get(dataset.Dataset, of)
        stored = seen.get(of)
        if stored is not None and stored.kind is dataset.DatasetKind.MODEL:
            yield node, stored


def _sighting(tx: ports.Transaction, view: View, down: _Downstream, node: int, stored: dataset.Dataset) -> lineage.Sighting:
    way, first = down.way(node)
    (edge,) = view.values(np.array([first], np.int32))
    fact = view.fact(down.maker[node])
    sites, _ = _replicas(tx, way[-1])
    return lineage.Sighting(
        model=way[-1],
        seen=way[0],
        hops=down.hops[node],
        way=tuple(way),
        columns=edge.columns,
        time=fact.end_time if fact else edge.time,
        sites=sites,
        gone=stored.delete_time is not None,
    )


# What an erasure would cost


def impact(tx: ports.Transaction, view: View, position: int, name: str, *, expired: Expired = never) -> lineage.Impact:
    """What would be lost if a version were erased: its replicas, what came of it, and who reads it. NotFound without it."""
    version = datasets.get_version(tx, ids.version(name))
    of, root = datasets.get_dataset(tx, version.name.dataset), version.name.short
    query = _checked(lineage.Query(name=root), position)
    roots = _known(view, [root])
    down, found = _downstream(view, roots, query, expired)
    sites, size = _replicas(tx, root)
    came = down.nearest()
    affected = tuple(_affected(tx, view, down, came[:NAMED_MAX], root))
    newest = version.number == of.latest_version
    others = [each for each in lineage.versions_of(of.name, of.latest_version) if each != root and _replicas(tx, each)[0]]
    rules = (rule.rule for rule in scan.every(tx, transfer.ReplicationRule, where={"dataset": of.name.short}) if newest)
    return lineage.Impact(
        root=root,
        sites=sites,
        bytes=size,
        newest=newest,
        others=tuple(others),
        affected=affected,
        affected_bytes=sum(each.bytes for each in affected),
        readers=(*_live_readers(tx, version.name, newest=newest), *_past_readers(view, roots)),
        rules=tuple(rules),
        complete=found.complete and len(came) <= NAMED_MAX,
        frontier=found.frontier or tuple(view.node_name(node) for node in came[NAMED_MAX:][:FRONTIER_MAX]),
        position=query.as_of_position,
    )


def _affected(tx: ports.Transaction, view: View, down: _Downstream, came: list[int], root: str) -> Iterator[lineage.Affected]:
    there: dict[str, bool] = {}
    tainted = {view.node_name(node) for node in down.hops}

    def usable(node: str) -> bool:
        if node not in there:
            there[node] = node != root and (not lineage.dataset_of(node) or bool(_replicas(tx, node)[0]))
        return there[node]

    for node in came:
        name, run = view.node_name(node), down.maker[node]
        of = lineage.dataset_of(name)
        stored = tx.get(dataset.Dataset, of) if of else None
        inputs = down.inputs(run)
        sites, size = _replicas(tx, name)
        yield lineage.Affected(
            node=name,
            kind=str(stored.kind) if stored else "",
            hops=down.hops[node],
            run=view.run_name(run),
            sites=sites,
            bytes=size,
            newest=stored is not None and name == f"{of}@{stored.latest_version}",
            others=tuple(sorted(each for each in inputs if each not in tainted)),
            remakable=all(usable(each) for each in inputs),
            gone=bool(of) and (stored is None or stored.delete_time is not None),
        )


def _replicas(tx: ports.Transaction, node: str) -> tuple[tuple[str, ...], int]:
    """The sites that have a version today, and the bytes of all its replicas together."""
    name = ids.version(node) if lineage.dataset_of(node) else None
    if name is None:
        return (), 0
    where = {"version": str(name.number), "state": str(dataset.ReplicaState.AVAILABLE)}
    rows = tuple(scan.every(tx, dataset.Replica, parent=name.dataset.short, where=where))
    return tuple(sorted(row.site for row in rows)), sum(row.object_bytes for row in rows)


def _live_readers(tx: ports.Transaction, version: ids.VersionName, *, newest: bool) -> Iterator[lineage.Reader]:
    """Jobs and pipelines under way that read a version, or will."""
    for state in job.JobState:
        for each in scan.every(tx, job.Job, where={"state": str(state)}) if not state.terminal else ():
            if any(_reads(spec, version, newest=newest) for spec in each.request.inputs):
                yield _reader(f"jobs/{each.job}", each.request.label, each.state, pinned=True)
    for flow in scan.every(tx, pipeline.Pipeline, where={"live": "1"}):
        specs = [spec for task in flow.request.tasks for spec in task.request.inputs if _reads(spec, version, newest=newest)]
        if specs:
            yield _reader(f"pipelines/{flow.pipeline}", flow.request.label, flow.state, pinned=any(s.version for s in specs))


def _reads(spec: job.InputSpec, version: ids.VersionName, *, newest: bool) -> bool:
    if not spec.dataset or ids.dataset(spec.dataset) != version.dataset:
        return False
    return spec.version == version.number or (newest and not spec.version)


def _reader(name: str, label: str, state: object, *, pinned: bool) -> lineage.Reader:
    return lineage.Reader(name=name, label=label, live=True, state=str(state), pinned=pinned)


def _past_readers(view: View, roots: list[int]) -> Iterator[lineage.Reader]:
    """Who has read it and may want to again: the newest run of each label."""
    edges, _ = view.by_node.of(2 * np.array(roots, np.int32))
    newest: dict[str, lineage.RunFact] = {}
    for run in dict.fromkeys(view.column("run")[edges].tolist()):
        fact = view.fact(run)
        if fact is not None:
            newest[fact.label or fact.run] = fact
    for fact in list(newest.values())[-READERS_MAX:]:
        yield lineage.Reader(name=fact.run, label=fact.label, live=False, state=fact.state)


# Why a dataset is bound


def why(tx: ports.Transaction, name: str) -> lineage.Why:
    """Why a dataset has its residency: what was declared, inherited and released, from it to where that began.

    Told from what was kept as it happened, so a job that failed after it had bound its output is told too.
    """
    parsed, _ = ids.dataset_or_version(name)
    root = datasets.get_dataset(tx, parsed)
    reasons: dict[str, lineage.Reason] = {}
    level = [parsed.short]
    hops = 0
    while level and len(reasons) < REASONS_MAX:
        following: dict[str, None] = {}
        for each in level:
            reasons[each] = _reason(tx, each, hops)
            for fact in reasons[each].facts:
                following |= dict.fromkeys(binding.dataset for binding in fact.inputs)
        level = [each for each in following if each not in reasons]
        hops += 1
    return lineage.Why(root=parsed.short, residency=root.residency, reasons=tuple(reasons.values()), complete=not level)


def _reason(tx: ports.Transaction, name: str, hops: int) -> lineage.Reason:
    stored = tx.get(dataset.Dataset, name)
    return lineage.Reason(
        dataset=name,
        residency=stored.residency if stored else (),
        hops=hops,
        facts=bindings.facts(tx, ids.dataset(name)),
        gone=stored is None or stored.delete_time is not None,
    )
