"""What events tell: nothing that anybody could use. Every field of every value that is told is looked at by its name."""

from __future__ import annotations

import dataclasses
import json
import re
import types
import typing
from collections.abc import Iterator

import pytest

from federation.core import audit, chain, decision, job, kinds, lineage, records

#: What a field is called that could hold a secret.
_SUSPICIOUS = re.compile(
    r"secret|token|passw|passphrase|private|credential|ticket|cookie|authorization|(^|_)(key|keys|dek|kek|env|auth)($|_)"
    r"|wrapped|entrypoint|runtime_env|signature|digest|url"
)
#: Fields with such a name that hold none, each with the reason.
HARMLESS = {
    ("TokenRecord", "digest"): "SHA-256 of 32 random bytes: nobody finds what it is of",
    ("TokenRecord", "token"): "the beginning of its digest: what it is known by",
    ("Principal", "token"): "the name of a token, or of the issuer of one",
    ("JoinRecord", "digest"): "SHA-256 of 32 random bytes: nobody finds what it is of",
    ("Version", "manifest_digest"): "names a manifest, which is ciphertext's",
    ("Version", "signature"): "a site's public word",
    ("Site", "signing_key"): "the public half",
    ("Site", "sealing_key"): "the public half",
    ("RateCardVersion", "digest"): "of public prices",
    ("PolicyRevision", "digest"): "of policies, which all may read",
    ("PackageAlias", "digest"): "names a package, as every job that runs it does",
    ("Bill", "digest"): "of the lines of a bill that are stored beside it",
    ("SignedHead", "key"): "the catalog's public key",
    ("SignedHead", "signature"): "the catalog's public word",
    ("Edge", "manifest_digest"): "names a manifest",
    ("Lease", "reader_key"): "the fingerprint of a public key",
    ("Erasure", "manifest_digest"): "names a manifest",
    ("Erasure", "certificate_digest"): "of a certificate, which is for everybody to see",
    ("SiteErasure", "signing_key"): "the public half",
    ("SiteErasure", "signature"): "a site's public word",
    ("WrappedKey", "kek"): "the name of a key, not the key; no event tells one: a law of the simulation",
    ("Custodian", "public_key"): "the public half",
    ("Escrow", "public_key"): "the public half",
    ("Opening", "sealing_key"): "the public half",
    ("SiteKeyring", "kek"): "the name of a key, not the key",
    ("SiteKeyring", "keks"): "names of keys, not the keys",
    ("WrappedKey", "wrapped"): "opened by its site's KEK alone; no event tells one: a law of the simulation",
}


def classes(cls: type) -> Iterator[type]:
    """A value's class and those of all values in it."""
    yield cls
    for hint in typing.get_type_hints(cls).values():
        for inner in _inner(hint):
            if dataclasses.is_dataclass(inner) and inner is not cls:
                yield from classes(inner)


def _inner(hint: object) -> Iterator[type]:
    if typing.get_origin(hint) in (tuple, types.UnionType, typing.Union):
        for part in typing.get_args(hint):
            yield from _inner(part)
    elif isinstance(hint, type):
        yield hint


TOLD = sorted(
    {
        found
        for cls in (*kinds.KINDS, decision.Decision, chain.SignedHead, audit.AuditEntry, lineage.RunFact)
        for found in classes(cls)
    },
    key=lambda cls: cls.__name__,
)


@pytest.mark.parametrize("cls", TOLD, ids=lambda cls: cls.__name__)
def test_no_field_that_could_hold_a_secret_is_told_as_it_is(cls: type) -> None:
    """A field that is added to a value is told in audit, for ever: with a name like these it needs a mask, or a reason."""
    for field in dataclasses.fields(cls):
        hint = typing.get_type_hints(cls)[field.name]
        holds_text = any(inner in (str, bytes) for inner in _inner(hint))
        if holds_text and _SUSPICIOUS.search(field.name) and "told" not in field.metadata:
            assert (cls.__name__, field.name) in HARMLESS, f"{cls.__name__}.{field.name}: mask it with records.told"


def test_the_list_of_harmless_fields_is_not_longer_than_needed() -> None:
    """A reason for a field that is not there any more would cover the next one of that name."""
    there = {(cls.__name__, field.name) for cls in TOLD for field in dataclasses.fields(cls)}
    assert {pair for pair in HARMLESS if pair not in there} == set()


def test_what_people_hand_to_their_jobs_is_told_by_name_alone() -> None:
    """Values of variables, and what stands before the @ of a URL, in whatever depth; the job's own record keeps them."""
    asked = job.JobRequest(
        entrypoint=("python", "main.py", "--db", "postgres://ada:hunter2@db/x"),
        env=(("API_KEY", "hunter2"),),
        runtime_env=json.dumps(
            {"env_vars": {"TOKEN": "hunter2"}, "pip": ["--index-url=https://ada:hunter2@pypi.example/simple"]}
        ),
    )
    stored = job.Job(job="j-1", request=asked)
    told = records.dumps(stored, telling=True)
    assert "hunter2" not in told
    for word in ("API_KEY", "TOKEN", "pypi.example", "main.py", "env_vars"):
        assert word in told
    assert records.loads(job.Job, records.dumps(stored)) == stored


@pytest.mark.parametrize("text", ["{", "[1]", '"x"'])
def test_a_runtime_env_that_cannot_be_read_is_not_told(text: str) -> None:
    """It may hold anything."""
    told = records.dump(job.JobRequest(runtime_env=text), telling=True)
    assert told["runtime_env"] == "***"


def test_telling_twice_is_telling_once() -> None:
    """What was told holds nothing more to be hidden, and is not changed further."""
    asked = job.JobRequest(env=(("A", "x"),), runtime_env='{"env_vars": {"B": "y"}, "pip": ["z"]}', entrypoint=("a://b@c",))
    once = records.dumps(asked, telling=True)
    assert records.dumps(records.loads(job.JobRequest, once), telling=True) == once
