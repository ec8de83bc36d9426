"""A site whose storage is S3: put, ingest, job, get and fsck, and a store that lies is not used at all."""

from __future__ import annotations

import hashlib
import random
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests import localfed
from tests.conformance import s3server

CLICKS = {"2026/11/a.csv": "user,clicks\nada,3\ngrace,4\n", "2026/11/b.csv": "user,clicks\nalan,5\n"}
BIG = random.Random(3).randbytes(20 * 1024 * 1024 + 17)

SUM = """
import hashlib, federation
clicks = federation.inputs["clicks"].pandas()
big = federation.inputs["big"].open("big.bin").read()
with federation.outputs["sums"].open("sums.txt", "w") as file:
    file.write(f"{clicks.clicks.sum()} {hashlib.sha256(big).hexdigest()}")
"""


@dataclass(frozen=True, kw_only=True)
class S3:
    """An S3 server with an empty bucket and a lake, both of names that no other test has: the servers share their objects."""

    endpoint: str
    mark: str = field(default_factory=lambda: secrets.token_hex(4))

    @property
    def store(self) -> str:
        return f"store-{self.mark}"

    @property
    def lake(self) -> str:
        return f"lake-{self.mark}"

    def federation(self, folder: Path) -> localfed.LocalFederation:
        """One site, us-1, whose store is the bucket, and whose sources have the lake's clicks."""
        keys = folder / "s3-keys.yaml"
        keys.write_text("key: test\nsecret: test\n")
        keys.chmod(0o600)
        options = {"endpoint_url": self.endpoint, "region": "us-east-1", "key_file": str(keys)}
        settings = {
            "storage": {"kind": "s3", "url": f"s3://{self.store}/federation", **options},
            "sources": [{"prefix": f"s3://{self.lake}/clicks", "kind": "s3", **options}],
        }
        compute = {"us-1": {"compute": {"kind": "process"}}}
        return localfed.LocalFederation(folder=folder / "f", compute=compute, site_settings={"us-1": settings})


@pytest.fixture
def s3() -> Iterator[S3]:
    """An honest server whose lake has the clicks."""
    with s3server.honest() as endpoint:
        made = S3(endpoint=endpoint)
        s3server.bucket(endpoint, made.store)
        s3server.bucket(endpoint, made.lake)
        for path, text in CLICKS.items():
            s3server.client(endpoint).put_object(Bucket=made.lake, Key=f"clicks/{path}", Body=text.encode())
        yield made


def test_a_site_on_s3_stores_ingests_runs_and_gives_back(s3: S3, tmp_path: Path):
    """What is put and what lies in the lake is encrypted into the bucket, read by a job there, and comes home whole."""
    (tmp_path / "big.bin").write_bytes(BIG)
    federation = s3.federation(tmp_path)
    with localfed.running(federation), federation.client() as client:
        client.put("web/big", tmp_path / "big.bin", site="us-1")
        federation.fed("dataset", "ingest", "web/clicks", "--from", f"s3://{s3.lake}/clicks", "--site", "us-1")
        (clicks,) = client.list_versions("web/clicks")
        assert (clicks.files, clicks.rows, clicks.source) == (2, 3, f"s3://{s3.lake}/clicks")
        assert dict(clicks.columns) == {"user": "string", "clicks": "int64"}

        submitted = federation.submit(SUM, inputs={"clicks": "web/clicks", "big": "web/big"}, outputs={"sums": "web/sums"})
        federation.succeed(submitted.job)
        (sums,) = client.get("web/sums", tmp_path / "sums")
        assert sums.read_text() == f"12 {hashlib.sha256(BIG).hexdigest()}"
        (big,) = client.get("web/big", tmp_path / "home")
        assert big.read_bytes() == BIG
        assert federation.fed("fsck").stdout == ""
    _holds_ciphertext_alone(s3)


def _holds_ciphertext_alone(s3: S3) -> None:
    """Whoever reads the bucket finds no plaintext; nothing of the site lies outside of its prefix."""
    client = s3server.client(s3.endpoint)
    keys = [row["Key"] for row in client.list_objects_v2(Bucket=s3.store)["Contents"]]
    assert keys
    assert all(key.startswith(("federation/objects/", "federation/manifests/")) for key in keys)
    stored = b"".join(client.get_object(Bucket=s3.store, Key=key)["Body"].read() for key in keys if "/objects/" in key)
    assert b"grace" not in stored
    assert BIG[:64] not in stored


def test_an_ingest_from_outside_of_a_sites_sources_is_refused(s3: S3, tmp_path: Path):
    """The lake's other folders are nobody's business: the error names what the site may read."""
    s3server.client(s3.endpoint).put_object(Bucket=s3.lake, Key="salaries/all.csv", Body=b"x\n1\n")
    federation = s3.federation(tmp_path)
    with localfed.running(federation):
        done = federation.fed(
            "dataset", "ingest", "web/s", "--from", f"s3://{s3.lake}/salaries", "--site", "us-1", "--wait", check=False
        )
        assert done.exit_code != 0
        assert "SOURCE_NOT_ALLOWED" in done.stdout + done.stderr
        assert f"s3://{s3.lake}/clicks/" in done.stdout + done.stderr
        assert federation.fed("fsck").stdout == ""


@pytest.mark.parametrize("honours_conditions", [False, True], ids=["overwrites", "ignores ranges"])
def test_a_store_that_lies_is_refused_when_its_agent_starts(tmp_path: Path, honours_conditions: bool):
    """`fed up` fails with the agent's own words, STORE_DISHONEST among them; nothing is ever stored there."""
    with s3server.dishonest(honours_conditions=honours_conditions) as address:
        federation = S3(endpoint=address).federation(tmp_path)
        try:
            done = federation.fed("up", "-f", str(federation.file), "--state", str(federation.state), check=False)
            assert done.exit_code != 0
            assert "STORE_DISHONEST" in done.stderr + done.stdout
            assert "agent us-1" in done.stderr + done.stdout
        finally:
            federation.down()
