"""The custody of sites' keys: rotations, and escrows that several persons open together.

No key that opens data comes here: rows are wrapped by sites, shares are sealed to custodians or to sites, and what is done
with keys is done by a site's agent, which is told here and answers here.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import timedelta

from federation import ports
from federation.core import dataset, errors, ids, keys, kinds, policy, site
from federation.crypto import hpke, shares
from federation.services import datasets, scan, sites
from federation.services.context import Context

#: Rows that one call moves.
PAGE = 500
#: How long an escrow may be opened after that was asked for.
OPENING_LIFE = timedelta(hours=24)

Instruction = keys.RotateKeys | keys.FillEscrow | keys.OpenEscrow


# Keyrings and rotations


def keyring(tx: ports.Transaction, at: str) -> keys.SiteKeyring:
    """What is known of a site's keys."""
    return tx.get(keys.SiteKeyring, at) or keys.SiteKeyring(site=at)


def keyrings(tx: ports.Transaction) -> tuple[keys.SiteKeyring, ...]:
    """Each site's keys."""
    return tuple(keyring(tx, place.site) for place in scan.every(tx, site.Site))


def uses(tx: ports.Transaction, at: str = "") -> tuple[keys.KeyUse, ...]:
    """What the keys of each site, or of one, wrap of which dataset."""
    names = [at] if at else [place.site for place in scan.every(tx, site.Site)]
    known = {stored.uid: stored.name.short for stored in scan.every(tx, dataset.Dataset)}
    return tuple(use for name in names for use in _uses(tx, name, known))


def _uses(tx: ports.Transaction, at: str, known: Mapping[str, str]) -> Iterable[keys.KeyUse]:
    escrowed: Counter[str] = Counter()
    seen: set[tuple[str, str]] = set()
    for escrow in tx.list(keys.Escrow, where={"site": at}):
        for row in scan.every(tx, keys.EscrowedKey, parent=escrow.escrow):
            if (row.generation, row.sensitivity) not in seen:
                seen.add((row.generation, row.sensitivity))
                escrowed[row.dataset_uid] += 1
    rows: dict[str, list[dataset.WrappedKey]] = {}
    for key in scan.every(tx, dataset.WrappedKey, where={"site": at}):
        rows.setdefault(key.dataset_uid, []).append(key)
    for uid, held in sorted(rows.items(), key=lambda each: known.get(each[0], each[0])):
        yield keys.KeyUse(
            site=at,
            dataset=known.get(uid, uid),
            keks=tuple(sorted(Counter(key.kek for key in held).items())),
            generations=len({key.generation for key in held}),
            sensitivities=tuple(sorted({key.sensitivity for key in held})),
            escrowed=escrowed[uid],
        )


def rotate_kek(tx: ports.Transaction, at: str) -> keys.SiteKeyring:
    """Has a site's rows re-wrapped under a new KEK. A rotation that is under way is joined."""
    place = sites.get_site(tx, at)
    ring = keyring(tx, place.site)
    if ring.rotating:
        return ring
    asked = _put(tx, dataclasses.replace(ring, wanted=ring.wanted + 1, target="", stuck=0))
    tx.emit("keys.rotation_asked", f"sites/{place.site}", _noted(asked))
    return asked


def rotate_dek(tx: ports.Transaction, at: str) -> keys.SiteKeyring:
    """What is put at the site from now on builds on no key generation from before: unchanged files are sealed anew."""
    place = sites.get_site(tx, at)
    asked = _put(tx, dataclasses.replace(keyring(tx, place.site), dek_time=tx.now))
    tx.emit("keys.generation_asked", f"sites/{place.site}", _noted(asked))
    return asked


def report(  # noqa: PLR0917 - the agent's words
    tx: ports.Transaction, at: str, kind: str, kek: str, keks: tuple[str, ...], destroyed: int, *, rotation: int = 0
) -> keys.SiteKeyring:
    """Takes a site's word on its keys; with the number of the rotation that is under way, that it goes to the current KEK."""
    ring = keyring(tx, at)
    told = dataclasses.replace(
        ring,
        kind=kind,
        kek=kek,
        keks=keks,
        destroyed=destroyed,
        target=kek if ring.rotating and rotation == ring.wanted else ring.target,
    )
    if told == ring:
        return ring
    stored = _put(tx, told)
    tx.emit("keys.reported", f"sites/{at}", _noted(stored))
    return stored


def rows(
    tx: ports.Transaction, at: str, *, other_than_kek: str = "", lacking_escrow: str = "", after: str = ""
) -> tuple[tuple[dataset.WrappedKey, ...], str]:
    """A page of a site's rows that another KEK wraps, or that an escrow lacks, and where it ended: "" at the last."""
    escrow = _of_site(get_escrow(tx, lacking_escrow), at) if lacking_escrow else None
    where = _where(tx, escrow) if escrow else {"site": at}
    page = tx.list(dataset.WrappedKey, where=where, after=after, limit=PAGE)
    found = tuple(
        key for key in page if (not other_than_kek or key.kek != other_than_kek) and (escrow is None or _lacks(tx, escrow, key))
    )
    return found, kinds.KINDS[dataset.WrappedKey].key(page[-1]) if len(page) == PAGE else ""


def _where(tx: ports.Transaction, escrow: keys.Escrow) -> dict[str, str]:
    """Which rows are an escrow's."""
    of = {"dataset_uid": datasets.get_dataset(tx, ids.dataset(escrow.dataset)).uid} if escrow.dataset else {}
    return {"site": escrow.site} | of


def _covered(tx: ports.Transaction, escrow: keys.Escrow) -> Iterable[dataset.WrappedKey]:
    return scan.every(tx, dataset.WrappedKey, where=_where(tx, escrow))


def _lacks(tx: ports.Transaction, escrow: keys.Escrow, key: dataset.WrappedKey) -> bool:
    return tx.get(keys.EscrowedKey, f"{escrow.escrow}/{key.generation}/{key.sensitivity}") is None


def replace(tx: ports.Transaction, at: str, changed: Iterable[tuple[str, dataset.WrappedKey]]) -> int:
    """Puts re-wrapped rows in the place of those whose `wrapped` they were made from; how many still were."""
    replaced: Counter[str] = Counter()
    for previous, key in changed:
        _require_own(key, at)
        stored = tx.get(dataset.WrappedKey, kinds.KINDS[dataset.WrappedKey].key(key))
        if stored is None or stored.wrapped != previous or stored.dataset_uid != key.dataset_uid:
            continue
        tx.replace(dataclasses.replace(stored, kek=key.kek, wrapped=key.wrapped))
        replaced[key.kek] += 1
    if replaced:
        tx.emit("keys.rewrapped", f"sites/{at}", keys.RewrapNote(site=at, keys=tuple(sorted(replaced.items()))))
    return replaced.total()


def finish_rotation(tx: ports.Transaction, at: str, number: int) -> keys.SiteKeyring:
    """Ends a rotation. Each KEK of before that no row names may go; from here on no row is taken that does.

    Rows that name another than the target were not to be re-wrapped: they are told as `stuck`, and theirs stay.
    """
    ring = keyring(tx, at)
    if number != ring.wanted or not ring.rotating or not ring.target:
        return ring
    named = Counter(key.kek for key in scan.every(tx, dataset.WrappedKey, where={"site": at}))
    free = (kek for kek in ring.keks if kek != ring.target and not named[kek])
    stuck = sum(named.values()) - named[ring.target]
    done = _put(tx, dataclasses.replace(ring, done=number, stuck=stuck, retired=tuple(dict.fromkeys((*ring.retired, *free)))))
    tx.emit("keys.rotated", f"sites/{at}", _noted(done))
    return done


def _put(tx: ports.Transaction, ring: keys.SiteKeyring) -> keys.SiteKeyring:
    changed = dataclasses.replace(ring, update_time=tx.now)
    return tx.replace(changed) if tx.get(keys.SiteKeyring, ring.site) else tx.insert(changed)


def _noted(ring: keys.SiteKeyring) -> keys.RotationNote:
    return keys.RotationNote(
        site=ring.site, number=ring.wanted, done=ring.done, kek=ring.target, retired=ring.retired, stuck=ring.stuck
    )


def _require_own(key: dataset.WrappedKey, at: str) -> None:
    if key.site != at:
        raise errors.PermissionDenied(
            f"site {at} speaks for its own rows, not for {key.site}'s", reason="KEY_FOREIGN", metadata={"site": key.site}
        )


# Escrows


def create_escrow(tx: ports.Transaction, principal: policy.Principal, asked: keys.Escrow) -> keys.Escrow:
    """Makes an escrow; its key is made by the site's agent, which fills it from then on."""
    ids.segment(asked.escrow, "escrow")
    place = sites.get_site(tx, asked.site)
    name = ids.dataset(asked.dataset).short if asked.dataset else ""
    if name:
        datasets.get_dataset(tx, ids.dataset(name))
    persons = [custodian.principal for custodian in asked.custodians]
    if len(set(persons)) != len(persons) or not 2 <= asked.threshold <= len(persons) <= shares.SHARES_MAX:
        raise errors.InvalidArgument(
            f"{asked.threshold} of {len(set(persons))} custodians cannot guard an escrow",
            reason="THRESHOLD_INVALID",
            help="Name each custodian once, and at least two of them as the threshold.",
        )
    for custodian in asked.custodians:
        _check_public(custodian)
    if len({bytes.fromhex(custodian.public_key) for custodian in asked.custodians}) != len(persons):
        raise errors.InvalidArgument(
            "two custodians of an escrow have the same key: whoever holds it would be both of them",
            reason="SEALING_KEY_INVALID",
            help="Each custodian makes a key of their own: `fed key escrow keygen`.",
        )
    if tx.get(keys.Escrow, asked.escrow) is not None:
        raise errors.AlreadyExists(
            f"escrow {asked.escrow} exists already", help="Choose another name.", metadata={"escrow": asked.escrow}
        )
    made = keys.Escrow(
        escrow=asked.escrow,
        site=place.site,
        dataset=name,
        threshold=asked.threshold,
        custodians=tuple(dataclasses.replace(each, sealed_share="") for each in asked.custodians),
        principal=principal.name,
        create_time=tx.now,
    )
    stored = tx.insert(made)
    tx.emit("escrow.created", f"escrows/{stored.escrow}", _told(stored, principal.name))
    return stored


def _check_public(custodian: keys.Custodian) -> None:
    try:
        hpke.seal(bytes.fromhex(custodian.public_key), b"", b"")
    except ValueError:
        raise errors.InvalidArgument(
            f"the key of {custodian.principal} is not hex", reason="SEALING_KEY_INVALID", help="Use `fed key escrow keygen`."
        ) from None


def get_escrow(tx: ports.Transaction, name: str) -> keys.Escrow:
    """An escrow by its name; NotFound when there is none."""
    key = ids.child(name, "escrows")
    found = tx.get(keys.Escrow, key)
    if found is None:
        raise errors.NotFound(
            f"escrow {key} does not exist", help="`fed key escrow list` shows what is there.", metadata={"escrow": key}
        )
    return found


def store(
    tx: ports.Transaction,
    at: str,
    name: str,
    *,
    public_key: str,
    sealed_shares: Mapping[str, str],
    filled: Iterable[keys.EscrowedKey],
    complete: bool,
    skipped: int,
) -> keys.Escrow:
    """Takes what a site's agent put into an escrow. The escrow's key and shares are taken once and never replaced."""
    stored = escrow = _of_site(get_escrow(tx, name), at)
    if public_key and not escrow.public_key:
        if set(sealed_shares) != {each.principal for each in escrow.custodians}:
            raise errors.InvalidArgument(
                f"the shares are not those of the custodians of escrow {escrow.escrow}", reason="SHARES_INVALID"
            )
        sealed = [dataclasses.replace(each, sealed_share=sealed_shares[each.principal]) for each in escrow.custodians]
        escrow = dataclasses.replace(escrow, public_key=public_key, custodians=tuple(sealed))
    elif public_key and public_key != escrow.public_key:
        raise errors.FailedPrecondition(
            f"escrow {escrow.escrow} has its key already", reason="ESCROW_KEYED", metadata={"escrow": escrow.escrow}
        )
    count = escrow.keys
    for row in filled:
        if row.escrow == escrow.escrow and tx.get(keys.EscrowedKey, kinds.KINDS[keys.EscrowedKey].key(row)) is None:
            tx.insert(row)
            count += 1
    behind = not complete or sum(_lacks(tx, escrow, key) for key in _covered(tx, escrow)) > skipped
    changed = dataclasses.replace(escrow, keys=count, behind=behind)
    if (count, escrow.public_key) != (stored.keys, stored.public_key):
        tx.emit("escrow.filled", f"escrows/{escrow.escrow}", _told(changed, f"agents/{at}"))
    # One that is still behind when the agent thinks it is done is told to it anew: its etag is another.
    return tx.replace(changed) if changed != stored or (complete and behind) else escrow


def request_opening(
    tx: ports.Transaction, ctx: Context, principal: policy.Principal, escrow_name: str, reason: str
) -> keys.Opening:
    """Asks for an escrow to be opened. InvalidArgument (REASON_MISSING) without a reason; the log keeps it."""
    escrow = get_escrow(tx, escrow_name)
    if not reason.strip():
        raise errors.InvalidArgument("an escrow is not opened without a reason", reason="REASON_MISSING")
    if not escrow.public_key:
        raise errors.FailedPrecondition(
            f"escrow {escrow.escrow} has no key yet: its site's agent has not answered", reason="ESCROW_EMPTY"
        )
    opening = tx.insert(
        keys.Opening(
            opening=ctx.ids.new("e"),
            escrow=escrow.escrow,
            site=escrow.site,
            reason=reason.strip(),
            principal=principal.name,
            sealing_key=sites.get_site(tx, escrow.site).sealing_key,
            create_time=tx.now,
            expire_time=tx.now + OPENING_LIFE,
        )
    )
    tx.emit("escrow.requested", f"escrows/{escrow.escrow}", _told(escrow, principal.name, opening))
    return opening


def get_opening(tx: ports.Transaction, name: str) -> keys.Opening:
    """An opening by its name; NotFound when there is none."""
    key = ids.child(name, "openings")
    found = tx.get(keys.Opening, key)
    if found is None:
        raise errors.NotFound(f"opening {key} does not exist", metadata={"opening": key})
    return found


def approve(tx: ports.Transaction, principal: policy.Principal, name: str, sealed_share: bytes) -> keys.Opening:
    """A custodian's yes. With the last that is needed the site is told to open it.

    PermissionDenied (NOT_CUSTODIAN) for others; each person counts once, whatever they send again.
    """
    opening = get_opening(tx, name)
    escrow = get_escrow(tx, opening.escrow)
    if principal.name not in {custodian.principal for custodian in escrow.custodians}:
        raise errors.PermissionDenied(
            f"{principal.name} is no custodian of escrow {escrow.escrow}",
            reason="NOT_CUSTODIAN",
            help="Ask one of its custodians.",
            metadata={"escrow": escrow.escrow},
        )
    _require_open(tx, opening)
    if any(each.principal == principal.name for each in opening.approvals):
        return opening
    given = (*opening.approvals, keys.Approval(principal=principal.name, sealed_share=sealed_share.hex(), time=tx.now))
    enough = len(given) >= escrow.threshold
    state = keys.OpeningState.APPROVED if enough else keys.OpeningState.PENDING
    changed = tx.replace(dataclasses.replace(opening, approvals=given, state=state))
    tx.emit("escrow.approved", f"escrows/{escrow.escrow}", _told(escrow, principal.name, changed))
    return changed


def escrowed(tx: ports.Transaction, at: str, name: str, after: str = "") -> tuple[tuple[keys.EscrowedKey, ...], str]:
    """A page of what is in an escrow whose opening is approved, and where it ended."""
    opening = _approved(tx, at, name)
    page = tx.list(keys.EscrowedKey, parent=opening.escrow, after=after, limit=PAGE)
    return page, kinds.KINDS[keys.EscrowedKey].key(page[-1]) if len(page) == PAGE else ""


def give_back(tx: ports.Transaction, at: str, name: str, given: Iterable[dataset.WrappedKey], *, done: bool) -> keys.Opening:
    """Puts rows of an opened escrow in the place of the site's; `done` ends the opening."""
    opening = _approved(tx, at, name)
    count = opening.keys
    for key in given:
        _require_own(key, at)
        if tx.get(keys.EscrowedKey, f"{opening.escrow}/{key.generation}/{key.sensitivity}") is None:
            continue
        stored = tx.get(dataset.WrappedKey, kinds.KINDS[dataset.WrappedKey].key(key))
        if stored is None:
            continue  # the site holds no replica of it any more
        tx.replace(dataclasses.replace(stored, kek=key.kek, wrapped=key.wrapped))
        count += 1
    changed = dataclasses.replace(opening, keys=count)
    if done:
        changed = dataclasses.replace(changed, state=keys.OpeningState.OPENED, open_time=tx.now)
    if changed != opening:
        kind = "escrow.opened" if done else "escrow.restored"
        tx.emit(kind, f"escrows/{opening.escrow}", _told(get_escrow(tx, opening.escrow), f"agents/{at}", changed))
    return tx.replace(changed)


def _approved(tx: ports.Transaction, at: str, name: str) -> keys.Opening:
    opening = get_opening(tx, name)
    _of_site(get_escrow(tx, opening.escrow), at)
    _require_open(tx, opening)
    if opening.state is not keys.OpeningState.APPROVED:
        raise errors.FailedPrecondition(
            f"opening {opening.opening} is {opening.state}",
            reason="OPENING_NOT_APPROVED",
            metadata={"opening": opening.opening},
        )
    return opening


def _require_open(tx: ports.Transaction, opening: keys.Opening) -> None:
    if opening.state is keys.OpeningState.OPENED or (opening.expire_time and opening.expire_time <= tx.now):
        raise errors.FailedPrecondition(
            f"opening {opening.opening} of escrow {opening.escrow} is over",
            reason="OPENING_OVER",
            help="Ask anew: `fed key escrow request`.",
            metadata={"opening": opening.opening},
        )


def _of_site(escrow: keys.Escrow, at: str) -> keys.Escrow:
    if escrow.site != at:
        raise errors.PermissionDenied(
            f"escrow {escrow.escrow} is of site {escrow.site}, not of {at}", reason="ESCROW_FOREIGN", metadata={"site": at}
        )
    return escrow


def _told(escrow: keys.Escrow, principal: str, opening: keys.Opening | None = None) -> keys.EscrowNote:
    return keys.EscrowNote(
        escrow=escrow.escrow,
        site=escrow.site,
        principal=principal,
        opening=opening.opening if opening else "",
        reason=opening.reason if opening else "",
        dataset=escrow.dataset,
        threshold=escrow.threshold,
        custodians=tuple(custodian.principal for custodian in escrow.custodians),
        approvals=tuple(each.principal for each in opening.approvals) if opening else (),
        keys=opening.keys if opening else escrow.keys,
    )


# What agents are told


def instructions(tx: ports.Transaction, at: str) -> tuple[Instruction, ...]:
    """What a site's agent is to do with its keys now."""
    ring = tx.get(keys.SiteKeyring, at)
    due: list[Instruction] = []
    if ring is not None and ring.rotating:
        due.append(keys.RotateKeys(number=ring.wanted, target=ring.target))
    own = {escrow.escrow: escrow for escrow in tx.list(keys.Escrow, where={"site": at})}
    due += [keys.FillEscrow(escrow=escrow) for escrow in own.values() if escrow.behind]
    for opening in tx.list(keys.Opening, where={"site": at, "state": str(keys.OpeningState.APPROVED)}):
        if opening.expire_time and opening.expire_time > tx.now:
            due.append(keys.OpenEscrow(opening=opening, escrow=own[opening.escrow]))
    return tuple(due)
