"""`fed doctor`: what is wrong with a federation, as far as it can be seen from here, and what to do about it."""

from __future__ import annotations

from pathlib import Path

import click

from federation import config
from federation.cli import exits
from federation.cli.command import verb
from federation.cli.session import Session
from federation.core import diagnosis
from federation.shown import shapes

_EXAMPLE = """\
fed doctor
# Where a site's agent runs
fed doctor --config federation.yaml --state /var/lib/fed --site eu-1
"""
_COLUMNS = (
    shapes.Column(heading="WHERE", show=lambda row: row.subject),
    shapes.Column(heading="CHECK", show=lambda row: row.check),
    shapes.Column(heading="LEVEL", show=lambda row: str(row.level)),
    shapes.Column(heading="FOUND", show=lambda row: row.detail),
    shapes.Column(heading="WHAT TO DO", show=lambda row: row.help or "-"),
)


@verb(
    None,
    "doctor",
    answers=list[diagnosis.Diagnosis],
    example="fed doctor\nfed doctor --config federation.yaml --state /var/lib/fed --site eu-1",
)
@click.option("--config", "file", type=click.Path(path_type=Path), metavar="FILE", help="Look from where a process runs.")
@click.option("--site", "sites", multiple=True, help="With --config: this site's agent, not the server; may be repeated.")
@click.option("--state", type=click.Path(path_type=Path), metavar="DIR", help="With --config: the state folder.")
@click.option("--all", "everything", is_flag=True, help="Show what is good, too.")
def doctor(session: Session, *, file: Path | None, sites: tuple[str, ...], state: Path | None, everything: bool) -> int:
    """Looks for what is wrong: clocks, certificates, stores, clusters, the record, disks, permissions, versions.

    From a person's machine it sees the server and what each site's last admission test found. With the federation file, on the
    host of a server or an agent, it sees that one's files, database, tables, store and cluster. Each finding says what to do.
    Exits with 1 when something is broken.
    """
    from federation.local import doctor as looks  # noqa: PLC0415 - it imports what servers and agents do

    if file is None and (sites or state):
        raise click.UsageError("--site and --state go with --config")
    with session.output.waiting("looking"):
        found = list(looks.person(session.context)) if file is None else list(_local(file, sites, state))
    for_people = session.output.for_people
    shown = [row for row in found if everything or not for_people or row.level is not diagnosis.Level.GOOD]
    if shown or not for_people:
        session.output.rows(shown, _COLUMNS)
    else:
        session.output.say(f"all is well: {len(found)} things were looked at")
    return exits.ERROR if diagnosis.worst(found) is diagnosis.Level.BROKEN else exits.OK


def _local(file: Path, sites: tuple[str, ...], state: Path | None) -> list[diagnosis.Diagnosis]:
    from federation.local import doctor as looks  # noqa: PLC0415 - as above

    read = config.federation_file(file)
    folder = state or config.state_path(read.federation)
    if not sites:
        return list(looks.server(config.server(read, folder), file, (read.address, read.agents_address)))
    return [row for name in sites for row in looks.site(config.agent(read, name, folder))]
