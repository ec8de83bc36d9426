"""What came from what: facts of ended runs with the versions they read and made, and the walk over them, level by level."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from federation import ports
from federation.core import dataset, errors, ids, job, lineage, site
from federation.services import datasets, scan

DEPTH_DEFAULT = 10
DEPTH_MAX = 100
EDGES_MAX = 10_000


def record_run(
    tx: ports.Transaction, of: job.Job, run: job.Run, versions: tuple[tuple[str, dataset.Version], ...] = ()
) -> lineage.RunFact:
    """Keeps the outcome of a run that ended. Edges are kept for a run that succeeded: what failed made nothing of what it read.

    `versions` are what it committed, by alias.
    """
    place = tx.get(site.Site, run.site)
    fact = tx.insert(
        lineage.RunFact(
            run=run.run,
            job=of.job,
            attempt=run.attempt,
            label=of.request.label,
            kind=str(of.request.kind),
            site=run.site,
            region=place.region if place else "",
            principal=of.request.principal,
            state=str(run.state),
            reason=run.reason,
            start_time=run.start_time,
            end_time=tx.now,
        )
    )
    tx.emit("lineage.run", run.run, fact)
    if run.state is job.JobState.SUCCEEDED:
        for edge in (*_read(tx, of, fact), *(_made(fact, alias, version) for alias, version in versions)):
            stored = tx.insert(edge)
            tx.emit("lineage.edge", f"{stored.run}/{stored.direction}/{stored.alias}", stored)
    return fact


def _read(tx: ports.Transaction, of: job.Job, fact: lineage.RunFact) -> Iterator[lineage.Edge]:
    if of.request.kind is job.JobKind.INGEST:
        yield _edge(fact, "in", "source", of.request.ingest_from, site=fact.site, source=fact.region)
    chosen = of.plan.choice if of.plan else None
    for spec in chosen.inputs if chosen else ():
        name = ids.VersionName(ids.dataset(spec.dataset), spec.version)
        version = datasets.get_version(tx, name)
        yield _edge(
            fact,
            "in",
            spec.alias,
            name.short,
            site=spec.source_site,
            source=spec.source_region,
            digest=version.manifest_digest,
            size=version.object_bytes,
        )


def _made(fact: lineage.RunFact, alias: str, version: dataset.Version) -> lineage.Edge:
    return _edge(
        fact,
        "out",
        alias,
        version.name.short,
        site=fact.site,
        source=fact.region,
        digest=version.manifest_digest,
        size=version.object_bytes,
    )


def _edge(
    fact: lineage.RunFact,
    direction: str,
    alias: str,
    node: str,
    *,
    site: str,
    source: str,
    digest: str = "",
    size: int = 0,
) -> lineage.Edge:
    return lineage.Edge(
        run=fact.run,
        direction=direction,
        alias=alias,
        node=node,
        manifest_digest=digest,
        site=site,
        source_region=source,
        destination_region=fact.region,
        bytes=size,
        time=fact.end_time,
    )


# The walk


def walk(
    tx: ports.Transaction,
    name: str,
    direction: lineage.Direction = lineage.Direction.BOTH,
    depth: int = 0,
    *,
    edges_max: int = EDGES_MAX,
) -> lineage.Graph:
    """Walks from a dataset (all its versions), a version or a run; a hop leads through one run.

    `depth` is 1 to 100 hops, 0 for ten. What lies beyond it, or beyond `edges_max`, is told in `frontier`.
    NotFound for a name that is not there.
    """
    if not 0 <= depth <= DEPTH_MAX:
        raise errors.InvalidArgument(
            f"a depth of {depth} is not possible",
            reason="DEPTH_INVALID",
            help=f"Use 1 to {DEPTH_MAX}.",
            violations={"depth": f"must be 1 to {DEPTH_MAX}"},
        )
    root, nodes, runs = _start(tx, name)
    found = _Walk(tx, edges_max)
    up, down = lineage.Direction.UPSTREAM, lineage.Direction.DOWNSTREAM
    for way in (up, down) if direction is lineage.Direction.BOTH else (direction,):
        # Upstream one arrives at a run by what it made and leaves it by what it read; downstream the other way round.
        arrive, leave = ("out", "in") if way is up else ("in", "out")
        found.go(nodes, runs, arrive, leave, depth or DEPTH_DEFAULT)
    return found.graph(root)


def _start(tx: ports.Transaction, name: str) -> tuple[str, list[str], list[str]]:
    """The root as it will be called, and the nodes or runs that the walk begins with."""
    if "/runs/" in name:
        if tx.get(job.Run, name) is None:
            raise errors.NotFound(f"run {name} does not exist", metadata={"run": name})
        return name, [], [name]
    parsed, number = ids.dataset_or_version(name)
    if number is not None:
        version = ids.VersionName(parsed, number)
        datasets.get_version(tx, version)
        return version.short, [version.short], []
    stored = datasets.get_dataset(tx, parsed)
    return parsed.short, [f"{parsed.short}@{n}" for n in range(1, stored.latest_version + 1)], []


class _Walk:
    """One walk: what was seen, and how many edges may still be taken. Each node and run is expanded once in each direction."""

    def __init__(self, tx: ports.Transaction, edges_max: int) -> None:
        self._tx = tx
        self._left = edges_max
        self._runs: dict[str, lineage.RunFact] = {}
        self._edges: dict[tuple[str, str, str], lineage.Edge] = {}
        self._frontier: set[str] = set()

    def go(self, nodes: list[str], runs: list[str], arrive: str, leave: str, depth: int) -> None:
        """Walks one way: a level of nodes, the runs that touch them, the nodes on the runs' other side."""
        seen_nodes, seen_runs = set(nodes), set(runs)
        nodes = nodes + _fresh((edge.node for edge in self._leave(runs, leave)), seen_nodes) if runs else nodes
        hops = depth - 1 if runs else depth
        for _ in range(hops):
            runs = _fresh((edge.run for node in nodes for edge in self._take(node, arrive)), seen_runs)
            nodes = _fresh((edge.node for edge in self._leave(runs, leave)), seen_nodes)
            if not nodes:
                return
        self._frontier.update(node for node in nodes if self._more(node, arrive))

    def graph(self, root: str) -> lineage.Graph:
        """What was found, in a stable order."""
        return lineage.Graph(
            root=root,
            runs=tuple(self._runs[run] for run in sorted(self._runs)),
            edges=tuple(self._edges[key] for key in sorted(self._edges)),
            complete=not self._frontier,
            frontier=tuple(sorted(self._frontier)),
        )

    def _take(self, node: str, direction: str) -> Iterator[lineage.Edge]:
        """Edges of one node, as long as there is room for them."""
        for edge in scan.every(self._tx, lineage.Edge, where={"node": node, "direction": direction}):
            if not self._keep(edge):
                self._frontier.add(node)
                return
            yield edge

    def _leave(self, runs: Iterable[str], direction: str) -> Iterator[lineage.Edge]:
        """Edges on the other side of runs. A run whose edges find no room is told in the frontier itself."""
        for run in runs:
            fact = self._tx.get(lineage.RunFact, run)
            if fact is not None:
                self._runs[run] = fact
            for edge in scan.every(self._tx, lineage.Edge, parent=run, where={"direction": direction}):
                if not self._keep(edge):
                    self._frontier.add(run)
                    break
                yield edge

    def _keep(self, edge: lineage.Edge) -> bool:
        key = (edge.run, edge.direction, edge.alias)
        if key not in self._edges:
            if not self._left:
                return False
            self._left -= 1
            self._edges[key] = edge
        return True

    def _more(self, node: str, direction: str) -> bool:
        known = {edge.run for edge in self._edges.values() if (edge.node, edge.direction) == (node, direction)}
        beyond = scan.every(self._tx, lineage.Edge, where={"node": node, "direction": direction})
        return any(edge.run not in known for edge in beyond)


def _fresh(names: Iterable[str], seen: set[str]) -> list[str]:
    """Those that were not seen before, each once, in order; seen from now on."""
    fresh: list[str] = []
    for name in names:
        if name not in seen:
            seen.add(name)
            fresh.append(name)
    return fresh
