"""`fed audit`: who did, asked and was refused what, and the proof that nothing was taken out of it or changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import click

from federation.cli import exits, formats
from federation.cli.command import noun, verb
from federation.cli.ledger import read_heads
from federation.cli.session import Session
from federation.core import errors, trail, witness
from federation.core.events import TABLES
from federation.shown import wording

audit = noun("audit", "Who did, asked and was refused what, and the proof that nothing was cut or changed.")

#: More than a server takes at once say no more than the newest.
_COSIGNATURES_MAX = 1000
_Walk = Callable[[str], Iterator[witness.AuditVerification]]
_FIELDS = ("principal", "kind", "name", "dataset", "site", "outcome", "request_id")


@verb(
    audit,
    "list",
    answers=list[trail.AuditRow],
    example="fed audit list --outcome REFUSED --dataset sales/flights --from 2026-11-01",
)
@click.option("--principal", default="", metavar="users/NAME", help="Who did it, or for whom it was done.")
@click.option("--kind", default="", metavar="KIND", help="What happened: dataset.created, or policy.* for all that begin so.")
@click.option("--name", default="", metavar="RESOURCE", help="To which resource, like sites/eu-1.")
@click.option("--dataset", default="", metavar="DATASET", help="What is about this dataset.")
@click.option("--site", default="", metavar="SITE", help="What is about this site.")
@click.option("--outcome", type=click.Choice([str(each) for each in trail.Outcome]), default=None, help="How it went.")
@click.option("--request-id", default="", metavar="ID", help="What one request caused.")
@click.option("--from", "from_", default="", metavar="TIME", help="Not before: 2026-11-28 or 2026-11-28T10:00:00Z.")
@click.option("--to", default="", metavar="TIME", help="Only before.")
@click.option("-n", "--limit", type=click.IntRange(min=1), default=100, show_default=True, help="At most so many, the newest.")
def list_(session: Session, *, from_: str, to: str, limit: int, **given: str | None) -> None:
    """Lists entries, newest first: changes, decisions, leases of keys, refusals, and people's own questions to the record."""
    found = list(islice(session.client.list_audit_entries(filter=_filter(from_, to, given)), limit))
    session.output.rows(found)
    if len(found) == limit:
        session.output.say(f"these are the newest {limit:,}; there may be more: raise --limit, or narrow the time with --to")


def _filter(begin: str, end: str, given: dict[str, str | None]) -> str:
    terms = [f"{name} = {_quoted(value)}" for name in _FIELDS if (value := given[name])]
    terms += [f"time {sign} {_quoted(text)}" for sign, text in ((">=", begin), ("<", end)) if text]
    return " AND ".join(terms)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


@verb(audit, "show", answers=trail.AuditRow, example="fed audit show 48213")
@click.argument("position", type=click.IntRange(min=1))
def show(session: Session, *, position: int) -> None:
    """Shows the entry at a position of the log, with all that it tells."""
    found = session.client.get_audit_entry(position)

    def draw() -> None:
        session.output.fields([(name, text) for name, text in wording.fields(found) if name != "body"])
        session.output.line(formats.json_text(trail.body(found) or found.body).rstrip())

    session.output.item(found, draw)


@verb(
    audit,
    "verify",
    answers=formats.many(formats.extended(witness.AuditVerification, table=str, intact=bool)),
    example="fed audit verify /exports/tables --key 3b6a27bc... --witness eu-1.jsonl",
)
@click.argument("path", default="")
@click.option("--table", type=click.Choice(TABLES), default=None, help="Only this one.")
@click.option("--key", "keys", multiple=True, metavar="HEX", help="With PATH: the catalog's public key; repeat for older ones.")
@click.option(
    "--heads",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="With PATH: heads that were kept elsewhere, as `fed ledger heads -o json` prints them.",
)
@click.option(
    "--witness",
    "witnesses",
    multiple=True,
    metavar="SITE|FILE",
    help="What a site has co-signed: asked of its gateway, or a file.",
)
@click.option(
    "--site-key",
    "pinned",
    multiple=True,
    metavar="SITE=HEX",
    help="With PATH: a site's public key, if you know it from elsewhere.",
)
@click.pass_context
def verify(
    ctx: click.Context,
    session: Session,
    *,
    path: str,
    table: str | None,
    keys: tuple[str, ...],
    heads: Path | None,
    witnesses: tuple[str, ...],
    pinned: tuple[str, ...],
) -> None:
    """Proves that no row was cut, changed, put in or moved: by the chain, the catalog's signed heads, and the sites' word.

    PATH is a copy of the record's tables, or of one of them: a folder or a URL. With it no server is asked, and nothing of what
    the copy says of itself is believed. WITNESSED: a site saw the table up to there; not even the catalog could have written it
    anew since. Rows after PROVEN are not covered by a head yet. If anything is wrong, it is told and the command ends with 1.
    """
    if not path and (keys or heads or pinned):
        raise click.UsageError("--key, --heads and --site-key go with PATH: a server knows its own")
    if path and not keys:
        raise click.UsageError("name the catalog's public key with --key: what the tables say of themselves proves nothing")
    place = _Place.of(path, table)
    cosigned = [word for named in witnesses for word in _cosigned(session, named, offline=bool(path))]
    walk = _offline(place, keys, heads, cosigned, pinned) if path else _online(session, cosigned)
    found = []
    for name in place.tables:
        with session.output.waiting(f"reading {name}") as tell:
            for step in walk(name):
                if session.output.bars:
                    tell(f"reading {name}: {step.verification.rows:,} rows")
        found.append(step)
    if path and not any(each.verification.rows for each in found) and all(each.intact for each in found):
        raise errors.NotFound(
            f"there are no rows of {', '.join(place.tables)} at {path}: nothing is proven",
            reason="TABLES_ABSENT",
            help="Name the folder that has the tables in it, or the one of a table.",
            metadata={"path": path},
        )
    _tell(session, found)
    if not all(each.intact for each in found):
        ctx.exit(exits.ERROR)


def _tell(session: Session, found: Sequence[witness.AuditVerification]) -> None:
    if not session.output.for_people:
        session.output.rows([formats.extend(each, table=each.table, intact=each.intact) for each in found])
        return
    session.output.rows(found)
    for each in found:
        for wrong in each.verification.findings:
            session.output.line(f"{each.table}: {wrong.reason}: {wrong.detail}")
        if each.forged_cosignatures:
            session.output.line(
                f"{each.table}: COSIGNATURE_FORGED: {each.forged_cosignatures:,} are not what they say they are"
            )
    if not any(each.verification.heads for each in found):
        session.output.say("no signed head was compared: whoever can write the tables could have written them anew")
    elif not any(each.witnesses for each in found):
        session.output.say("no site has vouched for it: whoever has the catalog's key could have written the tables anew")


class _Place:
    """Where tables are verified: in a folder or URL of all, in one table's own, or at the server."""

    def __init__(self, root: str, alone: str, tables: tuple[str, ...]) -> None:
        self.root = root
        self.alone = alone
        self.tables = tables

    @classmethod
    def of(cls, path: str, table: str | None) -> _Place:
        """A folder is a table's own if it has its log in it, a URL if it ends with a table's name."""
        last = path.rstrip("/").rpartition("/")[2]
        if (Path(path) / "_delta_log").is_dir() if "://" not in path else last in TABLES:
            name = table or (last if last in TABLES else "")
            if not name:
                raise click.UsageError(f"{path} is one table: say which with --table")
            return cls(path, name, (name,))
        return cls(path, "", (table,) if table else TABLES)


def _online(session: Session, cosigned: Sequence[witness.Cosignature]) -> _Walk:
    return lambda table: session.client.verify_audit(table, cosigned[-_COSIGNATURES_MAX:])


def _offline(
    place: _Place, keys: tuple[str, ...], heads: Path | None, cosigned: Sequence[witness.Cosignature], pinned: tuple[str, ...]
) -> _Walk:
    from federation.adapters.records_links import DeltaReader  # noqa: PLC0415 - it takes its time to import
    from federation.services import witness as services  # noqa: PLC0415 - likewise

    reader, kept, known = DeltaReader(place.root, alone=place.alone), read_heads(heads) if heads else (), _pinned(pinned)
    return lambda table: services.verify(reader, table, kept, keys, cosigned=cosigned, pinned=known)


def _pinned(pairs: tuple[str, ...]) -> dict[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for pair in pairs:
        site, equals, key = pair.partition("=")
        if not equals or not site or not key:
            raise click.UsageError(f"--site-key {pair} is not SITE=HEX")
        found[site] = found.get(site, frozenset()) | {key.lower()}
    return found


def _cosigned(session: Session, named: str, *, offline: bool) -> list[witness.Cosignature]:
    """What a site has co-signed, from a file or from its gateway. What it refused to is told: that is a proof by itself."""
    file = Path(named)
    if file.is_file():
        lines = witness.parse(file.read_bytes())
    elif offline:
        raise errors.NotFound(
            f"there is no file {named}",
            reason="FILE_MISSING",
            help="Take `witness.jsonl` from the state folder of the site's agent.",
            metadata={"file": named},
        )
    else:
        lines = session.client.witness(named)
    for line in lines:
        if line.refusal is not None:
            told = line.refusal
            session.output.say(f"{told.site} did not co-sign at {wording.moment(told.time)}: {told.reason}: {told.detail}")
    return [line.cosignature for line in lines if line.cosignature is not None]
