"""From the last release to this one: its data, its clients and its servers beside ours. `baseline` has what was frozen."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml

from federation import config
from federation.adapters.catalog_memory import MemoryCatalog
from federation.adapters.catalog_sql import SqlCatalog
from federation.adapters.system import SystemClock, UlidIds
from federation.core import errors, records, watching
from federation.local import pki
from federation.wire import methods, tls
from tests import localfed, tcp
from tests.postgres import postgres_server, postgres_url  # noqa: F401 - fixtures
from tests.upgrade import baseline
from tests.watch_history import problems
from tests.watch_load import Load, whole_log
from tests.wire import certs as certificates
from tests.wire import edge as edges

ROOT = Path(__file__).parents[2]
#: Writes through both servers.
ENOUGH = 30


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[edges.Edge]:
    """A server of this release."""
    certs = certificates.make(tmp_path_factory.mktemp("pki"))
    started = edges.start(certs, MemoryCatalog(edges.clock(), UlidIds()))
    edges.populate(started)
    yield started
    started.stop()


@pytest.fixture
def old(edge: edges.Edge) -> Iterator[baseline.Contract]:
    """A client of the last release, at our server."""
    with edge.channel("", agents=False) as channel:
        yield baseline.Contract(channel, edge.tokens["admin"])


# What it stored


def test_a_catalog_of_the_last_release_is_brought_on_and_nothing_in_it_is_lost(tmp_path: Path) -> None:
    """Every value of every kind is read by this release and means what it meant, field by field."""
    baseline.restored(tmp_path / "catalog.db")
    bodies = baseline.bodies(tmp_path / "catalog.db")
    assert len(bodies) > 30
    with contextlib.closing(SqlCatalog(f"sqlite:///{tmp_path / 'catalog.db'}", SystemClock(), UlidIds())) as catalog:
        found = {cls: catalog.read(lambda tx, cls=cls: tx.list(cls)) for cls in bodies}
        log = whole_log(catalog)
    lost = [cls.__name__ for cls, body in bodies.items() if not _within(body, records.dump(found[cls][0]))]
    assert lost == [], "a field of these is gone, or means something else"
    sights = [one for event in log if (one := watching.sight(event)) is not None]
    assert sights
    assert [one.event.kind for one in sights if one.value is None] == [], "their events cannot be read any more"


def _within(less: Any, more: Any) -> bool:
    if isinstance(less, dict):
        return isinstance(more, dict) and all(key in more and _within(item, more[key]) for key, item in less.items())
    if isinstance(less, list):
        return isinstance(more, list) and len(less) == len(more) and all(map(_within, less, more))
    return bool(less == more)


def test_no_released_migration_was_changed() -> None:
    """A database that was brought to it long ago would be another than one of today: changes get a file of their own."""
    here = ROOT / "federation" / "adapters" / "migrations" / "versions"
    changed = [name for name, text in baseline.migrations().items() if (here / name).read_bytes() != text]
    assert changed == []


# How it is spoken to


def test_every_method_of_the_last_release_is_served(old: baseline.Contract) -> None:
    """By its name and shape of then: whatever else is answered to an empty request, it is not that nobody knows the method."""
    people = [key for key in old.methods if key.partition(".")[0] in methods.PEOPLE]
    assert len(people) > 80
    unknown = []
    for key in people:
        try:
            old.call(key, timeout=30)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                unknown.append(key)
    assert unknown == []


def test_a_client_of_the_last_release_works_with_this_server(edge: edges.Edge, old: baseline.Contract) -> None:
    """Makes, gets, lists page by page, changes by etag, is refused with the reason that it knows, and watches."""
    start = old.call("Identity.WhoAmI").revision + 1
    for number in range(3):
        dataset = old.message("Dataset", kind=1)
        asked = old.message(
            "CreateDatasetRequest",
            parent="namespaces/sales",
            dataset_id=f"old-{number}",
            dataset=dataset,
            request_id=f"r{number}",
        )
        made = old.call("Catalog.CreateDataset", asked)
        assert old.call("Catalog.CreateDataset", asked) == made, "repeated, it is answered as before"
    page = old.call("Catalog.ListDatasets", old.message("ListDatasetsRequest", parent="namespaces/sales", page_size=2))
    rest = old.message("ListDatasetsRequest", parent="namespaces/sales", page_size=100, page_token=page.next_page_token)
    names = [row.name for row in (*page.datasets, *old.call("Catalog.ListDatasets", rest).datasets)]
    assert {f"namespaces/sales/datasets/old-{number}" for number in range(3)} <= set(names)
    got = old.call("Catalog.GetDataset", old.message("GetDatasetRequest", name=made.name))
    got.description = "changed"
    mask = {"paths": ["description"]}
    changed = old.call("Catalog.UpdateDataset", old.message("UpdateDatasetRequest", dataset=got, update_mask=mask))
    assert changed.description == "changed"
    with pytest.raises(grpc.RpcError) as caught:
        old.call("Catalog.UpdateDataset", old.message("UpdateDatasetRequest", dataset=got, update_mask=mask))
    assert caught.value.code() is grpc.StatusCode.ABORTED
    told = old.call(
        "Events.Watch", old.message("WatchRequest", start_revision=start, filter='type = "datasets"', until_now=True)
    )
    assert told.revision == start - 1
    with edge.client() as client:
        assert client.get_dataset("sales/old-2").description == "changed"


# Its servers


@contextlib.contextmanager
def old_server(fed: localfed.LocalFederation) -> Iterator[str]:
    """A server of the last release on the federation's database, in its state folder; gives the address for people."""
    people, agents = (f"127.0.0.1:{port}" for port in tcp.free_ports(2))
    text = yaml.safe_load(fed.file.read_text())
    text["server"] |= {"listen": people, "agents_listen": agents}
    file = fed.folder / "old.yaml"
    file.write_text(yaml.safe_dump(text))
    fed.layout.logs.mkdir(parents=True, exist_ok=True)
    with baseline.code() as folder, (fed.layout.logs / "old.log").open("wb") as log:
        path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH", ""))))
        command = (*localfed.FED, "server", "--config", str(file), "--state", str(fed.state))
        # Not from here: the folder of the process that runs `-m` comes before PYTHONPATH.
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env=fed.environment(PYTHONPATH=path))
        try:
            localfed.until(lambda: _serves(fed, people, process), 60, "the old server")
            yield people
        finally:
            process.kill()
            process.wait(timeout=30)


def _serves(fed: localfed.LocalFederation, address: str, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, fed.logs()
    if not fed.layout.admin_token.exists():
        return False
    with _client(fed, address, call_seconds=1) as client, contextlib.suppress(errors.FederationError):
        return bool(client.who_am_i())
    return False


def _client(fed: localfed.LocalFederation, target: str, **how: Any) -> Any:
    from federation.client import Client

    return Client(target, fed.layout.admin_token.read_text().strip(), fed.layout.ca.read_bytes(), **how)


def test_servers_of_both_releases_serve_one_catalog_while_it_is_upgraded(tmp_path: Path, postgres_url: str) -> None:  # noqa: F811
    """The old one began it, the new one joins and takes over: people write and watch through both, and nobody is told wrong."""
    settings = {"database": postgres_url, "rates": {"calls_per_second": 0}}
    fed = localfed.LocalFederation(folder=tmp_path / "f", compute={}, settings=settings)
    fed.layout.root.mkdir(parents=True, mode=0o700)
    pki.ensure(fed.layout, (), trust_domain=config.TRUST_DOMAIN)
    new = fed.target
    with old_server(fed) as address, tls.channel(address, tls.Tls(fed.layout.ca.read_bytes())) as channel:
        spoken = baseline.Contract(channel, fed.layout.admin_token.read_text().strip())
        namespace = spoken.message("Namespace", description="of before")
        asked = spoken.message("CreateNamespaceRequest", namespace_id="before", namespace=namespace, request_id="r")
        spoken.call("Catalog.CreateNamespace", asked)
        with localfed.running(fed):
            load = Load(lambda: _client(fed, f"{address},{new}"), seed=3)
            load.start()
            with _client(fed, new) as client:
                assert client.get_namespace("before").description == "of before"
                changed = dataclasses.replace(client.get_namespace("before"), description="of now")
                client.update_namespace(changed, ("description",))
                got = spoken.call("Catalog.GetNamespace", spoken.message("GetNamespaceRequest", name="namespaces/before"))
                assert got.description == "of now"
                localfed.until(lambda: len(load.writes.acknowledged) > ENOUGH, 60, "enough to be written")
                load.finish()
    with contextlib.closing(SqlCatalog(postgres_url, SystemClock(), UlidIds())) as catalog:
        log = whole_log(catalog)
    assert problems(load.histories, log, load.writes) == []
