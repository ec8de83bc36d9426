"""A story with something of everything that a CISO asks for, told to the log, and carried to Delta tables that are signed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from federation import ports
from federation.adapters.engine_embedded import DeltaFusionEngine
from federation.adapters.records_delta import DeltaRecords
from federation.adapters.records_links import DeltaReader
from federation.core import dataset, errors, ids, leases, policy, trail, witness
from federation.crypto import signing
from federation.crypto import witness as signed
from federation.services import access, datasets, heads, namespaces, personal, refusals
from federation.services import authorization as authorizations
from federation.services import leases as lease_service
from federation.services import trail as trails
from federation.services import witness as witnesses
from federation.services.committer import Committer
from federation.services.heads import HeadKeeper
from tests import builders
from tests.sim import GRANT_KEY, Simulation

FLIGHTS = "sales/flights"
MODEL = "ml/delays"
CARD = dataset.DataCard(
    origin="the tower's log",
    licence="CC-BY-4.0",
    consent="none needed",
    known_bias="no night flights",
    sensitive_columns=("pilot",),
)
KEY = signing.public_hex(GRANT_KEY)


@dataclass
class Story:
    """What happened, and where it is recorded. `carried_time` is when the first part had been carried to the tables."""

    sim: Simulation
    root: Path
    engine: DeltaFusionEngine
    reader: DeltaReader
    begin: datetime
    carried_time: datetime

    @property
    def end(self) -> datetime:
        """A moment after all of it."""
        return self.sim.clock.now() + timedelta(seconds=1)

    def carry(self, *, sign: bool = True) -> None:
        """Brings all events into the tables, and signs heads of them."""
        sink = DeltaRecords(str(self.root))
        keeper = HeadKeeper(self.sim.catalog, sink, GRANT_KEY, seconds=0) if sign else None
        committer = Committer(self.sim.catalog, sink, heads=keeper)
        for _ in range(2):
            committer.run_once()

    def kept(self) -> tuple[Any, ...]:
        """The heads that the catalog keeps."""
        return self.sim.read(lambda tx: tuple(head for table in ("audit", "egress_ledger") for head in heads.stored(tx, table)))

    def cosign(self, at: str) -> witness.Cosignature:
        """A site co-signs the newest heads, as its agent does."""
        shown = self.sim.read(witnesses.newest)
        word = signed.sign(self.sim.agents[at].private, at, shown, self.sim.clock.now())
        self.sim.agents[at].write(lambda tx: witnesses.take(tx, at, word, KEY))
        return word


def refused(sim: Simulation, who: policy.Principal, work: Callable[[ports.Transaction], object]) -> errors.FederationError:
    """A call that is refused, with what the server's edge writes of it."""
    with pytest.raises(errors.FederationError) as caught:
        sim.write(work, actor=who.name)
    error = caught.value
    decision = getattr(error, "decision", None)
    if decision is not None:
        sim.write(lambda tx: authorizations.note(tx, decision), actor=who.name)
    elif isinstance(error, errors.PermissionDenied):
        sim.write(lambda tx: refusals.note(tx, "Catalog.OpenRead", who.name, error), actor=who.name)
    return error


def tell(root: Path) -> Story:
    """Alice trains a model on flights and takes orders home, Bob asks for what he may not have, a dataset is loosened."""
    sim = Simulation()
    begin = sim.clock.now()
    alice, bob = builders.person("alice", jurisdiction="US"), builders.person("bob")
    for name, at in ((FLIGHTS, "us-1"), ("sales/orders", "eu-1"), ("hr/pay", "eu-1")):
        sim.put(name, at)

    def describe(tx: ports.Transaction) -> None:
        stored = datasets.get_dataset(tx, ids.dataset(FLIGHTS))
        datasets.put_dataset(tx, dataclasses.replace(stored, card=CARD, purposes=("forecasting",)))
        secret = datasets.get_dataset(tx, ids.dataset("hr/pay"))
        datasets.put_dataset(tx, dataclasses.replace(secret, readers=(), owner="users/root"))
        tx.replace(builders.namespace("hr", owner="users/root"))
        namespaces.create(tx, sim.ctx, builders.namespace("ml"))
        datasets.create_dataset(tx, sim.ctx, builders.dataset(MODEL, kind=dataset.DatasetKind.MODEL))

    sim.write(describe, actor="users/root")
    sim.clock.advance(60)
    asked = builders.request([f"flights={FLIGHTS}"], [f"model={MODEL}"], purpose="forecasting", sites=("us-1",))
    run = sim.submit(asked, alice).run
    sim.agents["us-1"].work()
    _lease(sim, run)
    sim.drive(6)
    story = Story(sim, root, DeltaFusionEngine(str(root)), DeltaReader(str(root)), begin, sim.clock.now())
    story.carry()
    story.cosign("eu-1")
    sim.clock.advance(3600)
    story.carried_time = sim.clock.now()

    def take_home(tx: ports.Transaction) -> Any:
        return personal.open_read(tx, sim.ctx, alice, ids.dataset("sales/orders"), personal.Reading(purpose="support"))

    grant = sim.write(take_home, actor=alice.name)
    sim.agents["eu-1"].open_grants[grant.grant] = 500
    sim.agents["eu-1"].settle(grant.grant)
    wrong = builders.request([f"flights={FLIGHTS}"], purpose="marketing")
    refused(sim, bob, lambda tx: authorizations.require_inputs(tx, sim.ctx, bob, wrong))
    for _ in range(3):
        refused(sim, bob, lambda tx: authorizations.visible(tx, sim.ctx, bob, ids.dataset("hr/pay")))
    lacking = errors.PermissionDenied("users/bob may not call Sites.DeleteSite", reason="PERMISSION_MISSING")
    sim.write(lambda tx: refusals.note(tx, "Sites.DeleteSite", bob.name, lacking), actor=bob.name)
    refusals.count_stranger(sim.ctx.strangers, "ipv4:10.0.0.7", "TOKEN_INVALID")
    told = dataset.Declassified(
        dataset=MODEL,
        by="users/root",
        reason="it is published",
        before=dataset.Restrictions(purposes=("forecasting",)),
        after=dataset.Restrictions(),
        sources=(FLIGHTS,),
    )
    sim.write(lambda tx: tx.emit("dataset.declassified", ids.dataset(MODEL).resource, told), actor="users/root")
    sim.write(lambda tx: trails.note(tx, "Records.QueryRecords", "SELECT 1"), actor="users/root")
    sim.sweep()
    return story


def _lease(sim: Simulation, run: str) -> None:
    version = sim.read(lambda tx: datasets.get_version(tx, ids.version(f"{FLIGHTS}@1")))
    asked = leases.Asked(
        nonce="ab" * 16,
        call="c",
        use=leases.Use.READ,
        grant=access.run_grant_id(run, "flights"),
        run=run,
        dataset=FLIGHTS,
        version=1,
        generations=version.generations,
        reader_key="cd" * 32,
    )
    granted = sim.agents["us-1"].write(lambda tx: lease_service.answer(tx, sim.ctx, "us-1", asked))
    assert isinstance(granted, leases.Lease), granted


def every_row(story: Story) -> list[trail.AuditRow]:
    """All entries, straight from the log."""
    return [trail.of_event(event) for event in trails.tail(story.sim.catalog, 0)]
