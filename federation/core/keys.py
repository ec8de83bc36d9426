"""Keys as facts: what a site's key connector says of itself, without any of them."""

from __future__ import annotations

from dataclasses import dataclass

#: The sensitivity class of what names none.
DEFAULT = "default"


@dataclass(frozen=True, kw_only=True)
class ConnectorStatus:
    """What a site's connector holds, by name. `keks` has the current one too; of `destroyed` generations the secret is gone."""

    kind: str
    kek: str
    keks: tuple[str, ...]
    destroyed: tuple[str, ...] = ()
