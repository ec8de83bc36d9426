"""Cards over the lives of datasets: declared, changed field by field, inherited by what jobs make, told as far as may be."""

from __future__ import annotations

import dataclasses

import pytest

from federation.core import dataset, errors, ids
from federation.core.policy import Principal, Role
from federation.services import cards, datasets, governance, namespaces
from tests import builders
from tests.sim import Simulation

ROOT = Principal(name="users/root", role=Role.ADMIN)
EVE = Principal(name="users/eve", role=Role.USER)


def declare(sim: Simulation, name: str, mask: str, **card: object) -> dataset.Dataset:
    """Changes what the mask names of a dataset's card."""
    given = dataclasses.replace(sim.dataset(name), etag="", card=dataset.DataCard(**card))  # type: ignore[arg-type]
    return sim.write(lambda tx: datasets.update_dataset(tx, given, frozenset(mask.split())))


def explained(sim: Simulation, name: str, who: Principal = ROOT) -> object:
    """The card of a dataset with what it inherits."""
    return sim.read(lambda tx: cards.explain(tx, sim.ctx, who, ids.dataset(name)))


def commit(sim: Simulation, name: str, at: str, *columns: str) -> None:
    """A new version with these columns."""
    agent, uid = sim.agents[at], sim.dataset(name).uid
    new = dataclasses.replace(agent.new_version(name, uid), columns=tuple((column, "string") for column in columns))
    sim.write(lambda tx: datasets.commit_version(tx, sim.ctx, new, at))


def make(sim: Simulation, output: str, *inputs: str) -> None:
    """Runs a job to its end."""
    sim.submit(
        builders.request(inputs=[f"{name}@{sim.dataset(name).latest_version}" for name in inputs], outputs=[f"out={output}"])
    )
    sim.finish_everything()


def test_a_card_is_changed_field_by_field(sim: Simulation) -> None:
    """What the mask does not name stays; the whole card is a field too."""
    declare(sim, "sales/flights", "card.licence card.known_bias", licence="CC0", known_bias="no nights")
    changed = declare(sim, "sales/flights", "card.licence", licence="MIT", known_bias="lost if it were the whole")
    assert changed.card == dataset.DataCard(licence="MIT", known_bias="no nights")
    assert declare(sim, "sales/flights", "card", consent="contract").card == dataset.DataCard(consent="contract")
    with pytest.raises(errors.InvalidArgument, match=r"card\.price"):
        declare(sim, "sales/flights", "card.price")


def test_a_sensitive_column_must_be_one_that_the_newest_version_has(sim: Simulation) -> None:
    """When it is declared; a later version may drop it without making the card wrong."""
    commit(sim, "sales/flights", "us-1", "email", "delay")
    with pytest.raises(errors.InvalidArgument, match="newest version has not"):
        declare(sim, "sales/flights", "card.sensitive_columns", sensitive_columns=("emial",))
    declare(sim, "sales/flights", "card.sensitive_columns", sensitive_columns=("email",))
    commit(sim, "sales/flights", "us-1", "delay")
    assert declare(sim, "sales/flights", "card.licence", licence="MIT").card.sensitive_columns == ("email",)


def test_what_a_job_makes_inherits_from_what_it_was_made_of(sim: Simulation) -> None:
    """Once its outputs are committed, by name of the source; also what is learned of the source later."""
    declare(sim, "sales/flights", "card", known_bias="no nights", sensitive_columns=("email",))
    make(sim, "ml/delays", "sales/flights", "sales/weather")
    make(sim, "ml/model", "ml/delays")
    found = explained(sim, "ml/model")
    assert found.made_of == ("ml/delays",)
    assert [(fact.field, fact.values, fact.source) for fact in found.facts] == [
        ("known_bias", ("no nights",), "sales/flights"),
        ("sensitive_columns", ("email",), "sales/flights"),
    ]
    assert explained(sim, "ml/delays").made_of == ("sales/flights", "sales/weather")
    declare(sim, "sales/weather", "card.consent", consent="public service")
    assert ("consent", "sales/weather") in {(fact.field, fact.source) for fact in explained(sim, "ml/model").facts}
    declare(sim, "ml/delays", "card.known_bias card.without", known_bias="reweighted", without=("sensitive_columns",))
    assert [(fact.field, fact.source) for fact in explained(sim, "ml/model").facts] == [
        ("consent", "sales/weather"),
        ("known_bias", "ml/delays"),
    ]


def test_a_source_that_the_caller_may_not_know_of_is_counted_and_not_named(sim: Simulation) -> None:
    """Nothing of its card is told either; what is sensitive by it stays so."""
    declare(sim, "sales/flights", "card", known_bias="no nights", sensitive_columns=("email",))
    make(sim, "ml/delays", "sales/flights")
    closed = builders.namespace("sales", owner="users/alice")
    sim.write(lambda tx: namespaces.update(tx, closed, frozenset({"owner"})))
    for name, readers in (("sales/flights", ()), ("ml/delays", ("groups/everyone",))):
        given = dataclasses.replace(sim.dataset(name), etag="", readers=readers)
        sim.write(lambda tx, given=given: datasets.update_dataset(tx, given, frozenset({"readers"})))
    found = explained(sim, "ml/delays", EVE)
    assert (found.made_of, found.facts, found.unseen) == ((), (), 1)
    made = sim.dataset("ml/delays")
    assert sim.read(lambda tx: cards.sensitive(tx, made)) == {"email"}
    with pytest.raises(errors.NotFound):
        explained(sim, "sales/flights", EVE)


def test_an_owner_is_somebody(sim: Simulation) -> None:
    """A name without its kind would leave a dataset to nobody."""
    given = dataclasses.replace(sim.dataset("sales/flights"), etag="", owner="ada")
    with pytest.raises(errors.InvalidArgument) as caught:
        sim.write(lambda tx: governance.update_dataset(tx, sim.ctx, ROOT, given, frozenset({"owner"})))
    assert caught.value.reason == "PARTY_INVALID"
