"""Dashboards and alerts ask for what processes really tell: each name, label and value of every expression, parsed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import promql_parser as promql
import pytest
import yaml
from google.rpc import code_pb2

from federation import metrics
from federation.core import decision, job, site, transfer
from federation.core.events import TABLES
from federation.wire import methods
from tests.infra import rendered

FOLDER = rendered.INFRA / "helm" / "federation" / "monitoring"
RUNBOOKS = (rendered.INFRA.parent / "docs" / "operations.md").read_text()
#: What Prometheus adds to each series.
OUTER = {"instance", "job", "namespace", "pod"}
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
RATES = {"rate", "increase", "irate"}
#: The values that a label can have, where they are known beforehand.
VALUES = {
    "state": {str(state) for each in (job.JobState, transfer.TransferState, site.SiteState) for state in each}
    | {"used", "idle"},
    "code": set(code_pb2.Code.keys()),
    "method": set(methods.TABLE),
    "role": {"server", "agent"},
    "table": set(TABLES),
    "outcome": {str(each) for each in decision.Outcome} | {"granted", "refused", "allowed", "denied"},
    "loop": {
        "reconcile",
        "hold leases",
        "heartbeat",
        "admission",
        "sweep",
        "certificate",
        *(f"carry {name}" for name in TABLES),
    },
}


class Series(NamedTuple):
    """One name that can be asked for: its labels, and whether it only grows."""

    labels: frozenset[str]
    grows: bool


def _exist() -> dict[str, Series]:
    found: dict[str, Series] = {}
    for process in (metrics.Server(), metrics.Agent()):
        for name, (kind, labels, _) in metrics.told(process).items():
            for suffix in SUFFIXES[kind]:
                more = {"le"} if suffix == "_bucket" else set()
                found[name + suffix] = Series(frozenset({*labels, *more}), kind != "gauge")
    return found


EXIST = _exist()


def _alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def _expressions() -> Iterator[tuple[str, str]]:
    for rule in _alerts():
        yield rule["alert"], rule["expr"]
    for file in sorted(FOLDER.glob("*.json")):
        for panel in json.loads(file.read_text())["panels"]:
            for target in panel["targets"]:
                yield f"{file.stem}: {panel['title']}", target["expr"]


EXPRESSIONS = list(_expressions())


def problems(text: str) -> list[str]:
    """What is wrong with an expression; [] for one that Prometheus takes and that asks for what exists."""
    try:
        return list(_problems(promql.parse(text), rated=False))
    except ValueError as error:
        return [f"it does not parse: {error}"]


def _problems(node: Any, *, rated: bool) -> Iterator[str]:
    match node:
        case promql.VectorSelector():
            yield from _selector(node, rated=rated)
        case promql.MatrixSelector():
            yield from _selector(node.vector_selector, rated=rated)
        case promql.AggregateExpr():
            inner = _labels(node.expr)
            if node.modifier is not None:
                yield from (f"nothing has the label {name}" for name in node.modifier.labels if name not in inner | OUTER)
            yield from _problems(node.expr, rated=rated)
        case promql.BinaryExpr():
            yield from _problems(node.lhs, rated=rated)
            yield from _problems(node.rhs, rated=rated)
        case promql.Call():
            for argument in node.args:
                yield from _problems(argument, rated=node.func.name in RATES)
        case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            yield from _problems(node.expr, rated=rated)


def _selector(node: Any, *, rated: bool) -> Iterator[str]:
    series = EXIST.get(node.name)
    if series is None:
        yield f"nothing tells {node.name}"
        return
    if rated != series.grows:
        yield f"{node.name} {'only grows, and is not rated' if series.grows else 'is a gauge, which has no rate'}"
    for matcher in node.matchers.matchers:
        if matcher.name not in series.labels | OUTER:
            yield f"{node.name} has no label {matcher.name}"
        known = VALUES.get(matcher.name)
        if known is not None and not any(re.fullmatch(matcher.value, value) for value in known):
            yield f"{matcher.name} is never {matcher.value}"
        if matcher.op in (promql.MatchOp.Equal, promql.MatchOp.Re) and not matcher.value:
            yield f"{matcher.name} is compared with nothing"


def _labels(node: Any) -> set[str]:  # noqa: PLR0911 - one answer for each kind of node
    """The labels that the result of an expression can have."""
    match node:
        case promql.VectorSelector():
            return set(EXIST[node.name].labels) if node.name in EXIST else set()
        case promql.MatrixSelector():
            return _labels(node.vector_selector)
        case promql.AggregateExpr():
            inner = _labels(node.expr)
            if str(node.op) in ("topk", "bottomk"):  # they choose among series and change none
                return inner
            return inner & set(node.modifier.labels) if node.modifier is not None else set()
        case promql.BinaryExpr():
            return _labels(node.lhs) | _labels(node.rhs)
        case promql.Call():
            return set().union(*map(_labels, node.args)) if node.args else set()
        case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            return _labels(node.expr)
        case _:
            return set()


@pytest.mark.parametrize(("where", "expression"), EXPRESSIONS, ids=range(len(EXPRESSIONS)))
def test_every_expression_asks_for_what_is_told(where: str, expression: str) -> None:
    """Names, labels and their values exist; what only grows is looked at as a rate, and nothing else is."""
    assert problems(expression) == [], where


@pytest.mark.parametrize(
    ("wrong", "because"),
    [
        ("federation_nonsense > 0", "nothing tells"),
        ('federation_jobs{dataset="x"}', "has no label"),
        ('federation_jobs{state="LOSING"}', "is never"),
        ("sum by (site) (federation_jobs)", "nothing has the label"),
        ("rate(federation_jobs[5m])", "is a gauge"),
        ("federation_egress_bytes_total > 1", "is not rated"),
        ("sum by (method) (rate(federation_rpc_seconds[5m]))", "nothing tells"),
        ("sum(rate(federation_jobs_moved_total[5m])", "does not parse"),
        ('rate(federation_rpc_handled_total{code="BROKEN"}[5m])', "is never"),
    ],
)
def test_the_check_itself_finds_what_is_wrong(wrong: str, because: str) -> None:
    """So that it is no test that cannot fail."""
    assert any(because in problem for problem in problems(wrong)), problems(wrong)


def test_every_metric_is_looked_at() -> None:
    """What nobody looks at need not be told: each is on a dashboard or in an alert."""
    text = " ".join(expression for _, expression in EXPRESSIONS)
    families = {name for process in (metrics.Server(), metrics.Agent()) for name in metrics.told(process)}
    assert {name for name in families if name not in text} == {"federation_erasures"}


@pytest.mark.parametrize("rule", _alerts(), ids=lambda rule: rule["alert"])
def test_every_alert_says_what_to_do(rule: dict[str, Any]) -> None:
    """A summary, how urgent it is, and a section of the runbook that its link leads to."""
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"]["summary"]
    path, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert (rendered.INFRA.parent / path).is_file()
    headings = {heading.lower(): heading for heading in re.findall(r"^### (\w+)$", RUNBOOKS, re.MULTILINE)}
    assert anchor in headings, f"no section for {rule['alert']}"
    assert rule["alert"].startswith(headings[anchor])
    for label in re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]):
        assert label in _labels(promql.parse(rule["expr"])) | OUTER


def test_every_section_about_an_alert_has_its_alert() -> None:
    """A runbook for an alert that is gone leads people astray."""
    sections = set(re.findall(r"^### (Federation\w+)$", RUNBOOKS, re.MULTILINE))
    links = {rule["annotations"]["runbook_url"].partition("#")[2] for rule in _alerts()}
    assert {name.lower() for name in sections} == links


def test_dashboards_are_whole() -> None:
    """Grafana loads them: unique ids, panels that do not overlap, one data source to choose."""
    seen: set[str] = set()
    for file in sorted(FOLDER.glob("*.json")):
        board = json.loads(file.read_text())
        assert board["uid"] not in seen
        seen.add(board["uid"])
        ids = [panel["id"] for panel in board["panels"]]
        assert len(ids) == len(set(ids))
        cells: set[tuple[int, int]] = set()
        for panel in board["panels"]:
            at = panel["gridPos"]
            own = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
            assert not own & cells, panel["title"]
            assert at["x"] + at["w"] <= 24
            cells |= own
            assert panel["datasource"]["uid"] == "${datasource}"
            for target in panel["targets"]:
                shown = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
                assert shown <= _labels(promql.parse(target["expr"])) | OUTER, panel["title"]


def test_the_chart_installs_what_the_files_say() -> None:
    """Rules and dashboards arrive as they are; each replica is scraped with a token, over TLS."""
    objects = rendered.render("federation", "monitoring.enabled=true")
    (rule,) = rendered.of_kind(objects, "PrometheusRule")
    assert rule["spec"] == yaml.safe_load((FOLDER / "alerts.yaml").read_text())
    (boards,) = (row for row in rendered.of_kind(objects, "ConfigMap") if "grafana_dashboard" in row["metadata"]["labels"])
    assert {name: json.loads(text) for name, text in boards["data"].items()} == {
        file.name: json.loads(file.read_text()) for file in FOLDER.glob("*.json")
    }
    for found in (objects, rendered.render("federation-site", "monitoring.enabled=true", "secrets.metrics=m")):
        (monitor,) = rendered.of_kind(found, "PodMonitor")
        (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
        assert set(endpoint) == {"port", "path", "scheme", "interval", "authorization", "tlsConfig"}
        assert (endpoint["scheme"], endpoint["path"]) == ("https", "/metrics")
        assert endpoint["authorization"]["credentials"]["key"] == "token"
        ports = {
            port["name"]
            for _, pod in rendered.pods(found)
            for row in pod["spec"]["containers"]
            for port in row.get("ports", ())
        }
        assert endpoint["port"] in ports


def test_nothing_is_monitored_unless_asked() -> None:
    """A cluster without the operator takes the charts."""
    for chart in ("federation", "federation-site"):
        assert {row["kind"] for row in rendered.render(chart)}.isdisjoint({"PodMonitor", "PrometheusRule"})


def test_readiness_and_liveness_are_two_things() -> None:
    """A server without its database is taken out of balance and not restarted."""
    (deployment,) = rendered.of_kind(rendered.render("federation"), "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["readinessProbe"]["httpGet"]["path"] == "/healthz"
    assert container["livenessProbe"]["httpGet"]["path"] == "/livez"


def test_the_page_lists_every_metric(tmp_path: Path) -> None:
    """`make metrics-docs` changes nothing."""
    page = rendered.INFRA.parent / "docs" / "operations.md"
    again = tmp_path / "operations.md"
    again.write_text(page.read_text())
    metrics.main(again)
    assert again.read_text() == page.read_text()
