"""`fed world`: the running federation as a file to plan in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from federation.cli import formats
from federation.cli.answers import Done
from federation.cli.command import noun, verb
from federation.cli.session import Session
from federation.core import declared, errors, whatif

world = noun("world", "The running federation as a file to plan in.")


@verb(world, "export", answers=Done, example="fed world export --dataset sales/flights -f world.json")
@click.option("--dataset", "datasets", multiple=True, metavar="DATASET[@N]", help="Only this dataset; repeat for several.")
@click.option("-f", "--file", "path", type=click.Path(path_type=Path), help="Write into this file instead of to stdout.")
def export(session: Session, *, datasets: tuple[str, ...], path: Path | None) -> None:
    """Writes all that placements are decided from: sites, loads, prices, volumes, replicas, profiles, the queue.

    For administrators. `fed plan --world FILE` plans in it. It holds no keys, no addresses and no names of files, and of each
    dataset the newest version, or the one that is named.
    """
    pieces = session.client.export_world(datasets)
    if path is None:
        _print(session, pieces)
        return
    part = path.with_name(f"{path.name}.part")
    size = 0
    try:
        with part.open("wb") as file:
            for piece in pieces:
                size += file.write(piece)
        part.replace(path)
    except OSError as error:
        raise errors.InvalidArgument(
            f"{path} cannot be written: {error.strerror}", reason="FILE_UNWRITABLE", help="Name a file in a folder of yours."
        ) from None
    finally:
        part.unlink(missing_ok=True)
    said = f"{path} has {size:,} bytes; plan in it: fed plan --world {path} --request request.json"
    session.output.done("written", str(path), said)


def _print(session: Session, pieces: Iterator[bytes]) -> None:
    """The world to stdout: JSON piece by piece as it comes, or in another format that can hold it."""
    if session.output.for_people or session.output.format == "json":
        for piece in pieces:
            session.output.bytes(piece)
    else:
        session.output.item(json.loads(b"".join(pieces)))


@verb(world, "schema", answers=dict[str, Any], example="fed world schema request")
@click.argument("kind", type=click.Choice(("world", "request", "declarative")), default="world")
def schema(session: Session, *, kind: str) -> None:
    """Prints the JSON Schema (2020-12) of a world file, of a request file, or of what `fed apply` takes."""
    found = declared.schemas() if kind == "declarative" else whatif.schemas()[f"{kind}.schema.json"]
    session.output.item(found, lambda: session.output.line(formats.json_text(found).rstrip()))
