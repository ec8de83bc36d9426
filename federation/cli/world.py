"""`fed world`: the running federation as a file to plan in."""

from __future__ import annotations

from pathlib import Path

import click

from federation.cli.command import noun, verb
from federation.cli.session import Session
from federation.core import errors, whatif

world = noun("world", "The running federation as a file to plan in.")


@verb(world, "export", example="fed world export --dataset sales/flights -f world.json", has_output=False)
@click.option("--dataset", "datasets", multiple=True, metavar="DATASET[@N]", help="Only this dataset; repeat for several.")
@click.option("-f", "--file", "path", type=click.Path(path_type=Path), help="Write into this file instead of to stdout.")
def export(session: Session, *, datasets: tuple[str, ...], path: Path | None) -> None:
    """Writes all that placements are decided from: sites, loads, prices, volumes, replicas, profiles, the queue.

    For administrators. `fed plan --world FILE` plans in it. It holds no keys, no addresses and no names of files, and of each
    dataset the newest version, or the one that is named.
    """
    pieces = session.client.export_world(datasets)
    if path is None:
        for piece in pieces:
            session.output.bytes(piece)
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
    session.output.say(f"{path} has {size:,} bytes; plan in it: fed plan --world {path} --request request.json")


@verb(world, "schema", example="fed world schema request", has_output=False)
@click.argument("kind", type=click.Choice(("world", "request")), default="world")
def schema(session: Session, *, kind: str) -> None:
    """Prints the JSON Schema (2020-12) of a world file or of a request file."""
    session.output.write_json(whatif.schemas()[f"{kind}.schema.json"])
