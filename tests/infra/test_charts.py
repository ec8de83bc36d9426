"""The Helm charts render what Kubernetes and KubeRay take, what our processes read, and what keeps Ray inside its site."""

from __future__ import annotations

import re
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from federation import config
from tests.infra import rendered

#: What others set: a registry of their own, machines of their own, where their traces go.
PLACE = ("nodeSelector.pool=fed", "tolerations[0].key=fed", "tolerations[0].operator=Exists")
VARIABLE = "env.OTEL_EXPORTER_OTLP_ENDPOINT=https://collector:4318"
OURS = ("imagePullSecrets[0].name=registry", *PLACE, VARIABLE)
CHARTS = {
    "federation": (
        (),
        ("secrets.tables=t", "tables.options.region=eu-central-1", "replicas=3", "service.type=LoadBalancer"),
        ("monitoring.enabled=true", *OURS),
    ),
    "federation-site": (
        (),
        ("ray.enabled=false", "secrets.storage=s"),
        ("ray.autoscaling=true", "ray.apiServer=10.0.0.1/32"),
        ("monitoring.enabled=true", "secrets.metrics=m", *OURS, *(f"ray.head.{row}" for row in PLACE), f"ray.{VARIABLE}"),
    ),
}
WAYS = [(chart, settings) for chart, ways in CHARTS.items() for settings in ways]
SITE = {"app.kubernetes.io/name": "federation-site", "app.kubernetes.io/instance": "eu"}
AGENT = {**SITE, "app.kubernetes.io/component": "agent"}
RAY = {**SITE, "app.kubernetes.io/component": "ray"}


@pytest.fixture(params=WAYS, ids=lambda way: f"{way[0]} {' '.join(way[1])}".strip())
def objects(request: pytest.FixtureRequest) -> tuple[rendered.Object, ...]:
    """What one chart renders under one set of values."""
    chart, settings = request.param
    return rendered.render(chart, *settings)


@pytest.mark.parametrize("release", ["1.29", "1.33"])
def test_kubernetes_takes_what_is_rendered(objects: tuple[rendered.Object, ...], release: str) -> None:
    """Strictly, by the schemas of an older and a newer release: no field that they do not know."""
    for row in objects:
        if row["kind"] not in rendered.CUSTOM:
            kubernetes_validate.validate(row, release, strict=True)


def test_pods_run_locked_down(objects: tuple[rendered.Object, ...]) -> None:
    """Not as root, without privileges, within limits of memory; only Ray writes to its own root: its image needs it."""
    for name, pod in rendered.pods(objects):
        assert pod["spec"]["securityContext"]["runAsNonRoot"], name
        assert pod["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in (*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]):
            locked = container["securityContext"]
            assert not locked["allowPrivilegeEscalation"], name
            assert locked["capabilities"] == {"drop": ["ALL"]}, name
            assert locked.get("readOnlyRootFilesystem") or "RayCluster" in name, name
            assert "memory" in container["resources"]["limits"], name


def test_what_is_mounted_is_there_and_what_is_selected_exists(objects: tuple[rendered.Object, ...]) -> None:
    """Each mount has its volume, each volume of ours its config map; each selector takes a pod of the release."""
    templates = dict(rendered.pods(objects))
    labels = [pod["metadata"]["labels"] for pod in templates.values()]
    maps = {row["metadata"]["name"] for row in rendered.of_kind(objects, "ConfigMap")}
    for pod in templates.values():
        volumes = {row["name"]: row for row in pod["spec"].get("volumes", ())}
        claims = {
            claim["metadata"]["name"]
            for row in rendered.of_kind(objects, "StatefulSet")
            for claim in row["spec"]["volumeClaimTemplates"]
        }
        for container in (*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]):
            assert {row["name"] for row in container["volumeMounts"]} <= {*volumes, *claims}
        assert {row["configMap"]["name"] for row in volumes.values() if "configMap" in row} <= maps
    for row in objects:
        spec = row.get("spec", {})
        selector = (
            {"matchLabels": spec["selector"]} if row["kind"] == "Service" else spec.get("selector", spec.get("podSelector"))
        )
        if selector is not None:
            assert any(rendered.matches(selector, found) for found in labels), row["metadata"]["name"]


def test_each_release_has_a_disruption_budget_and_probes(objects: tuple[rendered.Object, ...]) -> None:
    """A drain cannot take all servers, nor an agent unseen; a process that does not answer is seen."""
    assert rendered.of_kind(objects, "PodDisruptionBudget")
    for name, pod in rendered.pods(objects):
        if "RayCluster" not in name:
            (container,) = pod["spec"]["containers"]
            assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container), name


@pytest.mark.parametrize(("chart", "settings"), [way for way in WAYS if way[1][-1:] in ((VARIABLE,), (f"ray.{VARIABLE}",))])
def test_what_others_set_reaches_every_pod(chart: str, settings: tuple[str, ...]) -> None:
    """Pull secrets, variables and, but for Ray's workers, which have their own, node selectors and tolerations."""
    for name, pod in rendered.pods(rendered.render(chart, *settings)):
        spec = pod["spec"]
        assert spec["imagePullSecrets"] == [{"name": "registry"}], name
        variable = {"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "https://collector:4318"}
        assert all(variable in container["env"] for container in spec["containers"]), name
        if not name.endswith(" gpu"):
            assert spec["nodeSelector"] == {"pool": "fed"}, name
            assert spec["tolerations"] == [{"key": "fed", "operator": "Exists"}], name


@pytest.mark.parametrize(
    ("chart", "settings"),
    [
        ("federation", "replicas=many"),
        ("federation", "replicas=1"),  # with the usual minAvailable no node could ever be drained
        ("federation", "federation.server.listen=0.0.0.0:1"),  # what the chart says itself would win without a word
        ("federation", "env.a=b"),
        ("federation-site", "nonsense=1"),
        ("federation-site", "ray.head.affinity.x=y"),
    ],
)
def test_wrong_values_are_refused(chart: str, settings: str) -> None:
    """By the chart's own schema or its own words, before anything is installed."""
    done = rendered.helm("template", "eu", str(rendered.INFRA / "helm" / chart), "--set", settings)
    assert done.returncode != 0
    assert "values" in done.stderr


def test_a_gpu_without_a_type_is_refused() -> None:
    """Ray would take jobs for it that ask for any type, and the planner would have no price."""
    done = rendered.helm(
        "template", "eu", str(rendered.INFRA / "helm" / "federation-site"), "--set-json",
        'ray.workers=[{"name":"g","replicas":1,"maxReplicas":1,"cpus":1,"memory":"1Gi","gpus":1}]',
    )  # fmt: skip
    assert done.returncode != 0
    assert "gpuType" in done.stderr


# -- what the processes read --------------------------------------------------------------------------------------------------


def _file(objects: tuple[rendered.Object, ...], tmp_path: Path) -> config.FederationFile:
    """The federation file of a release, with the paths of its secrets where this test can put them."""
    (found,) = (row for row in rendered.of_kind(objects, "ConfigMap") if "federation.yaml" in row["data"])
    file = tmp_path / "federation.yaml"
    file.write_text(found["data"]["federation.yaml"].replace("/run/fed/", f"{tmp_path}/").replace("CHANGE-ME", "change-me"))
    return config.federation_file(file)


def test_the_server_reads_what_its_chart_writes(tmp_path: Path) -> None:
    """Database from its secret, tables on S3, TLS from the mounted files, one address for all who call."""
    (tmp_path / "database.url").touch(mode=0o600)
    (tmp_path / "database.url").write_text("postgresql+psycopg://fed:p@db/fed\n")
    settings = config.server(_file(rendered.render("federation"), tmp_path), tmp_path)
    assert settings.database_url == "postgresql+psycopg://fed:p@db/fed"
    assert settings.tables_url == "s3://change-me/federation"
    assert (settings.listen, settings.agents_listen, settings.http_listen) == ("0.0.0.0:7400", "0.0.0.0:7401", "0.0.0.0:7402")
    assert settings.tls.key == tmp_path / "tls" / "tls.key"


AGENTS = [(), ("ray.enabled=false",), ("secrets.metrics=m",)]


@pytest.mark.parametrize("settings", AGENTS, ids=["ray", "storage alone", "metrics"])
def test_an_agent_reads_what_its_chart_writes(tmp_path: Path, settings: tuple[str, ...]) -> None:
    """It finds its cluster by the name that KubeRay gives the head's service, with the token that head and workers have."""
    objects = rendered.render("federation-site", *settings)
    agent = config.agent(_file(objects, tmp_path), "change-me", tmp_path)
    assert agent.catalog == "federation.change-me:7401"
    assert agent.storage.kind == "s3"
    # Runs may go nowhere but to the agent's pod: what others call the gateway may lead out of the cluster and in again.
    (service,) = (row for row in rendered.of_kind(objects, "Service") if row["spec"]["selector"] == AGENT)
    assert agent.gateway_inside == f"{service['metadata']['name']}.default.svc:{service['spec']['ports'][0]['port']}"
    assert agent.http_listen == ("0.0.0.0:7412" if "secrets.metrics=m" in settings else "")
    clusters = rendered.of_kind(objects, "RayCluster")
    assert bool(agent.compute) == bool(clusters)
    for cluster in clusters:
        assert agent.compute
        assert agent.compute.address == f"http://{cluster['metadata']['name']}-head-svc:8265"
        assert agent.compute.token_file == tmp_path / "ray.token"


# -- the RayCluster, by the fields that KubeRay documents for ray.io/v1 -------------------------------------------------------

_CLUSTER = {"rayVersion", "enableInTreeAutoscaling", "headGroupSpec", "workerGroupSpecs", "autoscalerOptions", "suspend"}
_HEAD = {"serviceType", "rayStartParams", "template", "enableIngress", "headService"}
_GROUP = {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template", "numOfHosts", "scaleStrategy"}


@pytest.mark.parametrize("settings", [(), CHARTS["federation-site"][2]], ids=["fixed", "autoscaling"])
def test_kuberay_takes_the_cluster(settings: tuple[str, ...]) -> None:
    """Documented fields alone, parameters as texts, Ray's container first, a pod that Kubernetes takes, GPUs asked for once."""
    (cluster,) = rendered.of_kind(rendered.render("federation-site", *settings), "RayCluster")
    assert cluster["apiVersion"] == "ray.io/v1"
    spec = cluster["spec"]
    assert set(spec) <= _CLUSTER
    assert set(spec["headGroupSpec"]) <= _HEAD
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    for group in spec["workerGroupSpecs"]:
        assert set(group) <= _GROUP
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    for group in groups:
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        pod = group["template"]
        kubernetes_validate.validate(
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", **pod["metadata"]}, "spec": pod["spec"]},
            "1.33",
            strict=True,
        )
        container = pod["spec"]["containers"][0]
        gpus = container["resources"]["limits"].get("nvidia.com/gpu", "0")
        assert gpus == group["rayStartParams"].get("num-gpus", "0")
        assert {"name": "RAY_AUTH_MODE", "value": "token"} in container["env"]
        mounts = {row["name"]: row["mountPath"] for row in container["volumeMounts"]}
        assert {"name": "RAY_AUTH_TOKEN_PATH", "value": f"{mounts['token']}/token"} in container["env"]
    (worker,) = spec["workerGroupSpecs"]
    assert yaml.safe_load(yaml.safe_load(worker["rayStartParams"]["resources"])) == {"accelerator_type:A10G": 1}
    assert re.fullmatch(r"2\.\d+\.\d+", spec["rayVersion"])


# -- who reaches whom ---------------------------------------------------------------------------------------------------------


def test_ray_stays_inside_its_site() -> None:
    """Only the agent reaches the Jobs API; a job reaches the gateway, its own cluster, and nothing else."""
    policies = rendered.of_kind(rendered.render("federation-site"), "NetworkPolicy")
    stranger, server, other_site = (
        {"app": "web"},
        {"app.kubernetes.io/name": "federation"},
        {**RAY, "app.kubernetes.io/instance": "us"},
    )
    for port in (8265, 6379, 10001, 52365):
        assert rendered.lets_in(policies, RAY, RAY, port)
        for caller in (stranger, server, other_site):
            assert not rendered.lets_in(policies, caller, RAY, port), (caller, port)
    assert rendered.lets_in(policies, AGENT, RAY, 8265)
    assert not rendered.lets_in(policies, AGENT, RAY, 6379)
    assert rendered.lets_out(policies, AGENT, RAY, 8265)
    assert rendered.lets_out(policies, RAY, AGENT, 7411)
    assert rendered.lets_in(policies, RAY, AGENT, "gateway")
    for target in (stranger, server, other_site):
        for port in (443, 7400, 7401, 8265, 5432):
            assert not rendered.lets_out(policies, RAY, target, port), (target, port)


def test_agents_are_called_at_their_gateway_alone() -> None:
    """Whoever may call an agent at all may call that one port."""
    policies = rendered.of_kind(rendered.render("federation-site"), "NetworkPolicy")
    (agent,) = (row for row in policies if rendered.matches(row["spec"]["podSelector"], AGENT))
    assert [rule["ports"] for rule in agent["spec"]["ingress"]] == [[{"port": "gateway", "protocol": "TCP"}]]


def test_several_servers_have_one_address_each_and_a_zone_each() -> None:
    """A headless service shows every replica to clients that balance; replicas are spread; one more is made first."""
    objects = rendered.render("federation", "replicas=3")
    (deployment,) = rendered.of_kind(objects, "Deployment")
    assert deployment["spec"]["replicas"] == 3
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]
    each = [row for row in rendered.of_kind(objects, "Service") if row["spec"].get("clusterIP") == "None"]
    assert [[port["port"] for port in row["spec"]["ports"]] for row in each] == [[7400, 7401]]
