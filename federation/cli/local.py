"""`fed up`, `fed status`, `fed down`: a whole federation on this machine."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from federation import config
from federation.cli import exits
from federation.cli.answers import Done
from federation.cli.command import verb
from federation.cli.formats import Together
from federation.cli.session import Session
from federation.core import errors
from federation.core.site import Site
from federation.shown import shapes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Up:
    """A federation that runs on this machine, where it listens, and the context that talks to it."""

    federation: str
    target: str
    context: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """One process or Ray cluster of a local federation. `state` is RUNNING or DEAD."""

    part: str
    state: str
    pid: int
    address: str
    log: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Status(Together):
    """The parts of a local federation, and its sites as the catalog sees them."""

    parts: tuple[Part, ...]
    sites: tuple[Site, ...]


_FILE = click.option(
    "-f",
    "--file",
    "file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The federation file [federation.yaml].",
)
_STATE = click.option(
    "--state", type=click.Path(path_type=Path), metavar="DIR", help="The state folder [~/.local/state/fed/FEDERATION]."
)
_DEFAULT_FILE = Path("federation.yaml")


@verb(None, "up", answers=Up, example="fed up -f examples/demo/federation.yaml --state .demo")
@_FILE
@_STATE
def up(session: Session, file: Path | None, state: Path | None) -> None:
    """Starts a federation on this machine: server, agents with their gateways, Ray clusters. What runs already stays.

    It goes on when this command ends; `fed down` ends it.
    """
    from federation.local import supervisor  # noqa: PLC0415 - gRPC and Ray take their time to import

    read = config.federation_file(file or _DEFAULT_FILE)
    federation = supervisor.Federation(read, state or config.state_path(read.federation))
    with session.output.steps() as tell:
        context = federation.up(tell)

    def draw() -> None:
        session.output.say(f"{read.federation} runs at {context.target}; `fed` talks to it (context {context.context}).")
        session.output.say("next: fed site list    fed status    fed dataset put NAMESPACE/NAME PATH --site SITE    fed down")

    session.output.item(Up(federation=read.federation, target=context.target, context=context.context), draw)


@verb(None, "status", answers=Status, example="fed status --state .demo -o json")
@_FILE
@_STATE
def status(session: Session, file: Path | None, state: Path | None) -> int:
    """Shows each part of the local federation and each site. Exits with 7 when a part is dead or nothing runs."""
    from federation.local import supervisor  # noqa: PLC0415 - gRPC and Ray take their time to import

    layout = config.Layout(root=_state(file, state))
    parts = supervisor.status(layout)
    try:
        sites = supervisor.site_states(layout)
    except errors.FederationError as error:
        sites = ()
        session.output.say(error.message)
    told = tuple(Part(**dataclasses.asdict(part)) for part in parts)

    def draw() -> None:
        session.output.rows(told, _PARTS)
        if sites:
            session.output.line()
            session.output.rows(sites)

    session.output.item(Status(parts=told, sites=sites), draw, rows=told)
    well = bool(parts) and all(part.state == "RUNNING" for part in parts)
    return exits.OK if well else exits.UNAVAILABLE


@verb(None, "down", answers=Done, example="fed down --state .demo")
@_FILE
@_STATE
def down(session: Session, file: Path | None, state: Path | None) -> None:
    """Ends the local federation. Its data stays in the state folder."""
    from federation.local import supervisor  # noqa: PLC0415 - gRPC and Ray take their time to import

    layout = config.Layout(root=_state(file, state))
    with session.output.steps() as tell:
        supervisor.down(layout, tell)
    session.output.done("ended", str(layout.root), f"nothing of {layout.root} runs any more")


def _state(file: Path | None, state: Path | None) -> Path:
    """The state folder that was named, or that of the named file, of the file here, or of the current context."""
    if state is not None:
        return state.expanduser().absolute()
    if file is not None or _DEFAULT_FILE.exists():
        return config.state_path(config.federation_file(file or _DEFAULT_FILE).federation)
    current = config.contexts()
    if not current.current:
        raise errors.NotFound("no federation is named", reason="CONFIG_MISSING", help="Say which: -f FILE or --state DIR.")
    return current.find(current.current).ca.parent.parent


_PARTS = (
    shapes.Column(heading="PART", show=lambda row: row.part),
    shapes.Column(heading="STATE", show=lambda row: row.state),
    shapes.Column(heading="PID", show=lambda row: str(row.pid or "-"), number=True),
    shapes.Column(heading="ADDRESS", show=lambda row: row.address),
    shapes.Column(heading="LOG", show=lambda row: row.log),
)
