"""`fed plan`: plans without a server, in a world that is a file."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

from federation.bootstrap import policies
from federation.cli import exits, plans
from federation.cli.command import verb
from federation.cli.session import Session
from federation.core import authorization, errors, planner, units, whatif
from federation.core.job import Job, JobRequest, Plan
from federation.core.world import World

#: YAML is read slowly, and with its references a small file can be a large one.
YAML_BYTES_MAX = 4 * 1024 * 1024
_FILE = click.Path(path_type=Path)


@verb(
    None,
    "plan",
    answers=Plan,
    example="fed plan --world world.json --request request.json --plot cost.svg",
    formats=plans.FORMATS,
)
@click.option("--world", "world_path", required=True, type=_FILE, help="A world file: `fed world export` writes one.")
@click.option("--request", "request_path", type=_FILE, help="A request file, as JSON or YAML.")
@click.option("--job", "waiting", default="", metavar="JOB", help="Plan a job that waits in the world instead of a request.")
@click.option("--at", default="", metavar="SITE", help="Plan it for this site, and see what that costs beside the others.")
@click.option("--plot", type=_FILE, metavar="FILE.svg", help="Draw the costs into this file, too.")
def plan(session: Session, *, world_path: Path, request_path: Path | None, waiting: str, at: str, plot: Path | None) -> int:
    """Tells where a job would run in the world of a file, at what cost, and why not elsewhere.

    Needs no server and changes nothing: change the file and see what happens. `fed world schema` documents both files. Exits
    with 6 when no site may or can run it.
    """
    if (request_path is None) == (not waiting):
        raise click.UsageError("name what to plan: either --request FILE or --job JOB")
    file = whatif.world_file(read(world_path, "WORLD_INVALID", whatif.FILE_BYTES_MAX), str(world_path))
    asked = whatif.queued(file, waiting) if request_path is None else request_file(request_path)
    request, seen = whatif.world_of(file, asked)
    seen = governed(file, request, seen)
    planned = Job(job=waiting or request.label or "planned", request=request, plan=planner.plan(request, seen, at=at))
    plans.answer(session.output, planned, plot)
    return exits.OK if planned.plan and planned.plan.choice else exits.REFUSED


def governed(file: whatif.WorldFile, request: JobRequest, seen: World) -> World:
    """The world with the sites where its policies say no to the request."""
    if not file.policies:
        return seen
    engine = policies.compiler().compile(file.policies)
    return dataclasses.replace(seen, forbidden=authorization.denials(engine, whatif.questions(file, request), seen.sites))


def request_file(path: Path) -> whatif.RequestFile:
    """The request in a file."""
    return whatif.request_file(read(path, "REQUEST_INVALID", whatif.REQUEST_BYTES_MAX), str(path))


def read(path: Path, reason: str, bytes_max: int) -> Any:
    """What a file holds, as plain values: YAML by its name, else JSON. Not a byte more than allowed is read."""
    is_yaml = path.suffix.lower() in (".yaml", ".yml")
    most = min(bytes_max, YAML_BYTES_MAX) if is_yaml else bytes_max
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise errors.NotFound(
            f"{path} cannot be read: {error.strerror}",
            reason="FILE_MISSING",
            help="Check the path.",
            metadata={"file": str(path)},
        ) from None
    if not is_yaml:
        return whatif.parse_json(data, str(path), reason=reason, bytes_max=bytes_max)
    if len(data) > most:
        raise errors.InvalidArgument(
            f"{path}: it has more than {units.size(most)}, the most for YAML",
            reason="WORLD_TOO_LARGE",
            help="Write it as JSON, which is read much faster.",
        )
    return _yaml(data, path, reason)


def _yaml(data: bytes, path: Path, reason: str) -> Any:
    import yaml  # noqa: PLC0415 - few files are YAML, and it is slow to load

    class Loader(yaml.SafeLoader):
        """Times stay text, as in JSON; references are refused, because a few lines of them make a world of gigabytes."""

        yaml_implicit_resolvers = {  # noqa: RUF012 - yaml's own way
            first: [(tag, pattern) for tag, pattern in found if tag != "tag:yaml.org,2002:timestamp"]
            for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.events.AliasEvent):
                raise yaml.composer.ComposerError(None, None, "references (*name) are not taken", None)
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            made = super().construct_mapping(node, deep)
            if len(made) < len(node.value) or not all(isinstance(key, str) for key in made):
                raise yaml.constructor.ConstructorError(None, None, "a key stands twice, or is not text", node.start_mark)
            return made

    try:
        return yaml.load(data, Loader=Loader)  # noqa: S506 - a subclass of SafeLoader
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        place = getattr(error, "problem_mark", None)
        where = f" at line {place.line + 1}" if place else ""
        raise errors.InvalidArgument(
            f"{path}: this is not YAML{where}: {getattr(error, 'problem', None) or error}", reason=reason, help="Mend it there."
        ) from None
