"""The edge over the catalog in SQL: what the tests over memory promise holds there too."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from federation.adapters.catalog_sql import SqlCatalog
from federation.adapters.system import UlidIds
from federation.core import errors
from federation.v1 import catalog_pb2
from tests import builders, prepared
from tests.wire import edge as edges
from tests.wire.certs import Certs
from tests.wire.edge import Edge


@pytest.fixture
def stored(certs: Certs, tmp_path: Path) -> Iterator[Edge]:
    """A server over SQLite."""
    clock, ids = edges.clock(), UlidIds()
    started = edges.start(certs, SqlCatalog(prepared.sqlite(tmp_path / "catalog.db"), clock, ids))
    edges.populate(started)
    yield started
    started.stop()


def test_a_repeated_request_is_answered_from_the_database(stored):
    """The answer, and a refusal, each from the record in its transaction."""
    request = catalog_pb2.CreateNamespaceRequest(namespace_id="new", request_id="r-1")
    first = stored.call("Catalog.CreateNamespace", request)
    assert stored.call("Catalog.CreateNamespace", request) == first
    with pytest.raises(errors.InvalidArgument, match="request"):
        stored.call("Catalog.CreateNamespace", catalog_pb2.CreateNamespaceRequest(namespace_id="x", request_id="r-1"))
    taken = catalog_pb2.CreateNamespaceRequest(namespace_id="new", request_id="r-2")
    for _ in range(2):
        with pytest.raises(errors.AlreadyExists):
            stored.call("Catalog.CreateNamespace", taken)


def test_a_try_leaves_the_database_as_it_was(stored):
    """The transaction of a validate_only request is rolled back."""
    tried = stored.call("Catalog.CreateNamespace", catalog_pb2.CreateNamespaceRequest(namespace_id="t", validate_only=True))
    assert tried.name == "namespaces/t"
    with pytest.raises(errors.NotFound):
        stored.client().get_namespace("t")


def test_eight_clients_write_at_once_and_nothing_is_lost(stored):
    """No error, each namespace there, and the pages show all of them."""
    failed: list[Exception] = []

    def write(worker: int) -> None:
        client = stored.client()
        try:
            for number in range(10):
                client.create_namespace(builders.namespace(f"w{worker}-{number}"))
        except errors.FederationError as error:
            failed.append(error)
        client.close()

    threads = [threading.Thread(target=write, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(list(stored.client().list_namespaces())) == 81


def test_a_deleted_dataset_is_out_of_the_listing_and_back_on_demand(stored):
    """The filter on an empty column works as in memory."""
    client = stored.client()
    client.delete_dataset("sales/flights")
    assert list(client.list_datasets("sales")) == []
    assert len(list(client.list_datasets("sales", show_deleted=True))) == 1
