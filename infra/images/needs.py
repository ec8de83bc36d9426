"""Prints what one image installs: the project's own requirements without those that its process never imports.

`python infra/images/needs.py server|agent|worker` reads pyproject.toml of the current folder. Standard library alone: it runs
before anything is installed.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

#: Role -> extras that it has, and requirements that it does without.
ROLES: dict[str, tuple[tuple[str, ...], frozenset[str]]] = {
    "server": (("postgres", "s3", "otel"), frozenset({"ray"})),
    "agent": (("s3", "aws", "vault", "otel"), frozenset({"highspy", "cedarpy", "alembic", "sqlalchemy"})),
    # Ray is in the image already, in the release that the cluster runs.
    "worker": (
        ("s3", "otel"),
        frozenset({"ray", "highspy", "cedarpy", "alembic", "sqlalchemy", "deltalake", "prometheus-client"}),
    ),
}


def needs(role: str, project: dict[str, object]) -> list[str]:
    """Requirements of a role, in the order of pyproject.toml."""
    extras, without = ROLES[role]
    optional = project["optional-dependencies"]
    rows = [*project["dependencies"], *(row for extra in extras for row in optional[extra])]  # type: ignore[index, misc]
    return [row for row in rows if re.split(r"[\[<>=! ]", row)[0] not in without]


if __name__ == "__main__":
    print("\n".join(needs(sys.argv[1], tomllib.loads(Path("pyproject.toml").read_text())["project"])))
