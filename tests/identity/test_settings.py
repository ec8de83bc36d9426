"""Issuers as the federation file names them: whole, or refused with the key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from federation import config
from federation.core import errors
from federation.core.policy import Role

GOOD: dict[str, Any] = {"issuer": "corp", "url": "https://login.corp.example", "audience": "federation"}


def read(folder: Path, *issuers: dict[str, Any], **server: Any) -> config.FederationFile:
    """A federation file with these issuers."""
    file = folder / "federation.yaml"
    file.write_text(yaml.safe_dump({"federation": "acme", "server": {"issuers": list(issuers), **server}, "sites": []}))
    return config.federation_file(file)


def test_an_issuer_is_read_with_what_is_usual(tmp_path):
    """RS256, `sub`, USER; the trust domain is the federation's name."""
    found = read(tmp_path, GOOD | {"roles": [{"value": "fed-admins", "role": "ADMIN"}], "jurisdictions": {"DE": "EU"}})
    (issuer,) = found.issuers
    assert (issuer.algorithms, issuer.user_claim, issuer.role) == (("RS256",), "sub", Role.USER)
    assert (issuer.roles, issuer.jurisdictions) == ((("fed-admins", Role.ADMIN),), (("DE", "EU"),))
    assert (found.trust_domain, found.token_days, issuer.sign_in.client) == ("acme", 30, "federation")


@pytest.mark.invariant("I1")
@pytest.mark.parametrize(
    ("issuers", "key"),
    [
        ([GOOD | {"algorithms": ["none"]}], "algorithms"),
        ([GOOD | {"algorithms": ["RS256", "HS256"]}], "algorithms"),
        ([GOOD | {"url": "http://login.corp.example"}], "url"),
        ([GOOD | {"url": "http://127.0.0.1:9"}], "url"),
        ([GOOD | {"jwks_uri": "https://x/"}], "jwks_uri"),
        ([GOOD | {"role": "AGENT"}], "role"),
        ([GOOD, GOOD | {"issuer": "two", "url": "https://two.example", "user_prefix": "two-"}], "user_prefix"),
        ([{"issuer": "corp", "url": "https://x.example"}], "audience"),
    ],
)
def test_an_issuer_that_proves_nobody_is_refused(tmp_path, issuers, key):
    """Algorithms without a public key, plain http, two issuers who could name one user."""
    with pytest.raises(errors.InvalidArgument) as caught:
        read(tmp_path, *issuers)
    assert caught.value.reason == "CONFIG_INVALID"
    assert key in str(caught.value)
