"""The certificates of a local federation."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from federation import config
from federation.core import errors
from federation.local import pki

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def made(tmp_path: Path, *sites: str, now: datetime = NOW) -> config.Layout:
    """A state folder with its certificates."""
    layout = config.Layout(root=tmp_path)
    pki.ensure(layout, sites, now=now)
    return layout


def cert(path: Path) -> x509.Certificate:
    """The certificate in a file."""
    return x509.load_pem_x509_certificate(path.read_bytes())


def names(path: Path) -> x509.SubjectAlternativeName:
    """What a certificate is good for."""
    return cert(path).extensions.get_extension_for_class(x509.SubjectAlternativeName).value


def test_an_agent_s_certificate_names_its_site_and_the_loopback(tmp_path):
    """The server reads the site from the URI; jobs and other gateways check the host."""
    layout = made(tmp_path, "eu-1")
    found = names(layout.agent_tls("eu-1").cert)
    assert found.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://federation/agents/eu-1"]
    assert "localhost" in found.get_values_for_type(x509.DNSName)
    assert {str(ip) for ip in found.get_values_for_type(x509.IPAddress)} == {"127.0.0.1", "::1"}


def test_an_agent_is_server_and_client_at_once(tmp_path):
    """Its gateway serves, and it dials the catalog."""
    layout = made(tmp_path, "eu-1")
    usage = cert(layout.agent_tls("eu-1").cert).extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(usage) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}


def test_the_server_s_certificate_is_no_agent_s(tmp_path):
    """A stolen server key makes nobody a site."""
    layout = made(tmp_path)
    assert names(layout.server_tls().cert).get_values_for_type(x509.UniformResourceIdentifier) == []


def test_every_certificate_is_signed_by_the_one_ca(tmp_path):
    """And the CA can sign no further CA."""
    layout = made(tmp_path, "eu-1", "us-1")
    ca = cert(layout.ca)
    assert ca.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0
    for files in (layout.server_tls(), layout.agent_tls("eu-1"), layout.agent_tls("us-1")):
        cert(files.cert).verify_directly_issued_by(ca)


def test_keys_are_their_owner_s_alone(tmp_path):
    """0600, the CA's key too."""
    layout = made(tmp_path, "eu-1")
    for path in (layout.ca_key, layout.server_tls().key, layout.agent_tls("eu-1").key):
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_second_start_changes_nothing_and_adds_new_sites(tmp_path):
    """What is there and valid stays: running processes hold it."""
    layout = made(tmp_path, "eu-1")
    before = {path: path.read_bytes() for path in (tmp_path / "pki").rglob("*.*")}
    made(tmp_path, "eu-1", "us-1")
    assert all(path.read_bytes() == data for path, data in before.items())
    assert layout.agent_tls("us-1").cert.exists()


def test_a_certificate_that_is_about_to_end_is_made_new(tmp_path):
    """The CA stays, so that clients go on trusting it."""
    layout = made(tmp_path, "eu-1")
    ca, old = layout.ca.read_bytes(), layout.agent_tls("eu-1").cert.read_bytes()
    made(tmp_path, "eu-1", now=NOW + timedelta(days=3640))
    assert layout.ca.read_bytes() == ca
    assert layout.agent_tls("eu-1").cert.read_bytes() != old


def test_a_new_ca_makes_all_certificates_new(tmp_path):
    """Whoever removes both halves of the CA gets a working federation again."""
    layout = made(tmp_path, "eu-1")
    layout.ca.unlink()
    layout.ca_key.unlink()
    made(tmp_path, "eu-1")
    cert(layout.agent_tls("eu-1").cert).verify_directly_issued_by(cert(layout.ca))


def test_half_a_ca_is_refused(tmp_path):
    """Making a new one silently would lock every client out."""
    layout = made(tmp_path)
    layout.ca_key.unlink()
    with pytest.raises(errors.FailedPrecondition) as caught:
        made(tmp_path)
    assert caught.value.reason == "CA_INCOMPLETE"
