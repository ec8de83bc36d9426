"""SkyPilot's own optimizer behind JSON lines: runs in SkyPilot's environment, under `benchmarks.skypilot_peer`, never in ours.

One request a line on stdin, one answer a line on stdout. Nothing here reaches the network: who tries is refused and counted.
"""

import json
import os
import socket
import sys
import time

REFUSED = []


def refuse(*arguments, **_):
    REFUSED.append(str(arguments[-1]))
    raise OSError("this process may not reach the network")


socket.socket.connect = refuse
socket.getaddrinfo = refuse
# The answers have stdout for themselves; whatever SkyPilot prints goes to stderr.
ANSWERS = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)

import networkx as nx  # noqa: E402
import sky  # noqa: E402
from sky import check, clouds, optimizer  # noqa: E402
from sky.optimizer import Optimizer  # noqa: E402

EGRESS = Optimizer._egress_cost_or_time


class Node:
    """As much of a task as the solvers look at."""

    def __init__(self, name, sites):
        self.name = name
        self.resources = sites
        self.best_resources = None


def solve(request):
    """Its chain DP or its ILP on a problem whose costs are given, region pair by region pair."""
    costs, flows = request["tasks"], request["edges"]
    nodes = [Node(f"t{v}", [i for i, cost in enumerate(row) if cost is not None]) for v, row in enumerate(costs)]
    source, sink = Node(optimizer._DUMMY_SOURCE_NAME, [-1]), Node(optimizer._DUMMY_SINK_NAME, [-2])
    table = {(f"t{u}", f"t{v}"): matrix for u, v, matrix in flows}
    graph = nx.DiGraph()
    graph.add_nodes_from([source, *nodes, sink])
    graph.add_edges_from((nodes[u], nodes[v]) for u, v, _ in flows)
    for node in nodes:
        if not graph.in_degree(node):
            graph.add_edge(source, node)
    for node in nodes:
        if not graph.out_degree(node):
            graph.add_edge(node, sink)

    def egress(_, parent, at, node, to):
        matrix = table.get((parent.name, node.name))
        return 0.0 if matrix is None else matrix[at][to]

    Optimizer._egress_cost_or_time = staticmethod(egress)
    prices = {source: {-1: 0.0}, sink: {-2: 0.0}}
    prices |= {node: {i: costs[v][i] for i in node.resources} for v, node in enumerate(nodes)}
    order = list(nx.topological_sort(graph))
    began = time.perf_counter()
    if request["do"] == "dp":
        plan, objective = Optimizer._optimize_by_dp(order, prices)
    else:
        plan, objective = Optimizer._optimize_by_ilp(graph, order, prices)
    seconds = time.perf_counter() - began
    Optimizer._egress_cost_or_time = staticmethod(EGRESS)
    return {"objective": objective, "sites": [plan[node] for node in nodes], "seconds": seconds}


def place(request):
    """Its whole optimizer on jobs of one task each: where each would run."""
    placed = []
    enabled = [getattr(clouds, name)() for name in request["clouds"]]
    check.get_cached_enabled_clouds_or_refresh = lambda *_, **__: enabled
    for job in request["jobs"]:
        with sky.Dag() as dag:
            task = sky.Task(name="job")
            task.set_resources(sky.Resources(accelerators=job["accelerators"]))
            task.set_time_estimator(lambda _, hours=job["hours"]: hours * 3600)
            task.set_inputs(job["input"], job["input_gb"])
        began = time.perf_counter()
        Optimizer.optimize(dag, quiet=True)
        best = task.best_resources
        placed.append({"cloud": str(best.cloud).lower(), "region": best.region, "seconds": time.perf_counter() - began})
    return {"placed": placed}


def main():
    ways = {"dp": solve, "ilp": solve, "place": place, "version": lambda _: {"version": sky.__version__}}
    for line in sys.stdin:
        request = json.loads(line)
        answer = ways[request["do"]](request)
        ANSWERS.write(json.dumps({**answer, "refused": REFUSED}) + "\n")


if __name__ == "__main__":
    main()
