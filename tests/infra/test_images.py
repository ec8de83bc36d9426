"""Images, compose and Terraform: what needs a container engine or a cloud is parsed, and held to what our processes need."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import hcl2
import pytest
import yaml
from cryptography import x509

from federation import config
from federation.api import authentication
from federation.crypto import certificates
from tests.infra import rendered

ROOT = rendered.INFRA.parent
sys.path.insert(0, str(rendered.INFRA / "images"))
import needs  # noqa: E402 - a script that images run before anything is installed

PROCESSES = {
    "server": "federation.bootstrap.server",
    "agent": "federation.bootstrap.agent",
    "worker": "federation.worker.launch",
}
_WITHOUT = """
import sys, importlib
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {absent!r}:
            raise ImportError(name)
sys.meta_path.insert(0, Absent())
importlib.import_module({module!r})
import federation.cli
"""


@pytest.mark.parametrize("role", PROCESSES)
def test_a_process_starts_without_what_its_image_leaves_out(role: str) -> None:
    """Whatever is not installed is not imported; Ray, which the worker's image has already, is not asked for at the start."""
    code = _WITHOUT.format(absent=set(needs.ROLES[role][1]), module=PROCESSES[role])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_an_image_installs_what_the_project_declares() -> None:
    """Each role's list has bounds as in pyproject.toml, and leaves out only what is really declared."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for role, (extras, without) in needs.ROLES.items():
        found = needs.needs(role, project)
        declared = [*project["dependencies"], *(row for extra in extras for row in project["optional-dependencies"][extra])]
        assert [row for row in declared if row not in found] == [
            row for row in declared if re.split(r"[\[<>=! ]", row)[0] in without
        ]
        assert without <= {re.split(r"[\[<>=! ]", row)[0] for row in declared}


def test_images_end_as_somebody_who_is_not_root() -> None:
    """The last USER of every target that runs, and versions from the constraints file alone."""
    stages: dict[str, list[str]] = {}
    name = ""
    for line in (rendered.INFRA / "images" / "Dockerfile").read_text().splitlines():
        if found := re.fullmatch(r"FROM \S+ AS (\S+)", line):
            name = found[1]
            stages[name] = []
        elif name:
            stages[name].append(line)
    assert {"server", "agent", "worker"} <= set(stages)
    users = {stage: [line.split()[1] for line in lines if line.startswith("USER")] for stage, lines in stages.items()}
    assert users["base"][-1] == "10001:10001"
    assert users["worker"][-1] == "ray"
    assert not users["server"]
    assert not users["agent"]
    for line in (line for lines in stages.values() for line in lines if "-r /tmp/needs.txt" in line):
        assert "-c constraints.txt" in line


# -- compose ------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The compose file."""
    read: dict[str, Any] = yaml.safe_load((rendered.INFRA / "compose" / "compose.yaml").read_text())
    return read


def test_compose_keeps_ray_away_from_the_catalog(compose: dict[str, Any]) -> None:
    """The agent alone is on both sides; Ray and PostgreSQL are published nowhere and reach nothing outside."""
    networks = {name: set(row["networks"]) for name, row in compose["services"].items()}
    assert [name for name, found in networks.items() if {"site", "federation"} <= found] == ["agent"]
    assert networks["ray"] == {"site"}
    assert networks["postgres"] == {"database"}
    assert compose["networks"]["site"] == compose["networks"]["database"] == {"internal": True}
    for name, row in compose["services"].items():
        assert all(port.startswith("127.0.0.1:") for port in row.get("ports", ())), name
    assert not {"ports"} & (set(compose["services"]["ray"]) | set(compose["services"]["postgres"]))
    assert {"RAY_AUTH_MODE": "token"}.items() <= compose["services"]["ray"]["environment"].items()


def test_compose_builds_targets_that_exist_and_mounts_what_it_declares(compose: dict[str, Any]) -> None:
    """Targets of the Dockerfile, named volumes, secrets."""
    targets = set(re.findall(r"^FROM \S+ AS (\S+)$", (rendered.INFRA / "images" / "Dockerfile").read_text(), re.MULTILINE))
    for name, row in compose["services"].items():
        assert row.get("build", {}).get("target", "server") in targets, name
        named = [volume.split(":")[0] for volume in row.get("volumes", ()) if not volume.startswith(".")]
        assert set(named) <= set(compose["volumes"]), name
        assert set(row.get("secrets", ())) <= set(compose["secrets"]), name


def test_the_secrets_of_compose_are_what_its_processes_take(tmp_path: Path) -> None:
    """Made by the script: a CA, certificates that chain to it by the names that are called, files that settings read."""
    folder = tmp_path / "compose"
    folder.mkdir()
    for name in ("make-secrets.sh", "federation.yaml"):
        (folder / name).write_bytes((rendered.INFRA / "compose" / name).read_bytes())
    subprocess.run(["bash", str(folder / "make-secrets.sh")], check=True, capture_output=True, timeout=60)
    ca = x509.load_pem_x509_certificate((folder / "secrets/ca/ca.crt").read_bytes())
    for name, host in (("server", "server"), ("agent", "agent")):
        leaf = x509.load_pem_x509_certificate((folder / f"secrets/{name}/tls.crt").read_bytes())
        leaf.verify_directly_issued_by(ca)
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert host in names.get_values_for_type(x509.DNSName)
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
        assert (name == "agent") == bool(uris)
        if uris:
            peer = {"x509_subject_alternative_name": [uri.encode() for uri in uris]}
            assert authentication.agent_site(peer, certificates.agent_uri("compose", "")) == "eu-1"
    file = folder / "federation.yaml"
    file.write_text(file.read_text().replace("/run/fed/", "secrets/server/"))
    read = config.federation_file(file)
    settings = config.server(read, tmp_path)
    assert re.fullmatch(r"postgresql\+psycopg://fed:[0-9a-f]{48}@postgres/fed", settings.database_url)
    assert config.agent(read, "eu-1", tmp_path).catalog == "server:7401"
    assert len((folder / "secrets/state/grant.key").read_bytes()) == 32
    again = subprocess.run(["bash", str(folder / "make-secrets.sh")], check=False, capture_output=True, timeout=60)
    assert again.returncode == 1


# -- Terraform ----------------------------------------------------------------------------------------------------------------

MODULES = sorted(path.name for path in (rendered.INFRA / "terraform").iterdir())


@pytest.mark.parametrize("module", MODULES)
def test_a_terraform_module_is_closed(module: str) -> None:
    """It parses; each variable is explained and used, each reference leads somewhere, each output is explained."""
    folder = rendered.INFRA / "terraform" / module
    text = "\n".join(path.read_text() for path in sorted(folder.glob("*.tf")))
    parsed = [hcl2.loads(path.read_text()) for path in sorted(folder.glob("*.tf"))]

    def blocks(kind: str) -> list[tuple[str, Any]]:
        return [(_bare(name), body) for file in parsed for block in file.get(kind, ()) for name, body in block.items()]

    variables = dict(blocks("variable"))
    assert variables
    for name, body in variables.items():
        assert body["description"], name
        assert f"var.{name}" in text, name
    assert set(re.findall(r"\bvar\.([a-z_]+)", text)) == set(variables)
    assert all(body["description"] for _, body in blocks("output"))
    declared = {f"{kind}.{_bare(name)}" for kind, rows in blocks("resource") for name in rows}
    declared |= {f"data.{kind}.{_bare(name)}" for kind, rows in blocks("data") for name in rows}
    code = re.sub(r"#.*", "", text)
    for found in re.findall(r"\b((?:data\.)?(?:aws|vultr|vault)_[a-z0-9_]+\.[a-z_]+)\b", code):
        assert found in declared, found


def test_buckets_are_private_and_keys_stay_in_their_region() -> None:
    """No public access by any door, TLS alone, a key of one region, and an agent's role for one service account."""
    text = (rendered.INFRA / "terraform" / "aws-site" / "main.tf").read_text()
    for door in ("block_public_acls", "block_public_policy", "ignore_public_acls", "restrict_public_buckets"):
        assert re.search(rf"{door}\s+= true", text), door
    assert re.search(r"multi_region\s+= false", text)
    assert "aws:SecureTransport" in text
    assert ":sub" in text
    assert not re.search(r'"s3:\*"\]\s*\n\s*resources\s*=.*role', text)


def _bare(name: str) -> str:
    """A name without the quotes that the parser leaves on."""
    return name.strip('"')
