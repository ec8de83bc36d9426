"""Replication rules: how many replicas of a dataset's newest version people want, and at which sites; made true each second.

A rule's replicas are kept because it wants them and end soon after it does. What keeps it from being fulfilled stands on it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import timedelta

from federation import ports
from federation.core import dataset, errors, ids, listing, offers, policy, site, transfer, units
from federation.core.authorization import Action, Subject, told
from federation.core.transfer import TransferCause
from federation.services import authorization, carrying, datasets, pricing, scan, sites, transfers
from federation.services.context import Context
from federation.services.disclosure import Disclosure

#: What a rule's filter may name.
FILTER_FIELDS = ("region", "jurisdiction", "site")
COPIES_MAX = 1000
LIFETIME_SECONDS_MAX = transfers.KEEP_SECONDS_MAX
#: How long a rule's replica is kept after it was last read once no rule wants it any more.
KEPT_SECONDS = 3600
#: A site that a version could not be brought to is left alone for so long.
RETRY_SECONDS = 3600
_MONTH_SECONDS = 30 * 86_400
_GB = 1_000_000_000

UNSATISFIABLE = "RULE_UNSATISFIABLE"
ARRIVING = "COPIES_ARRIVING"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice:
    """A site that may get the next replica, where it would come from, after which transfer, and what all of it costs."""

    place: site.Site
    source: site.Site
    after: str
    egress_micros: int
    storage_micros: int

    @property
    def rank(self) -> tuple[int, str]:
        return self.egress_micros + self.storage_micros, self.place.site


# What people ask


def create(
    tx: ports.Transaction, ctx: Context, principal: policy.Principal, asked: transfer.ReplicationRule
) -> transfer.ReplicationRule:
    """Makes a rule and whatever transfers it takes; AlreadyExists when its name is taken.

    A rule that cannot be fulfilled now is kept and says why: a site may come, or a price become known.
    """
    ids.segment(asked.rule, "rule")
    authorization.visible(tx, ctx, principal, ids.dataset(asked.dataset))
    bound = datasets.usable_dataset(tx, ids.dataset(asked.dataset))
    _check(asked)
    if tx.get(transfer.ReplicationRule, asked.rule) is not None:
        raise errors.AlreadyExists(
            f"rule {asked.rule} exists already", help="Choose another name.", metadata={"rule": asked.rule}
        )
    stored = tx.insert(
        transfer.ReplicationRule(
            rule=asked.rule,
            dataset=bound.name.short,
            copies=asked.copies,
            site_filter=asked.site_filter,
            lifetime_seconds=asked.lifetime_seconds,
            principal=principal.name,
            role=str(principal.role),
            groups=tuple(sorted(set(principal.groups))),
            uid=ctx.ids.new("u"),
            create_time=tx.now,
            update_time=tx.now,
        )
    )
    # Anywhere at all: which sites, is asked for each of them.
    authorization.require(tx, ctx, authorization.question(tx, _who(stored), Action.REPLICATE, bound))
    tx.emit("rule.created", f"replicationRules/{stored.rule}", stored)
    _fulfil(tx, ctx, stored)
    return get(tx, stored.rule)


def get(tx: ports.Transaction, name: str) -> transfer.ReplicationRule:
    """One rule, by its bare or its full name; NotFound when it is not there."""
    found = tx.get(transfer.ReplicationRule, ids.child(name, "replicationRules"))
    if found is None:
        raise _absent(name)
    return found


def _absent(name: str) -> errors.NotFound:
    key = ids.child(name, "replicationRules")
    return errors.NotFound(f"rule {key} does not exist", help="`fed rule list` shows what is there.", metadata={"rule": key})


def visible(tx: ports.Transaction, ctx: Context, principal: policy.Principal, name: str) -> transfer.ReplicationRule:
    """One rule; NotFound, in the same words, where it is not there or is of a dataset that they may not know of."""
    found = tx.get(transfer.ReplicationRule, ids.child(name, "replicationRules"))
    if found is None or not Disclosure(tx, ctx, principal).sees(found.dataset):
        raise _absent(name)
    return found


def delete(tx: ports.Transaction, name: str, etag: str = "") -> None:
    """Ends a rule: what is still on its way for it alone is given up, and its replicas end once nobody reads them."""
    stored = get(tx, name)
    tx.delete(transfer.ReplicationRule, stored.rule, etag=etag)
    tx.emit("rule.deleted", f"replicationRules/{stored.rule}", stored)
    for row in list(scan.every(tx, transfer.Transfer, parent=stored.dataset, where={"rule": stored.rule, "live": "1"})):
        if row.cause is TransferCause.RULE and not row.jobs:
            carrying.end(tx, row, transfer.TransferState.CANCELLED, "RULE_ENDED", f"rule {stored.rule} has ended")


def _check(asked: transfer.ReplicationRule) -> None:
    listing.parse(asked.site_filter, FILTER_FIELDS)
    for name, value, least, most in (
        ("copies", asked.copies, 1, COPIES_MAX),
        ("lifetime_seconds", asked.lifetime_seconds, 0, LIFETIME_SECONDS_MAX),
    ):
        if not least <= value <= most:
            raise errors.InvalidArgument(
                f"{name} is {value}",
                reason="RULE_INVALID",
                help=f"Use {least} to {most}.",
                violations={name: f"must be {least} to {most}"},
            )


# What the catalog sees to


def advance(tx: ports.Transaction, ctx: Context) -> int:
    """Ends rules whose lifetime is over and brings all others on; the number of changes."""
    changed = 0
    for stored in list(scan.every(tx, transfer.ReplicationRule)):
        if _over(tx, stored):
            delete(tx, stored.rule)
            changed += 1
        else:
            changed += _fulfil(tx, ctx, stored)
    return changed


def _over(tx: ports.Transaction, stored: transfer.ReplicationRule) -> bool:
    if not stored.lifetime_seconds or stored.create_time is None:
        return False
    return stored.create_time + timedelta(seconds=stored.lifetime_seconds) <= tx.now


def _fulfil(tx: ports.Transaction, ctx: Context, stored: transfer.ReplicationRule) -> int:
    """Makes the transfers that are missing and notes what is still wanting; the number of changes."""
    bound = tx.get(dataset.Dataset, stored.dataset)
    if bound is None or bound.delete_time is not None:
        return _say(tx, stored, "DATASET_DELETED", f"dataset {stored.dataset} is deleted")
    if not bound.latest_version:
        return _say(tx, stored, "DATASET_EMPTY", f"dataset {stored.dataset} has no version yet")
    version = datasets.get_version(tx, ids.VersionName(bound.name, bound.latest_version))
    if version.erase_time is not None:
        return _say(tx, stored, "VERSION_ERASED", f"{version.name.short} was erased")
    selected, forbidden = _selected(tx, ctx, stored, bound)
    there = [place for place in selected if carrying.readable_at(tx, version.name, place.site)]
    coming = {row.destination_site: row for row in _coming(tx, version.name)}
    arriving = [place for place in selected if place.site in coming]
    made, refusals = 0, dict[str, str]()
    for _ in range(stored.copies - len(there) - len(arriving)):
        choice = _cheapest(tx, ctx, stored, version, selected, coming, refusals)
        if choice is None:
            break
        transfers.replicate(tx, ctx, _who(stored), bound, choice.place)
        row = transfers.ask(tx, ctx, _wish(stored, version, choice), _who(stored))
        coming[row.destination_site] = row
        arriving.append(choice.place)
        made += 1
    return made + _tell(tx, stored, version, len(there), len(arriving), forbidden | refusals)


def _who(stored: transfer.ReplicationRule) -> Subject:
    """For whom a rule acts."""
    return Subject(name=stored.principal, role=policy.Role(stored.role), groups=stored.groups)


def _selected(
    tx: ports.Transaction, ctx: Context, stored: transfer.ReplicationRule, bound: dataset.Dataset
) -> tuple[list[site.Site], dict[str, str]]:
    """The sites that the filter selects, by name: where the data may lie, and the others with the words why not."""
    allowed, forbidden = [], {}
    for place in _matching(tx, stored):
        found = authorization.answer(tx, ctx, authorization.question(tx, _who(stored), Action.REPLICATE, bound, at=place))
        if not policy.residency_allows(bound.residency, place.jurisdiction):
            forbidden[place.site] = f"residency allows {', '.join(bound.residency)} only"
        elif not found.allowed:
            forbidden[place.site] = told(found)
        else:
            allowed.append(place)
    return allowed, forbidden


def _matching(tx: ports.Transaction, stored: transfer.ReplicationRule) -> Iterator[site.Site]:
    wanted = listing.parse(stored.site_filter, FILTER_FIELDS)
    for place in scan.every(tx, site.Site):
        if all(getattr(place, name) == value for name, value in wanted.items()):
            yield place


def _coming(tx: ports.Transaction, version: ids.VersionName) -> Iterator[transfer.Transfer]:
    return scan.every(tx, transfer.Transfer, parent=version.dataset.short, where={"version": str(version.number), "live": "1"})


def _wish(stored: transfer.ReplicationRule, version: dataset.Version, choice: Choice) -> transfer.Transfer:
    return dataclasses.replace(
        transfers.wish(version, choice.place.site, TransferCause.RULE, who=_who(stored)),
        source_site=choice.source.site,
        rule=stored.rule,
        after=choice.after,
        keep_seconds=KEPT_SECONDS,
        estimate_micros=choice.egress_micros,
    )


# Which site is next


def _cheapest(  # noqa: PLR0917 - the rule, its version and what is known of both
    tx: ports.Transaction,
    ctx: Context,
    stored: transfer.ReplicationRule,
    version: dataset.Version,
    selected: list[site.Site],
    coming: dict[str, transfer.Transfer],
    refusals: dict[str, str],
) -> Choice | None:
    """The next site of a cheapest tree: each copy comes from wherever the version is, or will be by then, at the least price.

    `refusals` gets what keeps each other site from it.
    """
    origins = _origins(tx, version, coming)
    seconds = _seconds(tx, stored)
    choices = []
    for place in selected:
        if place.site in coming or carrying.readable_at(tx, version.name, place.site):
            continue
        answer = _choice(tx, ctx, version, place, origins, seconds)
        if isinstance(answer, Choice):
            choices.append(answer)
        else:
            refusals[place.site] = answer
    return min(choices, key=lambda choice: choice.rank, default=None)


def _origins(
    tx: ports.Transaction, version: dataset.Version, coming: dict[str, transfer.Transfer]
) -> list[tuple[site.Site, str]]:
    """Sites that hold the version or are getting it, with the transfer that must have come first; holders before others."""
    held = [(place, "") for place in carrying.holders(tx, version.name) if place.state is site.SiteState.READY]
    promised = [(sites.get_site(tx, name), row.transfer) for name, row in sorted(coming.items())]
    return held + promised


def _choice(  # noqa: PLR0917 - a site, and all that its price depends on
    tx: ports.Transaction,
    ctx: Context,
    version: dataset.Version,
    place: site.Site,
    origins: list[tuple[site.Site, str]],
    seconds: int,
) -> Choice | str:
    """What a replica at a site would cost, or why there can be none."""
    if place.state is not site.SiteState.READY:
        return f"it is {place.state}"
    if carrying.replica_at(tx, version.name, place.site) is not None:
        return "a replica of it is being dropped there"
    failed = _failed_lately(tx, version.name, place.site)
    if failed is not None:
        return f"{failed.transfer} {failed.state} with {failed.reason}: {failed.detail}"
    stored_gb = offers.filled(place, pricing.offers(tx, ctx)).offer.storage_gb_month_micros
    if stored_gb is None:
        return "its storage price is unknown"
    priced = [
        (micros, bool(after), origin.site, origin, after)
        for origin, after in origins
        if (micros := carrying.price(tx, ctx, origin, place, version.object_bytes)) is not None
    ]
    if not priced:
        return "nothing that holds it answers at a known egress price"
    micros, _, _, origin, after = min(priced, key=lambda each: each[:3])
    storage = units.divide_half_even(stored_gb * version.object_bytes * seconds, _GB * _MONTH_SECONDS)
    return Choice(place=place, source=origin, after=after, egress_micros=micros, storage_micros=storage)


def _seconds(tx: ports.Transaction, stored: transfer.ReplicationRule) -> int:
    """How long a replica made now is to be paid for: what is left of the rule's lifetime, a month where it has no end."""
    if not stored.lifetime_seconds or stored.create_time is None:
        return _MONTH_SECONDS
    left = stored.create_time + timedelta(seconds=stored.lifetime_seconds) - tx.now
    return max(0, int(left.total_seconds()))


def _failed_lately(tx: ports.Transaction, version: ids.VersionName, at: str) -> transfer.Transfer | None:
    """A transfer of the version there that failed or was given up a short while ago: the same would happen again."""
    since = tx.now - timedelta(seconds=RETRY_SECONDS)
    where = {"version": str(version.number), "destination_site": at}
    for row in tx.list(transfer.Transfer, parent=version.dataset.short, where=where, limit=1, newest_first=True):
        failed = row.state is transfer.TransferState.FAILED and row.reason != "RELAY_FAILED"
        if (failed or row.reason == "CANCELLED") and row.end_time and row.end_time > since:
            return row
    return None


# What stands on the rule


def _tell(  # noqa: PLR0917 - the counts and their causes
    tx: ports.Transaction,
    stored: transfer.ReplicationRule,
    version: dataset.Version,
    there: int,
    arriving: int,
    refusals: dict[str, str],
) -> int:
    """Notes what is wanting; whether that is new."""
    missing = stored.copies - there - arriving
    counted = f"{min(there, stored.copies)} of {stored.copies} replicas of {version.name.short} are there"
    if missing > 0:
        causes = "; ".join(f"{name}: {why}" for name, why in sorted(refusals.items()))
        chosen = f"sites with {stored.site_filter}" if stored.site_filter else "sites"
        return _say(tx, stored, UNSATISFIABLE, f"{counted}; {causes or f'there are no more {chosen}'}")
    return _say(tx, stored, *((ARRIVING, f"{counted}, {arriving} on their way") if there < stored.copies else ("", "")))


def _say(tx: ports.Transaction, stored: transfer.ReplicationRule, reason: str, detail: str) -> int:
    if (stored.reason, stored.detail) == (reason, detail):
        return 0
    told = tx.replace(dataclasses.replace(stored, reason=reason, detail=detail, update_time=tx.now))
    tx.emit("rule.updated", f"replicationRules/{told.rule}", told)
    return 1


# What must stay


def wants(tx: ports.Transaction, held: dataset.Replica) -> bool:
    """Whether some rule counts on this replica: it is of the newest version, and among the first `copies` that would stay."""
    rows = list(scan.every(tx, transfer.ReplicationRule, where={"dataset": held.version.dataset.short}))
    bound = tx.get(dataset.Dataset, held.version.dataset.short) if rows else None
    if bound is None or bound.latest_version != held.number:
        return False
    return any(held.site in _counted_on(tx, row, bound, held.version) for row in rows if not _over(tx, row))


def _counted_on(
    tx: ports.Transaction, row: transfer.ReplicationRule, bound: dataset.Dataset, version: ids.VersionName
) -> set[str]:
    """Sites whose replicas fulfil a rule: those first that stay anyway, then those that are kept longest."""
    matching = _matching(tx, row)
    selected = {place.site for place in matching if policy.residency_allows(bound.residency, place.jurisdiction)}
    where = {"version": str(version.number), "state": str(dataset.ReplicaState.AVAILABLE)}
    held = [each for each in scan.every(tx, dataset.Replica, parent=bound.name.short, where=where) if each.site in selected]
    forever = [each.site for each in held if each.expire_time is None]
    ending = sorted((each for each in held if each.expire_time), key=lambda each: (each.expire_time, each.site), reverse=True)
    return set([*forever, *(each.site for each in ending)][: row.copies])
