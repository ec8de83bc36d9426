"""A site's keys in memory: for tests, and for whoever tries things out. What they sealed is lost with their process."""

from __future__ import annotations

from federation.crypto import wrapping


class MemoryKeys(wrapping.Keyring):
    """Fills `KeyConnector` and `KeyCustody` with fresh keys."""

    def __init__(self, site: str) -> None:
        store = wrapping.MemoryStore(wrapping.Material.new(site))
        super().__init__(store, wrapping.OwnKeks(store, "memory"))
