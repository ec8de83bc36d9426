"""`fed dataset`: put data in encrypted, bring it back, and look at what is there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from federation import secrecy
from federation.cli import cards, erasure, formats, governed, jobs, sql
from federation.cli.command import noun, verb
from federation.cli.session import Session
from federation.core import columns, errors, ids, units
from federation.core import dataset as values
from federation.core import job as job_values
from federation.core.card import CardFact
from federation.core.erasure import Erasure
from federation.core.statistics import FileStatistics
from federation.shown import wording


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """Files that are in a folder of this machine now."""

    folder: str
    files: tuple[str, ...]


#: A dataset, where its newest version lies, what it was made of, and what its card has from there.
_SHOWN = formats.extended(
    values.Dataset, replicas=list[values.Replica], made_of=list[str], inherited=list[CardFact], unseen_sources=int
)

dataset = noun("dataset", "Governed collections of data: put in encrypted, brought back, described.")

dataset.add_command(erasure.erasure)
dataset.add_command(erasure.certificate)
verb(dataset, "erase", answers=Erasure, example='fed dataset erase sales/flights@3 --reason "request 4711"')(erasure.erase)

_RESIDENCY = click.option(
    "--residency", multiple=True, metavar="EU", help="A jurisdiction in which it may be stored and used; repeat for several."
)
_SITE = click.option("--site", default="", help="Read it from this site; from the cheapest for you otherwise.")
_PURPOSE = click.option("--purpose", default="", help="What you want it for, where its use is limited to purposes.")
_KIND = click.option(
    "--kind", type=click.Choice(("DATA", "MODEL")), default="DATA", show_default=True, help="What it holds, if it is created."
)
_RELEASE = click.option(
    "--release-max", default=None, metavar="1MB", help="Outputs of at most this size may leave its residency; 0 for none."
)
_ETAG = click.option("--etag", default="", help="Refuse if it changed since this etag was read.")


@verb(dataset, "list", answers=list[values.Dataset], example="fed dataset list sales")
@click.argument("namespace", metavar="[NAMESPACE]", default="-")
@click.option(
    "--filter", "filter_", metavar="EXPRESSION", default="", help="For example 'labels.team = ops'; see `fed search`."
)
@click.option("--show-deleted", is_flag=True, help="List deleted ones too.")
def list_(session: Session, *, namespace: str, filter_: str, show_deleted: bool) -> None:
    """Lists the datasets of a namespace, or of all."""
    session.output.rows(session.client.list_datasets(namespace, filter=filter_, show_deleted=show_deleted))


@verb(dataset, "show", answers=_SHOWN, example="fed dataset show sales/flights")
@click.argument("name", metavar="DATASET")
def show(session: Session, *, name: str) -> None:
    """Shows one dataset: kind, residency, labels, data card, newest version and where that lies, and what its card inherits.

    `fed dataset get` brings its data, `fed dataset preview` the first rows.
    """
    found = session.client.get_dataset(name)
    newest = found.name.version(found.latest_version)
    replicas = list(session.client.list_replicas(newest)) if found.latest_version else []

    card = session.client.explain_card(name)
    unseen = f"{card.unseen} more that you may not know of" if card.unseen else ""
    sources = ", ".join((*card.made_of, *((unseen,) if unseen else ())))

    def draw() -> None:
        session.output.fields([*wording.fields(found), *((("made of", sources),) if sources else ())])
        for rows in (card.facts, replicas):
            if rows:
                session.output.rows(rows)

    more = {"replicas": replicas, "made_of": card.made_of, "inherited": card.facts, "unseen_sources": card.unseen}
    session.output.item(formats.extend(found, **more), draw)


@verb(
    dataset,
    "create",
    answers=values.Dataset,
    example="fed dataset create sales/flights --part sales/flights-eu --part sales/flights-us",
)
@click.argument("name", metavar="DATASET")
@_KIND
@_RESIDENCY
@_RELEASE
@click.option("--part", "parts", multiple=True, metavar="DATASET", help="A dataset that it consists of; repeat for each.")
@click.option("--description", default="", help="A sentence on what it holds.")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="A label; repeat for several.")
@cards.create_options
@governed.create_options
def create(
    session: Session,
    *,
    name: str,
    kind: str,
    residency: tuple[str, ...],
    release_max: str | None,
    parts: tuple[str, ...],
    description: str,
    labels: tuple[str, ...],
    **more: Any,
) -> None:
    """Creates a dataset without data, and its namespace if that is not there.

    One with --part is a name for its parts, which may lie apart and may never meet: it is read by `fed job submit --scatter`.
    """
    wanted = ids.dataset(name)
    card, governance = cards.said(more), governed.said(**more)
    _ensure_namespace(session, wanted.namespace)
    made = values.Dataset(
        namespace=wanted.namespace,
        dataset=wanted.dataset,
        kind=values.DatasetKind(kind),
        description=description,
        residency=tuple(sorted(residency)),
        labels=jobs.pairs(labels, "--label"),
        parts=parts,
        release_bytes_max=units.parse_size(release_max) if release_max else 0,
    )
    session.output.outcome(session.client.create_dataset(governance.put(card.put(made))))


@verb(dataset, "update", answers=values.Dataset, example="fed dataset update sales/flights --residency EU --residency US")
@click.argument("name", metavar="DATASET")
@_RESIDENCY
@_RELEASE
@click.option("--any-residency", is_flag=True, help="Lift the residency: it may be anywhere.")
@click.option("--description", default=None, help="The new sentence on what it holds.")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="All labels from now on; repeat for several.")
@cards.update_options
@governed.update_options
@_ETAG
def update(
    session: Session,
    *,
    name: str,
    residency: tuple[str, ...],
    release_max: str | None,
    any_residency: bool,
    description: str | None,
    labels: tuple[str, ...],
    etag: str,
    **more: Any,
) -> None:
    """Changes what is given and leaves the rest."""
    if residency and any_residency:
        raise click.UsageError("--residency and --any-residency exclude each other")
    wanted = ids.dataset(name)
    mask = {
        "residency": residency or any_residency,
        "description": description is not None,
        "labels": labels,
        "release_bytes_max": release_max is not None,
    }
    card, governance = cards.said(more), governed.said(**more)
    paths = (*(field for field, given in mask.items() if given), *card.names, *governance.names)
    if not paths:
        raise click.UsageError("say what to change: `fed dataset update --help` lists what can be")
    changed = values.Dataset(
        namespace=wanted.namespace,
        dataset=wanted.dataset,
        description=description or "",
        residency=tuple(sorted(residency)),
        labels=jobs.pairs(labels, "--label"),
        release_bytes_max=units.parse_size(release_max) if release_max else 0,
        etag=etag,
    )
    session.output.outcome(session.client.update_dataset(governance.put(card.put(changed)), paths))


@verb(
    dataset,
    "declassify",
    answers=values.Dataset,
    example='fed dataset declassify ml/sums --to INTERNAL --reason "k-anonymous, DPO 2026-117"',
)
@click.argument("name", metavar="DATASET")
@click.option("--to", type=click.Choice(tuple(values.Classification)), default=None, help="The lower classification.")
@_RESIDENCY
@click.option("--any-residency", is_flag=True, help="It may be anywhere.")
@governed.declassify_options
@click.option("--reason", required=True, help="Who decided it and why: it is kept in the audit.")
@_ETAG
def declassify(
    session: Session,
    *,
    name: str,
    to: str | None,
    residency: tuple[str, ...],
    any_residency: bool,
    reason: str,
    etag: str,
    **governance: Any,
) -> None:
    """Loosens what a dataset inherited from what it was made of: by whoever decides over all of that, or an administrator."""
    wanted = ids.dataset(name)
    governance["classification"] = governance["classification"] or to
    more = governed.said(**governance)
    paths = (*more.names, *(("residency",) if residency or any_residency else ()))
    if not paths:
        raise click.UsageError("say what to loosen: --to, --purpose, --use-until, --group-size-min, --residency")
    changed = values.Dataset(namespace=wanted.namespace, dataset=wanted.dataset, residency=tuple(sorted(residency)), etag=etag)
    session.output.outcome(session.client.declassify_dataset(more.put(changed), paths, reason))


@verb(dataset, "delete", answers=values.Dataset, example="fed dataset delete scratch/try-1")
@click.argument("name", metavar="DATASET")
@_ETAG
def delete(session: Session, *, name: str, etag: str) -> None:
    """Marks a dataset deleted: nothing reads or writes it until `fed dataset undelete`."""
    session.output.outcome(session.client.delete_dataset(name, etag=etag))


@verb(dataset, "undelete", answers=values.Dataset, example="fed dataset undelete scratch/try-1")
@click.argument("name", metavar="DATASET")
@_ETAG
def undelete(session: Session, *, name: str, etag: str) -> None:
    """Takes back `fed dataset delete`."""
    session.output.outcome(session.client.undelete_dataset(name, etag=etag))


@verb(dataset, "put", answers=values.Version, example="fed dataset put sales/flights ./flights --site eu-1 --residency EU")
@click.argument("name", metavar="DATASET")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--site", required=True, help="The site whose agent stores it.")
@_KIND
@_RESIDENCY
@click.option(
    "--profile",
    type=click.Choice(("whole", "pme")),
    default="whole",
    show_default=True,
    help="Files sealed as wholes, or columns by classes (Parquet Modular Encryption).",
)
@click.option(
    "--column-class",
    "classes",
    multiple=True,
    metavar="CLASS=COLUMN,COLUMN",
    help="With --profile pme: columns under a key of their own; repeat for several.",
)
def put(
    session: Session,
    *,
    name: str,
    path: Path,
    site: str,
    kind: str,
    residency: tuple[str, ...],
    profile: str,
    classes: tuple[str, ...],
) -> None:
    """Encrypts a file or folder of this machine and stores it at a site as a new version.

    It is encrypted before it leaves this process. Files that did not change since the last version are not sent again, but
    for --profile pme, where every file is Parquet and sealed anew: `--profile pme --column-class pii=email,ssn`.
    """
    if (profile == "pme") != bool(classes):
        raise click.UsageError("--profile pme goes with at least one --column-class, and only together")
    secrecy.keep()
    with session.output.transfer(f"put {name}", _bytes_below(path)) as moved:
        made = session.client.put(
            name,
            path,
            site=site,
            residency=residency,
            kind=values.DatasetKind(kind),
            column_classes=columns.parse(classes) if classes else (),
            progress=moved,
        )
    session.output.outcome(made)


@verb(dataset, "get", answers=Fetched, example="fed dataset get sales/flights@3 ./flights")
@click.argument("name", metavar="DATASET[@VERSION]")
@click.argument("folder", type=click.Path(path_type=Path))
@_SITE
@click.option("--overwrite", is_flag=True, help="Replace files that are in the folder already.")
@_PURPOSE
@click.option(
    "--column-class", "classes", multiple=True, metavar="CLASS", help="Bring this class of columns too; repeat for several."
)
def get(
    session: Session, *, name: str, folder: Path, site: str, overwrite: bool, purpose: str, classes: tuple[str, ...]
) -> None:
    """Brings a version's files into a folder, decrypted and verified (`fed dataset show` describes it).

    Of one whose columns are sealed by classes it brings those of the class default, and of each --column-class.
    """
    secrecy.keep()
    with session.output.transfer(f"get {name}", _bytes_of(session, name)) as moved:
        files = session.client.get(
            name, folder, site=site, overwrite=overwrite, purpose=purpose, column_classes=classes, progress=moved
        )
    told = Fetched(folder=str(folder), files=tuple(str(file) for file in files))
    session.output.item(told, lambda: session.output.say(f"{len(files)} files are in {folder}"))


@verb(
    dataset,
    "preview",
    answers=list[dict[str, Any]],
    example="fed dataset preview sales/flights@3 --rows 5 --columns carrier,dep_delay",
)
@click.argument("name", metavar="DATASET[@VERSION]")
@click.option("--rows", type=click.IntRange(1, 10_000), default=20, show_default=True, help="At most so many.")
@click.option("--columns", default="", metavar="NAME,NAME", help="Only these columns.")
@click.option("--file", default="", metavar="PATH", help="The file to look into; the first with rows otherwise.")
@_SITE
@_PURPOSE
@click.option("--show-sensitive", is_flag=True, help="Show columns that its card calls sensitive, if you decide over it.")
def preview(
    session: Session, *, name: str, rows: int, columns: str, file: str, site: str, purpose: str, show_sensitive: bool
) -> None:
    """Shows the first rows of a version: of Parquet, CSV, TSV, JSON lines and plain text. Only what they need is read.

    It is a read like `fed dataset get`: asked of the policy, under a lease, in the audit, and what leaves is egress.
    """
    secrecy.keep()
    found = session.client.preview(
        name,
        rows=rows,
        columns=tuple(column.strip() for column in columns.split(",") if column.strip()),
        file=file,
        site=site,
        purpose=purpose,
        show_sensitive=show_sensitive,
    )
    sql.show(session.output, found)
    told = {key.decode(): value.decode() for key, value in (found.schema.metadata or {}).items()}
    session.output.say(
        f"{'the first ' if told['fed.more'] == 'true' else ''}{found.num_rows} rows of {told['fed.file']} in "
        f"{told['fed.version']}; {int(told['fed.received_bytes']):,} bytes were read"
    )
    masked = json.loads(told["fed.masked"])
    if masked:
        session.output.warn(
            f"Sensitive and masked: {', '.join(masked)}. Whoever decides over it sees them with --show-sensitive."
        )


@verb(dataset, "files", answers=list[values.FileEntry], example="fed dataset files sales/flights@3")
@click.argument("name", metavar="DATASET[@VERSION]")
@_SITE
@_PURPOSE
def files(session: Session, *, name: str, site: str, purpose: str) -> None:
    """Lists the files of a version, or of a dataset's newest, as its site signed them.

    It is a read like `fed dataset get`: asked of the policy, under a lease, in the audit. None of the data is fetched.
    """
    secrecy.keep()
    session.output.rows(session.client.get_manifest(name, site=site, purpose=purpose).files)


@verb(dataset, "statistics", answers=FileStatistics, example="fed dataset statistics sales/flights@3 2013/flights.parquet")
@click.argument("name", metavar="DATASET[@VERSION]")
@click.argument("file", metavar="PATH")
@_SITE
@_PURPOSE
@click.option("--show-sensitive", is_flag=True, help="Show columns that its card calls sensitive, if you decide over it.")
def statistics(session: Session, *, name: str, file: str, site: str, purpose: str, show_sensitive: bool) -> None:
    """Shows the schema of a Parquet file, with nulls, least and greatest value of each column. Only its footer is read.

    It is a read like `fed dataset preview`, and masks alike.
    """
    secrecy.keep()
    found = session.client.describe_file(name, file, site=site, purpose=purpose, show_sensitive=show_sensitive)
    session.output.item(found, lambda: session.output.rows(found.columns), rows=found.columns)
    session.output.say(
        f"{found.rows:,} rows in {found.row_groups:,} row groups of {found.path} in {found.version}; "
        f"{found.received_bytes:,} bytes were read"
    )


@verb(
    dataset,
    "ingest",
    answers=job_values.Job,
    example="fed dataset ingest sales/clicks --from s3://bucket/clicks/ --site us-1 --wait",
)
@click.argument("name", metavar="DATASET")
@click.option("--from", "url", required=True, metavar="URL", help="A prefix that the site's settings list under `sources`.")
@click.option("--site", required=True, help="The site where it lies.")
@_KIND
@_RESIDENCY
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until it has ended.")
def ingest(session: Session, *, name: str, url: str, site: str, kind: str, residency: tuple[str, ...], wait: bool) -> int:
    """Lets a site's agent encrypt what already lies at that site, as a new version. Nothing crosses a region."""
    wanted = ids.dataset(name)
    request = job_values.JobRequest(
        kind=job_values.JobKind.INGEST,
        label=f"ingest {wanted.short}",
        namespace=wanted.namespace,
        outputs=(job_values.OutputSpec(alias="data", dataset=wanted.short, kind=kind),),
        sites=(site,),
        ingest_from=url,
    )
    if residency:
        session.client.plan(request)  # what is wrong with site or source is said before a dataset is made
        session.client.ensure_dataset(name, site=site, residency=residency, kind=values.DatasetKind(kind))
    started = session.client.submit(request)
    return jobs.answer(session, started, wait=wait, follow=False)


def _ensure_namespace(session: Session, name: str) -> None:
    try:
        session.client.get_namespace(name)
    except errors.NotFound:
        session.client.create_namespace(values.Namespace(name=name))


def _bytes_below(path: Path) -> int:
    """Bytes of a file or a folder's files, for the bar alone; the client looks closer."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def _bytes_of(session: Session, name: str) -> int | None:
    """Bytes of a version or of a dataset's newest, for the bar alone."""
    wanted, number = ids.dataset_or_version(name)
    number = number or session.client.get_dataset(wanted.short).latest_version
    return session.client.get_version(wanted.version(number)).total_bytes if number else None
