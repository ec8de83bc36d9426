"""Searching: what its caller may know of, page by page, filtered."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.core import dataset, errors, ids
from federation.core.policy import Principal, Role
from federation.services import datasets, discovery, namespaces
from tests import builders
from tests.sim import Simulation

ADA = Principal(name="users/ada", role=Role.USER)
ROOT = Principal(name="users/root", role=Role.ADMIN)


def names(sim: Simulation, text: str = "", who: Principal = ADA, limit: int = 50, **asked: object) -> list[str]:
    """The names of all pages."""
    search = discovery.Search(text=text, **asked)  # type: ignore[arg-type]
    found, after = [], ""
    while True:
        page, after = sim.read(
            lambda tx, asked=search, after=after: discovery.search(tx, sim.ctx, who, asked, after=after, limit=limit)  # type: ignore[misc]
        )
        found += [row.dataset.name.short for row in page]
        if not after:
            return found


@pytest.fixture
def rooms(sim: Simulation) -> Simulation:
    """Datasets of two namespaces, every second one hidden from all but its owner."""

    def fill(tx):
        for room in ("lab", "hr"):
            namespaces.create(tx, sim.ctx, builders.namespace(room, owner="users/root"))
            for number in range(10):
                readers = ("groups/everyone",) if number % 2 else ()
                made = dataset.Dataset(
                    namespace=room, dataset=f"probe-{number}", owner="users/root", readers=readers, labels=(("n", str(number)),)
                )
                datasets.create_dataset(tx, sim.ctx, made)

    sim.write(fill)
    return sim


@pytest.mark.parametrize("limit", [1, 2, 3, 50])
def test_pages_hold_what_the_caller_may_know_of_and_nothing_else(rooms: Simulation, limit: int) -> None:
    """Each once, newest first, whatever the size of the page; an administrator sees them all."""
    seen = [f"{room}/probe-{number}" for room in ("hr", "lab") for number in (9, 7, 5, 3, 1)]
    assert names(rooms, "probe", limit=limit) == seen
    assert names(rooms, "prob lab", limit=limit) == seen[5:]
    assert len(names(rooms, "probe", ROOT, limit=limit)) == 20


@given(
    texts=st.lists(st.sampled_from(["rain", "rainfall", "Rain-Lab", "snow", "labRain", "of rain and snow", ""]), max_size=9),
    asked=st.sampled_from(["rain", "ra", "rain lab", "snow ra", "rainlab", "lab"]),
)
def test_what_few_there_are_comes_in_the_order_of_the_questions(texts: list[str], asked: str) -> None:
    """On one page, which puts them in order itself, as on pages of one, two or three, which ask question by question."""
    sim = Simulation()

    def fill(tx):
        namespaces.create(tx, sim.ctx, builders.namespace("lab", owner="users/ada"))
        for number, text in enumerate(texts):
            name = f"{(text.lower().replace(' ', '-') or 'x')}-{number}"
            field = {0: {"description": text}, 1: {"labels": (("k", text),)}, 2: {}}[number % 3]
            datasets.create_dataset(tx, sim.ctx, builders.dataset(f"lab/{name}" if number % 2 else f"lab/d{number}", **field))

    sim.write(fill)
    whole = names(sim, asked, namespace="lab")
    assert [names(sim, asked, namespace="lab", limit=limit) for limit in (1, 2, 3)] == [whole] * 3
    assert len(set(whole)) == len(whole)


def test_a_search_that_leaves_out_much_goes_on_in_bounds(rooms: Simulation, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page may be empty and yet not the last, so that no look takes long."""
    monkeypatch.setattr(discovery, "LOOKED_AT_MAX", 3)
    assert names(rooms, "probe") == names(rooms, "probe", limit=1)
    assert len(names(rooms, "probe")) == 10
    search = discovery.Search(text="probe", filter="create_time < 2020-01-01")
    page, after = rooms.read(lambda tx: discovery.search(tx, rooms.ctx, ADA, search, limit=50))
    assert (page, bool(after)) == ([], True)


def test_a_filter_and_a_namespace_narrow_a_search(rooms: Simulation) -> None:
    """With words or without; what is measured is looked at value by value."""
    assert names(rooms, "probe", namespace="hr", filter="labels.n = 3 OR labels.n = 4") == ["hr/probe-3"]
    assert names(rooms, filter="labels.n = 3") == ["hr/probe-3", "lab/probe-3"]
    assert names(rooms, filter='namespace = "lab" AND latest_version > 0') == []
    assert len(names(rooms, filter='namespace = "lab" AND latest_version = 0')) == 5
    with pytest.raises(errors.NotFound):
        names(rooms, "probe", namespace="nowhere")
    with pytest.raises(errors.InvalidArgument, match="no field"):
        names(rooms, filter="size > 3")


def test_deleted_datasets_are_found_only_if_they_are_wanted(rooms: Simulation) -> None:
    """And again once they are taken back."""
    name = ids.dataset("hr/probe-3")
    rooms.write(lambda tx: datasets.delete_dataset(tx, name))
    assert names(rooms, "hr probe-3") == []
    assert names(rooms, "hr probe-3", deleted=True) == ["hr/probe-3"]
    assert names(rooms, filter="deleted = true", deleted=True) == ["hr/probe-3"]
    rooms.write(lambda tx: datasets.undelete_dataset(tx, name))
    assert names(rooms, "hr probe-3") == ["hr/probe-3"]


def test_a_dataset_is_found_by_the_columns_of_its_newest_version(sim: Simulation) -> None:
    """From the transaction that commits it, and no longer by those of the one before."""

    def commit(column: str) -> None:
        agent, uid = sim.agents["us-1"], sim.dataset("sales/flights").uid
        new = dataclasses.replace(agent.new_version("sales/flights", uid), columns=((column, "int64"),))
        sim.write(lambda tx: datasets.commit_version(tx, sim.ctx, new, "us-1"))

    commit("dep_delay")
    assert names(sim, "delay", ROOT) == ["sales/flights"]
    search = discovery.Search(text="delay", filter="columns:dep_delay")
    (found,), _ = sim.read(lambda tx: discovery.search(tx, sim.ctx, ROOT, search, limit=9))
    assert [(each.field, each.text) for each in found.matches] == [("columns", "dep_delay")]
    commit("arrival")
    assert (names(sim, "delay", ROOT), names(sim, "arrival", ROOT)) == ([], ["sales/flights"])
