"""The federation's prices: which cards hold, how new ones are imported, and what a volume would cost now.

The newest import holds; before the first one, the cards that came with the settings. A card never changes once it is stored, so
that every charge can be priced again by the number that its ledger entry names.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from federation import ports
from federation.core import errors, kinds, metering, policy, ratecard, site
from federation.core import offers as offer_cards
from federation.services.context import Context

C = TypeVar("C", ratecard.RateCard, offer_cards.OfferCard)

#: Longer notes belong elsewhere.
NOTE_MAX = 500
_COLLECTION = "rateCards"
_IN_USE = f"{_COLLECTION}/-"


class Month(NamedTuple):
    """What was sent in one pricing scope this month, and what is reserved there for reads in flight."""

    sent_bytes: int
    requests: int
    reserved_bytes: int


def rates(tx: ports.Transaction, ctx: Context) -> ratecard.RateCard:
    """The rate card that holds now. Each is parsed once in a process."""
    return _current(tx, ctx, ctx.rates, ctx.cards.rates, lambda card: ratecard.parse(card.egress))


def offers(tx: ports.Transaction, ctx: Context) -> offer_cards.OfferCard:
    """The offer card that holds now. Each is parsed once in a process."""
    return _current(tx, ctx, ctx.offers, ctx.cards.offers, lambda card: offer_cards.parse(card.compute))


def _current(
    tx: ports.Transaction, ctx: Context, before: C, parsed: dict[int, C], parse: Callable[[kinds.RateCardVersion], C]
) -> C:
    """The card of the newest import, `before` where there was none.

    Numbers have no gaps and cards are never removed, so the newest one known is the newest one as long as the next is not
    there: one look by key, and not a card of thousands of rows read in each transaction.
    """
    known = ctx.cards.newest
    if known and known in parsed and tx.get(kinds.RateCardVersion, _key(known + 1)) is None:
        return parsed[known]
    stored = _newest(tx)
    if stored is None:
        return before
    card = parsed.get(stored.number) or dataclasses.replace(parse(stored), number=stored.number)
    if stored.create_time != tx.now:
        # One that this very transaction made may yet be taken back, and another may get its number.
        parsed[stored.number] = card
        ctx.cards.newest = max(known, stored.number)
    return card


def _newest(tx: ports.Transaction) -> kinds.RateCardVersion | None:
    return next(iter(tx.list(kinds.RateCardVersion, limit=1, newest_first=True)), None)


def _key(number: int) -> str:
    return f"{number:010d}"


# What a volume costs


def month(tx: ports.Transaction, scope: str) -> Month:
    """The counters of a pricing scope: `ratecard.scope` tells its name."""
    sent = tx.get(site.LinkVolume, f"{metering.month(tx.now)}/{scope}") or site.LinkVolume(scope=scope, month="")
    reserved = tx.get(site.LinkReservation, scope) or site.LinkReservation(scope=scope)
    return Month(sent.sent_bytes, sent.requests, reserved.reserved_bytes)


def quote(
    tx: ports.Transaction,
    ctx: Context,
    source_region: str,
    destination_region: str,
    volume: int,
    *,
    month_to_date_bytes: int | None = None,
    requests: int = 0,
    account: str = "",
) -> ratecard.Quote:
    """What a volume would cost now, after what was sent this month and what is reserved; or after a stated volume of a month.

    InvalidArgument for what is no region, no account or no size; FailedPrecondition (PRICE_UNKNOWN) where no row prices it.
    """
    ratecard.check_link(source_region, destination_region, account)
    counted = month(tx, ratecard.scope(source_region, destination_region, account))
    stated = month_to_date_bytes is not None
    return rates(tx, ctx).quote(
        source_region,
        destination_region,
        volume,
        month_to_date_bytes=counted.sent_bytes if month_to_date_bytes is None else month_to_date_bytes,
        reserved_bytes=0 if stated else counted.reserved_bytes,
        requests=requests,
        month_to_date_requests=0 if stated else counted.requests,
        account=account,
    )


# Imports


def import_card(
    tx: ports.Transaction,
    ctx: Context,
    principal: policy.Principal,
    *,
    egress: str = "",
    compute: str = "",
    note: str = "",
    replace: bool = False,
) -> kinds.RateCardVersion:
    """Makes the next card: of the one that holds with the imported rows, or with `replace` of these alone.

    A link's rows of a date replace those of the same link and date, whole; so do a region's of one item. Text that is left
    empty leaves its rows as they are, with `replace` too. InvalidArgument (PRICES_INVALID) names the line that is wrong, and
    nothing is imported then. What changes nothing makes no new card.
    """
    if not egress.strip() and not compute.strip():
        raise errors.InvalidArgument(
            "there is nothing to import", reason="PRICES_INVALID", help="Give egress or compute prices."
        )
    if len(note) > NOTE_MAX:
        raise errors.InvalidArgument(
            f"the note has {len(note)} characters, more than {NOTE_MAX}",
            reason="NOTE_TOO_LONG",
            violations={"note": "too long"},
        )
    before = get_card(tx, ctx)
    new = kinds.RateCardVersion(
        number=before.number + 1,
        egress=_egress(tx, ctx, egress, replace=replace),
        compute=_compute(tx, ctx, compute, replace=replace),
        digest="",
        note=note,
        principal=principal.name,
        create_time=tx.now,
    )
    new = dataclasses.replace(new, digest=_digest(new.egress, new.compute))
    if before.number and new.digest == before.digest:
        return before
    stored = tx.insert(new)
    # The rows are in the card itself: the log says which, and does not hold them a second time.
    told = info(stored, rows=False)
    tx.emit("prices.imported", f"{_COLLECTION}/{stored.number}", told)
    return stored


def _egress(tx: ports.Transaction, ctx: Context, given: str, *, replace: bool) -> str:
    """Egress rows after an import, as CSV. Made into a card, so that rows that contradict each other are found now."""
    kept = rates(tx, ctx).rows
    if not given.strip():
        return ratecard.text(kept)
    new = ratecard.parse(given).rows
    return ratecard.text(ratecard.RateCard(rows=ratecard.merged(() if replace else kept, new)).rows)


def _compute(tx: ports.Transaction, ctx: Context, given: str, *, replace: bool) -> str:
    kept = offers(tx, ctx).rows
    if not given.strip():
        return offer_cards.text(kept)
    new = offer_cards.parse(given).rows
    return offer_cards.text(offer_cards.OfferCard(rows=offer_cards.merged(() if replace else kept, new)).rows)


def _digest(egress: str, compute: str) -> str:
    return hashlib.sha256(f"{egress}\0{compute}".encode()).hexdigest()


def get_card(tx: ports.Transaction, ctx: Context, name: str = _IN_USE) -> kinds.RateCardVersion:
    """A card by its name, `rateCards/3`; `rateCards/-` is the one that holds, `rateCards/0` the one from before all imports."""
    wanted = name.removeprefix(f"{_COLLECTION}/")
    if wanted != "-" and not (wanted.isascii() and wanted.isdecimal() and len(wanted) <= 10):
        raise errors.InvalidArgument(
            f"{name!r} does not name a rate card",
            reason="NAME_INVALID",
            help="Write rateCards/3, or rateCards/- for the one that holds.",
            violations={"name": "must be rateCards/NUMBER or rateCards/-"},
        )
    if wanted == "-":
        return _newest(tx) or _original(ctx)
    if not int(wanted):
        return _original(ctx)
    found = tx.get(kinds.RateCardVersion, _key(int(wanted)))
    if found is None:
        raise errors.NotFound(
            f"there is no rate card {int(wanted)}", help="`fed price list` shows what is there.", metadata={"rate_card": wanted}
        )
    return found


def _original(ctx: Context) -> kinds.RateCardVersion:
    egress, compute = ratecard.text(ctx.rates.rows), offer_cards.text(ctx.offers.rows)
    return kinds.RateCardVersion(
        number=0, egress=egress, compute=compute, digest=_digest(egress, compute), note="what the settings name"
    )


def info(card: kinds.RateCardVersion, *, rows: bool = True) -> ratecard.CardInfo:
    """A card as it is told: with its rows as CSV, or only with their numbers."""
    return ratecard.CardInfo(
        number=card.number,
        egress=card.egress.encode() if rows else b"",
        compute=card.compute.encode() if rows else b"",
        digest=card.digest,
        note=card.note,
        principal=card.principal,
        create_time=card.create_time,
        egress_rows=_lines(card.egress),
        compute_rows=_lines(card.compute),
    )


def _lines(text: str) -> int:
    """How many rows a CSV has below its heading; no field of a price file holds a line break."""
    return max(0, text.count("\n") - 1)
