"""Sites: declared by an administrator, made READY by their agents, LOST when those fall silent; and the links between them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable

from federation import ports
from federation.core import admission, dataset, erasure, errors, grants, ids, job, kinds, metering, policy, ratecard, site
from federation.services import access, masks, pricing, residency, scan
from federation.services.context import Context

GB = 1_000_000_000
SITE_MUTABLE = frozenset({"region", "jurisdiction", "account", "offer", "sources"})


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeartbeatAnswer:
    """What an agent learns from its heartbeat.

    `current_runs` may go on and commit, `superseded_runs` must be stopped and what they wrote dropped, `closed_grants` settled.
    """

    current_runs: tuple[str, ...]
    superseded_runs: tuple[str, ...]
    closed_grants: tuple[str, ...]


def create_site(tx: ports.Transaction, ctx: Context, new: site.Site, *, joined: bool = False) -> site.Site:
    """Declares a site; once it has joined, its agent makes it READY. AlreadyExists when its name is taken.

    `joined` says that whoever declares it has let it in: it stands in the server's own settings, beside the CA's key.
    """
    _checked(new)
    if tx.get(site.Site, new.site) is not None:
        raise errors.AlreadyExists(f"site {new.site} exists already", help="Choose another name.", metadata={"site": new.site})
    declared = site.Site(
        site=new.site,
        region=new.region,
        jurisdiction=new.jurisdiction,
        account=new.account,
        offer=new.offer,
        sources=new.sources,
        join_time=tx.now if joined else None,
        uid=ctx.ids.new("s"),
        create_time=tx.now,
        update_time=tx.now,
    )
    stored = tx.insert(declared)
    tx.emit("site.created", f"sites/{stored.site}", stored)
    return stored


def get_site(tx: ports.Transaction, name: str) -> site.Site:
    """One site; NotFound when it is not declared."""
    key = ids.child(name, "sites")
    found = tx.get(site.Site, key)
    if found is None:
        raise errors.NotFound(f"site {key} does not exist", help="`fed site list` shows what is there.", metadata={"site": key})
    return found


def require_ready(place: site.Site) -> None:
    """FailedPrecondition (SITE_LOST, SITE_NOT_READY) unless the site's agent answers."""
    if place.state is site.SiteState.READY:
        return
    lost = place.state is site.SiteState.LOST
    raise errors.FailedPrecondition(
        f"site {place.site} {'does not answer any more' if lost else 'has not been heard from yet'}",
        reason="SITE_LOST" if lost else "SITE_NOT_READY",
        help="Start its agent, or choose another site.",
        metadata={"site": place.site},
    )


def update_site(tx: ports.Transaction, given: site.Site, mask: frozenset[str]) -> site.Site:
    """Changes what the mask names; Conflict when `given.etag` is given and stale.

    A site in use keeps its region and jurisdiction (SITE_IN_USE): what was promised of the data there depends on them.
    """
    stored = get_site(tx, given.site)
    merged = _checked(masks.merge(stored, given, mask, SITE_MUTABLE))
    if (merged.region, merged.jurisdiction) != (stored.region, stored.jurisdiction):
        _require_unused(tx, stored, "move")
    return _store(tx, merged, "site.updated", etag=given.etag)


def delete_site(tx: ports.Transaction, name: str, etag: str = "") -> None:
    """Removes a site that holds no replica, runs and erases nothing and has signed nothing; SITE_IN_USE otherwise."""
    stored = get_site(tx, name)
    _require_unused(tx, stored, "delete")
    signed = _signed(tx, stored.site)
    if signed:
        raise _in_use(stored, "delete", f"it signed {signed[0].name.short}, whose copies are verified by its key")
    for row in scan.every(tx, erasure.Erasure, where={"state": str(erasure.ErasureState.PENDING)}):
        if stored.site in row.unconfirmed:
            raise _in_use(stored, "delete", f"it has yet to confirm that {row.short} is erased")
    tx.delete(site.Site, stored.site, etag=etag)
    if tx.get(site.SiteLoad, stored.site) is not None:
        tx.delete(site.SiteLoad, stored.site)
    tx.emit("site.deleted", f"sites/{stored.site}", stored)


def _checked(given: site.Site) -> site.Site:
    ids.segment(given.site, "site")
    ids.region(given.region)
    residency.jurisdiction(given.jurisdiction)
    if given.account:
        ids.segment(given.account, "account")
    return given


def _require_unused(tx: ports.Transaction, stored: site.Site, verb: str) -> None:
    held = tx.list(dataset.Replica, where={"site": stored.site}, limit=1)
    load = tx.get(site.SiteLoad, stored.site)
    if not held and (load is None or not load.runs):
        return
    raise _in_use(stored, verb, f"it holds {held[0].version.short}" if held else "it runs jobs")


def _signed(tx: ports.Transaction, name: str) -> tuple[dataset.Version, ...]:
    """A version that the site has signed, wherever it lies now; none where it never signed one."""
    return tx.list(dataset.Version, where={"signed_by": name}, limit=1)


def _in_use(stored: site.Site, verb: str, why: str) -> errors.FailedPrecondition:
    return errors.FailedPrecondition(
        f"cannot {verb} site {stored.site}: {why}",
        reason="SITE_IN_USE",
        help="Declare another site, or wait for its jobs to end.",
        metadata={"site": stored.site},
    )


def _store(tx: ports.Transaction, changed: site.Site, kind: str, *, etag: str = "") -> site.Site:
    stored = tx.replace(dataclasses.replace(changed, update_time=tx.now), etag=etag)
    tx.emit(kind, f"sites/{stored.site}", stored)
    return stored


# What agents say


def register(tx: ports.Transaction, name: str, told: site.Presence, findings: Iterable[admission.Finding] = ()) -> site.Site:
    """Takes an agent's word on its site and what its admission test found, and makes the site READY with its grade.

    FailedPrecondition (SITE_NOT_JOINED) for a site that nobody has let in. One whose admission test keeps it out is stored as
    DECLARED, without a grade and with what was found: the caller tells it so, once that is written (`admission.refusal`).
    A site that holds or has signed data keeps its signing key (SITE_KEY_CHANGED): with another one nothing that it signed
    could be verified.
    """
    stored = get_site(tx, name)
    if stored.join_time is None:
        raise errors.FailedPrecondition(
            f"site {stored.site} was declared, and has not joined",
            reason="SITE_NOT_JOINED",
            help=f"Invite it (`fed site invite {stored.site}`), and let it join with that token (`fed agent join`).",
            metadata={"site": stored.site},
        )
    changed_key = stored.signing_key not in ("", told.signing_key)
    held = tx.list(dataset.Replica, where={"site": stored.site}, limit=1)
    if changed_key and (held or _signed(tx, stored.site)):
        raise errors.FailedPrecondition(
            f"the agent of site {stored.site} came with another signing key, but data is signed with the old one",
            reason="SITE_KEY_CHANGED",
            help="Give the agent back its state folder.",
            metadata={"site": stored.site},
        )
    ready = dataclasses.replace(
        stored,
        gateway=told.gateway,
        signing_key=told.signing_key,
        sealing_key=told.sealing_key,
        has_compute=told.has_compute,
        capacity=told.capacity,
        compute_error=told.compute_error,
        dashboard=told.dashboard,
        state=site.SiteState.READY,
        heartbeat_time=tx.now,
        admission=tuple(row.line for row in admission.whole(findings)),
        admit_time=tx.now,
    )
    return regrade(tx, ready)


def regrade(tx: ports.Transaction, place: site.Site) -> site.Site:
    """Stores a site with the grade that its admission and its administrator leave it; DECLARED where that is none."""
    grade = admission.grade(map(admission.parsed, place.admission), place.grade_max)
    if not grade:
        return _store(tx, dataclasses.replace(place, grade="", state=site.SiteState.DECLARED), "site.refused")
    return _store(tx, dataclasses.replace(place, grade=grade), "site.ready" if place.grade == grade else "site.graded")


def require_admitted(place: site.Site) -> None:
    """FailedPrecondition (SITE_NOT_ADMITTED) for a site without a grade, with what its test found."""
    if not place.grade:
        raise admission.refusal(place.site, map(admission.parsed, place.admission))


def heartbeat(
    tx: ports.Transaction,
    ctx: Context,
    name: str,
    *,
    capacity: site.Capacity,
    compute_error: str,
    runs: tuple[str, ...],
    open_grants: tuple[str, ...],
) -> HeartbeatAnswer:
    """Keeps a site and the leases of its runs alive, and tells its agent which of its runs and grants are over.

    A run that has SUCCEEDED counts as current: its agent may not have heard the answer, and must keep what was committed.
    """
    stored = get_site(tx, name)
    require_admitted(stored)
    _hear(tx, ctx, stored, capacity, compute_error)
    current = tuple(run for run in runs if _renewed(tx, ctx, name, run))
    return HeartbeatAnswer(
        current_runs=current,
        superseded_runs=tuple(run for run in runs if run not in current),
        closed_grants=tuple(g for g in open_grants if access.ended(tx.get(kinds.GrantRecord, g), tx.now)),
    )


def _hear(tx: ports.Transaction, ctx: Context, stored: site.Site, capacity: site.Capacity, compute_error: str) -> None:
    """Notes that the site lives.

    Its row is written when something changed or a third of the lease is over, not each time: every write moves the etag that
    an administrator's update depends on.
    """
    heard = dataclasses.replace(stored, capacity=capacity, compute_error=compute_error, state=site.SiteState.READY)
    if heard != stored:
        kind = "site.updated" if stored.state is site.SiteState.READY else "site.ready"
        _store(tx, dataclasses.replace(heard, heartbeat_time=tx.now), kind)
    elif stored.heartbeat_time is None or tx.now - stored.heartbeat_time >= ctx.lease / 3:
        tx.replace(dataclasses.replace(stored, heartbeat_time=tx.now))


def _renewed(tx: ports.Transaction, ctx: Context, name: str, run_name: str) -> bool:
    """Whether a run of the site is current; a live one gets its lease renewed."""
    run = tx.get(job.Run, run_name)
    if run is None or run.site != name:
        return False
    if run.state.terminal:
        return run.state is job.JobState.SUCCEEDED
    tx.replace(dataclasses.replace(run, lease_time=tx.now + ctx.lease))
    return True


def lose(tx: ports.Transaction, stored: site.Site) -> site.Site:
    """Marks a site as silent; its next heartbeat makes it READY again."""
    return _store(tx, dataclasses.replace(stored, state=site.SiteState.LOST), "site.lost")


def note_witness(tx: ports.Transaction, stored: site.Site, error: str) -> site.Site:
    """Keeps why a site's agent no longer co-signs the record's heads, or that it does again."""
    return _store(tx, dataclasses.replace(stored, witness_error=error), "site.updated")


def open_check(tx: ports.Transaction, ctx: Context, principal: policy.Principal, name: str) -> grants.Grant:
    """Lets an administrator have a site's gateway compare its store with the catalog."""
    place = get_site(tx, name)
    require_ready(place)
    given = grants.Grant(
        grant=ctx.ids.new("a"),
        access=grants.Access.CHECK,
        subject=principal.name,
        site=place.site,
        issue_time=tx.now,
        expire_time=tx.now + ctx.grant_life,
    )
    tx.emit("check.opened", f"sites/{place.site}", given)
    return given


# Links


def links(tx: ports.Transaction, ctx: Context) -> tuple[site.Link, ...]:
    """Each ordered pair of regions, and each region's way to the internet, as the next GB is priced now.

    A region whose sites share one billing account is priced in that account's month, any other in the federation's own.
    """
    accounts: dict[str, set[str]] = {}
    for place in scan.every(tx, site.Site):
        accounts.setdefault(place.region, set()).add(place.account)
    speeds = {(row.source_region, row.destination_region): row.bytes_per_second for row in scan.every(tx, site.LinkSpeed)}
    sent = {row.scope: row.sent_bytes for row in scan.every(tx, site.LinkVolume, parent=metering.month(tx.now))}
    reserved = {row.scope: row.reserved_bytes for row in scan.every(tx, site.LinkReservation)}
    rates, regions = pricing.rates(tx, ctx), sorted(accounts)

    def link(source: str, destination: str) -> site.Link:
        scope = ratecard.scope(source, destination, _sole(accounts[source]))
        priced = _priced(rates, source, destination, sent.get(scope, 0), reserved.get(scope, 0))
        return dataclasses.replace(priced, bytes_per_second=speeds.get((source, destination)))

    pairs = [*itertools.permutations(regions, 2), *((region, site.INTERNET) for region in regions)]
    return tuple(link(source, destination) for source, destination in sorted(pairs))


def _sole(accounts: set[str]) -> str:
    return next(iter(accounts)) if len(accounts) == 1 else ""


def _priced(rates: ratecard.RateCard, source: str, destination: str, sent_bytes: int, reserved_bytes: int) -> site.Link:
    price = rates.price(source, destination, sent_bytes + reserved_bytes, GB)
    return site.Link(
        source_region=source,
        destination_region=destination,
        gb_micros=None if price is None else price.micros,
        gb_bytes=GB,
        month_to_date_bytes=sent_bytes,
        price_source="" if price is None else price.source,
        as_of="" if price is None else price.as_of,
        reserved_bytes=reserved_bytes,
    )
