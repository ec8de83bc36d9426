"""What was erased stays erased: an old catalog, old tables and an old store, put back together, open nothing of it."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

import pytest

from federation.core import errors, job
from federation.core.erasure import ErasureState
from tests import localfed

VERSION = "people/persons@1"
GONE = b"name,born\nada,1815\n" * 50
KEPT = b"x,y\n1,2\n" * 50
READ = "import federation\nprint(len(federation.inputs['x'].open('a.csv').read()), 'bytes')\n"


@pytest.mark.invariant("K4")
def test_an_old_catalog_old_tables_and_an_old_store_revive_nothing(tmp_path: Path) -> None:
    """Erased while one of its two sites is down: it stays PENDING until that confirms, then it is certified, verified offline.

    Then everything but the keyrings is put back as it was before: the version is listed again, its objects lie there, its
    wrapped keys are in the catalog, and neither a person nor a job at either site opens it. What was not erased is read as
    before.
    """
    fed = localfed.LocalFederation(folder=tmp_path / "f", settings={"key_lease_seconds": "2"})
    backup = tmp_path / "backup"
    with localfed.running(fed):
        fed.put("people/persons", {"a.csv": GONE})
        fed.put("sales/flights", {"a.csv": KEPT})
        fed.fed("transfer", "start", VERSION, "--to", "us-1", "--wait")
        made = fed.submit(
            "import federation, shutil\n"
            "with federation.outputs['m'].open('m.bin', 'wb') as f: f.write(federation.inputs['x'].open('a.csv').read()[:9])\n",
            inputs={"x": "people/persons"},
            outputs={"m": "ml/ages"},
        )
        fed.succeed(made.job)
        fed.down()
        for part in _parts(fed):
            shutil.copytree(part, backup / part.relative_to(fed.state))
        fed.up()
        fed.kill("agent us-1")
        erased = json.loads(fed.fed("dataset", "erase", VERSION, "--reason", "request 4711", "-o", "json").stdout)
        assert erased["downstream"] == ["ml/ages@1"]
        with contextlib.closing(fed.client()) as client:
            localfed.until(lambda: client.get_erasure(VERSION).unconfirmed == ("us-1",), 60, "one site's word")
            assert client.get_erasure(VERSION).state is ErasureState.PENDING
        fed.up()
        with contextlib.closing(fed.client()) as client:
            done = localfed.until(
                lambda: (now := client.get_erasure(VERSION)).state is ErasureState.CERTIFIED and now,
                60,
                "certificate",
            )
        assert [part.site for part in done.sites] == ["eu-1", "us-1"]
        fed.fed("dataset", "certificate", "get", VERSION, "proof.json")
        fed.down()  # a certificate needs nobody
        told = json.loads(fed.fed("dataset", "certificate", "verify", "proof.json", "-o", "json").stdout)
        uses = {(lease["use"], lease["site"], lease.get("reader_site", "")) for lease in told["leases"]}
        assert {("WRITE", "eu-1", ""), ("READ", "eu-1", "us-1"), ("READ", "eu-1", "")} <= uses
        proof = (fed.folder / "proof.json").read_text()
        (fed.folder / "proof.json").write_text(proof.replace("request 4711", "request 4712"))
        assert "CERTIFICATE_INVALID" in fed.fed("dataset", "certificate", "verify", "proof.json", check=False).stderr
        for part in _parts(fed):
            shutil.rmtree(part)
            shutil.copytree(backup / part.relative_to(fed.state), part)
        fed.up()
        with contextlib.closing(fed.client()) as client:
            assert client.get_version(VERSION).erase_time is None
            with pytest.raises(errors.FailedPrecondition) as refused:
                client.get(VERSION, tmp_path / "out")
            assert refused.value.reason == "KEY_DESTROYED"
            client.get("sales/flights@1", tmp_path / "kept")
            assert (tmp_path / "kept" / "a.csv").read_bytes() == KEPT
        for at in ("eu-1", "us-1"):
            tried = fed.wait_job(fed.submit(READ, inputs={"x": "people/persons"}, sites=(at,)).job)
            assert tried.state is job.JobState.FAILED
            assert "KEY_DESTROYED" in fed.job_log(tried.job)
        fed.succeed(fed.submit(READ, inputs={"x": "sales/flights"}).job)


def _parts(fed: localfed.LocalFederation) -> list[Path]:
    """What a backup may have of a federation: catalog and tables, and each site's store; not its keyring."""
    found = [fed.layout.server]
    for name in fed.compute:
        found += [fed.layout.site(name) / "store"]
    return found
