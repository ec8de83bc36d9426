"""A grant as its bearer gets it: signed, with the gateway to present it to."""

from __future__ import annotations

from federation.core import grants, ids, site
from federation.crypto import grants as signed
from federation.ports import Transaction
from federation.services.context import Context
from federation.v1 import catalog_pb2
from federation.wire import codec


def message(tx: Transaction, ctx: Context, grant: grants.Grant) -> catalog_pb2.Access:
    """The signed grant, and where its site's gateway listens."""
    server = tx.get(site.Site, grant.site)
    return catalog_pb2.Access(
        grant=signed.sign(ctx.grant_key, grant),
        gateway=server.gateway if server else "",
        site=grant.site,
        name=_name(grant),
        dataset_uid=grant.dataset_uid,
        expire_time=codec.from_time(grant.expire_time),
    )


def _name(grant: grants.Grant) -> str:
    if grant.version:
        return ids.version(grant.version).resource
    if grant.dataset:
        return ids.dataset(grant.dataset).resource
    return grant.run or f"sites/{grant.site}"
