"""A site comes in: its key is made here, its join token says which CA the server must have, its certificate is put in place."""

from __future__ import annotations

import ssl

from federation import config
from federation.agent import certificate
from federation.client import Client
from federation.core import errors
from federation.crypto import certificates

_SECONDS = 10.0


def join(settings: config.AgentSettings, target: str, token: str) -> str:
    """Joins the catalog server at `target` (people's port) as the site of the settings; tells what was done.

    The token's secret goes to nobody but a server whose certificate the CA has signed that the token names by its fingerprint.
    Unauthenticated (JOIN_TOKEN_INVALID, CA_UNKNOWN), FailedPrecondition (SITE_MISMATCH) for another site's token.
    """
    secret, _, pin = token.strip().partition(".")
    ca = certificates.pinned(_offered(target), pin)
    key = certificates.new_key()
    own = settings.tls.cert.exists()
    with Client(target, "", ca) as server:
        joined = server.join_site(secret, b"" if own else certificates.request(key))
    if joined.site != settings.site:
        raise errors.FailedPrecondition(
            f"the join token was for site {joined.site}, and these settings are those of {settings.site}",
            reason="SITE_MISMATCH",
            help=f"It is used up. Ask for one for {settings.site}: `fed site invite {settings.site}`.",
        )
    if own:
        return f"{joined.site} has joined with the certificate in {settings.tls.cert}"
    if not joined.certificate:
        return f"{joined.site} has joined; put its certificate, from your own CA, into {settings.tls.cert}"
    certificate.write(settings.tls, certificates.key_pem(key), joined.certificate, joined.ca)
    return f"{joined.site} has joined; its certificate is in {settings.tls.cert}"


def _offered(target: str) -> bytes:
    """The CA that a server says it has, believed by nobody yet. Nothing of ours is sent to learn it."""
    host, _, port = target.partition(",")[0].rpartition(":")
    try:
        leaf = ssl.get_server_certificate((host.strip("[]"), int(port)), timeout=_SECONDS)
    except (OSError, ValueError) as error:
        raise errors.Unavailable(
            f"{target} does not answer: {error}", reason="SERVER_DOWN", help="Check the address."
        ) from error
    with Client(target, "", leaf.encode()) as stranger:
        return stranger.find_entrance().ca
