"""Grants of people: to write one new version of a dataset at a site, or to take a version home from one.

Each is asked of the policy here, priced and written down. What runs are granted is made with the run (`services.runs`).
"""

from __future__ import annotations

import dataclasses
import functools

from federation import ports
from federation.core import columns, dataset, errors, grants, ids, kinds, leases, policy, ratecard, site
from federation.core.authorization import Action, Question, subject
from federation.services import access, authorization, datasets, lineage, partitions, pricing, residency, scan, sites
from federation.services.context import Context

_NO_BOUND = 2**63 - 1


def open_write(
    tx: ports.Transaction, ctx: Context, principal: policy.Principal, name: ids.DatasetName, at: str
) -> grants.Grant:
    """Lets a person write one new version of a dataset at a site's gateway. It commits once, or never."""
    authorization.visible(tx, ctx, principal, name)
    stored = datasets.whole_dataset(tx, name)
    place = sites.get_site(tx, at)
    sites.require_ready(place)
    _require_write(tx, ctx, principal, stored, place)
    record = access.issue(
        tx,
        kinds.GrantRecord(
            grant=ctx.ids.new("a"),
            access=grants.Access.WRITE,
            principal=principal.name,
            namespace=name.namespace,
            dataset=name.dataset,
            version=0,
            source_site=at,
            source_region=place.region,
            reader_region=place.region,
            expire_time=tx.now + ctx.grant_life,
            holder=principal,
        ),
    )
    return grants.Grant(
        grant=record.grant,
        access=grants.Access.WRITE,
        subject=principal.name,
        site=at,
        dataset=name.short,
        dataset_uid=stored.uid,
        issue_time=tx.now,
        expire_time=record.expire_time,
    )


def commit(tx: ports.Transaction, ctx: Context, grant: grants.Grant, new: dataset.NewVersion, at: str) -> dataset.Version:
    """Commits what a person wrote under a grant whose signature was checked. The same version again is answered alike."""
    record = _write_record(tx, grant, new, at)
    if record.version:
        return _committed(tx, record, new)
    if access.ended(record, tx.now):
        raise errors.FailedPrecondition(
            f"the grant to write {grant.dataset} is over",
            reason="GRANT_EXPIRED",
            help="Ask for a new one and write again.",
            metadata={"grant": grant.grant},
        )
    version = datasets.commit_version(tx, ctx, new, at)
    used = tx.replace(dataclasses.replace(record, version=version.number))
    access.close(tx, used)
    lineage.record_put(tx, used, version)
    return version


def _write_record(tx: ports.Transaction, grant: grants.Grant, new: dataset.NewVersion, at: str) -> kinds.GrantRecord:
    if grant.access is not grants.Access.WRITE or grant.site != at or ids.dataset(new.dataset).short != grant.dataset:
        raise errors.PermissionDenied(
            f"the grant to {grant.access} {grant.dataset} at {grant.site} does not let {at} commit to {new.dataset}",
            reason="GRANT_FOREIGN_SITE" if grant.site != at else "GRANT_INVALID",
            metadata={"grant": grant.grant, "site": at},
        )
    record = tx.get(kinds.GrantRecord, grant.grant)
    if record is None:
        raise errors.FailedPrecondition(
            f"the catalog knows no grant {grant.grant}",
            reason="GRANT_UNKNOWN",
            help="The catalog was restored from before it was issued; write again.",
        )
    return record


def _committed(tx: ports.Transaction, record: kinds.GrantRecord, new: dataset.NewVersion) -> dataset.Version:
    name = ids.VersionName(ids.DatasetName(record.namespace, record.dataset), record.version)
    version = datasets.get_version(tx, name)
    if (version.manifest_digest, version.signature) == (new.manifest_digest, new.signature):
        return version
    raise errors.FailedPrecondition(
        f"the grant was used up by {name.short}",
        reason="GRANT_USED",
        help="A grant commits one version; ask for another.",
        metadata={"grant": record.grant, "version": name.short},
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reading:
    """What of a dataset a person would take home, from where and for what.

    A `number` of 0 is the newest version; without a `site`, the one whose egress is cheapest is taken. `bytes_max` bounds what
    they take, 0 for all of it. `sensitive` is to be shown sensitive columns. `column_classes` are opened beside `default`.
    """

    number: int = 0
    site: str = ""
    purpose: str = ""
    bytes_max: int = 0
    sensitive: bool = False
    column_classes: tuple[str, ...] = ()


def open_read(
    tx: ports.Transaction, ctx: Context, principal: policy.Principal, name: ids.DatasetName, wanted: Reading = Reading()
) -> grants.Grant:
    """Lets a person take a version home from a site that holds it.

    To be shown sensitive columns is for those who may write to it, and told. Refused where the person is not in the dataset's
    residency, where the price of the way home is unknown, and where the policy keeps a column class from them.
    """
    authorization.visible(tx, ctx, principal, name)
    stored = datasets.whole_dataset(tx, name)
    asked = _require_export(tx, ctx, principal, stored, wanted)
    if wanted.sensitive:
        writing = authorization.question(tx, subject(principal), Action.WRITE, stored, purpose=wanted.purpose)
        authorization.require(tx, ctx, writing)
    version = datasets.readable_version(tx, ids.VersionName(name, wanted.number or datasets.latest(stored)))
    beside = columns.wanted(wanted.column_classes)[1:]
    columns.require_known(version.name.short, version.column_classes, beside)
    for each in beside:
        authorization.require(tx, ctx, dataclasses.replace(asked, column_class=each))
    taken = min(version.object_bytes, wanted.bytes_max) if wanted.bytes_max else version.object_bytes
    source, micros = _source(tx, ctx, version, wanted.site, taken, beside)
    record = access.issue(
        tx,
        kinds.GrantRecord(
            grant=ctx.ids.new("a"),
            principal=principal.name,
            namespace=name.namespace,
            dataset=name.dataset,
            version=version.number,
            source_site=source.site,
            source_region=source.region,
            reader_region=site.INTERNET,
            estimate_bytes=taken,
            estimate_micros=micros,
            expire_time=tx.now + ctx.grant_life,
            column_classes=beside,
            holder=principal,
            purpose=wanted.purpose,
        ),
    )
    return grants.Grant(
        grant=record.grant,
        access=grants.Access.READ,
        subject=principal.name,
        site=source.site,
        dataset=name.short,
        dataset_uid=stored.uid,
        version=version.name.short,
        reader_region=site.INTERNET,
        bytes_max=min(wanted.bytes_max or _NO_BOUND, ctx.budget_bytes(version.object_bytes)),
        issue_time=tx.now,
        expire_time=record.expire_time,
    )


def require_still(
    tx: ports.Transaction, ctx: Context, record: kinds.GrantRecord, stored: dataset.Dataset, asked: leases.Asked
) -> None:
    """Asks the policy anew whether a person may have the key: a grant lasts for hours, and what it was given for may be over.

    Who writes gets the keys of the version that they add to as well, if they may be had where they are. Grants of runs and
    transfers are nobody's here. To be called in the transaction that grants the lease, before it.
    """
    holder = record.holder
    if holder is None:
        return
    partitions.require_whole(stored)
    if record.access is grants.Access.WRITE:
        if asked.use is leases.Use.READ:
            residency.require_person(stored.name.short, stored.residency, holder)
        _require_write(tx, ctx, holder, stored, sites.get_site(tx, record.source_site))
        return
    again = _require_export(tx, ctx, holder, stored, Reading(number=asked.version, purpose=record.purpose))
    for each in asked.sensitivities[1:]:
        authorization.require(tx, ctx, dataclasses.replace(again, column_class=each))


def _require_write(
    tx: ports.Transaction, ctx: Context, principal: policy.Principal, stored: dataset.Dataset, place: site.Site
) -> None:
    """Tells of the decision that a person may write to a dataset at a site; raises where they may not."""
    asked = authorization.question(tx, subject(principal), Action.WRITE, stored, at=place)
    law = functools.partial(residency.require_site, stored.name.short, stored.residency, place.site, place.jurisdiction)
    authorization.require(tx, ctx, asked, law=law)


def _require_export(
    tx: ports.Transaction, ctx: Context, principal: policy.Principal, stored: dataset.Dataset, wanted: Reading
) -> Question:
    """Tells of the decision that a person may have it at home, and raises where it is no; what was asked."""
    name = stored.name
    known = tx.get(dataset.Version, kinds.version_key(*name, wanted.number or stored.latest_version))
    about = authorization.question(tx, subject(principal), Action.EXPORT, stored, purpose=wanted.purpose)
    group_size = known.group_size if known else None
    asked = dataclasses.replace(about, destination=principal.jurisdiction, group_size=group_size)
    law = functools.partial(residency.require_person, name.short, stored.residency, principal)
    authorization.require(tx, ctx, asked, law=law)
    return asked


def _source(  # noqa: PLR0917 - what, from where, how much and which of it
    tx: ports.Transaction, ctx: Context, version: dataset.Version, at: str, size: int, beside: tuple[str, ...]
) -> tuple[site.Site, int]:
    """The site to read so much of it from, and what it costs: the one asked for, or the cheapest that opens these classes."""
    if at:
        place = sites.get_site(tx, at)
        _require_available(tx, version, at)
        if closed := datasets.closed_at(tx, version, at, beside):
            raise datasets.class_closed_at(version, at, closed[0])
        sites.require_ready(place)
        micros = _price_home(tx, ctx, place, size)
        if micros is None:
            raise _unpriced(version, place.region)
        return place, micros
    holding = _holders(tx, version)
    places = [place for place in holding if not datasets.closed_at(tx, version, place.site, beside)]
    if not places:
        raise datasets.class_closed_at(version, holding[0].site, datasets.closed_at(tx, version, holding[0].site, beside)[0])
    priced = [(micros, place.site, place) for place in places if (micros := _price_home(tx, ctx, place, size)) is not None]
    if not priced:
        raise _unpriced(version, ", ".join(sorted({place.region for place in places})))
    micros, _, place = min(priced, key=lambda each: each[:2])
    return place, micros


def _require_available(tx: ports.Transaction, version: dataset.Version, at: str) -> None:
    held = tx.get(dataset.Replica, f"{kinds.version_key(version.namespace, version.dataset, version.number)}/{at}")
    if held is None or held.state is not dataset.ReplicaState.AVAILABLE:
        raise errors.FailedPrecondition(
            f"site {at} holds no readable replica of {version.name.short}",
            reason="REPLICA_MISSING",
            help=f"`fed replica list {version.name.dataset.short}` shows where it lies.",
            metadata={"version": version.name.short, "site": at},
        )


def _holders(tx: ports.Transaction, version: dataset.Version) -> list[site.Site]:
    """Sites that answer and hold a readable replica; FailedPrecondition when there is none."""
    where = {"version": str(version.number), "state": str(dataset.ReplicaState.AVAILABLE)}
    rows = scan.every(tx, dataset.Replica, parent=version.name.dataset.short, where=where)
    held = [sites.get_site(tx, row.site) for row in rows]
    ready = [place for place in held if place.state is site.SiteState.READY]
    if ready:
        return ready
    raise errors.FailedPrecondition(
        f"no site that answers holds {version.name.short}" + (f"; {held[0].site} is {held[0].state}" if held else ""),
        reason="SITE_NOT_READY" if held else "REPLICA_MISSING",
        metadata={"version": version.name.short},
    )


def _price_home(tx: ports.Transaction, ctx: Context, place: site.Site, size: int) -> int | None:
    counted = pricing.month(tx, ratecard.scope(place.region, site.INTERNET, place.account))
    before = counted.sent_bytes + counted.reserved_bytes
    price = pricing.rates(tx, ctx).price(place.region, site.INTERNET, before, size)
    return None if price is None else price.micros


def _unpriced(version: dataset.Version, regions: str) -> errors.FailedPrecondition:
    return errors.FailedPrecondition(
        f"no price is known for sending {version.object_bytes} bytes from {regions} to the internet",
        reason="PRICE_UNKNOWN",
        help="Add the price to the rate card; an unknown price is never taken for zero.",
        metadata={"version": version.name.short, "region": regions},
    )
