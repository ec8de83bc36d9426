"""What is stored and what travels, changed in every region of every format: refused by name, never returned, never a crash."""

from __future__ import annotations

import base64
import dataclasses
import io
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from connectors.keys.memory import MemoryKeys
from federation.core import chain, dataset, errors
from federation.core.grants import Access, Grant
from federation.crypto import container, grants, heads, hpke, manifest, signing

UID, GENERATION, OBJECT = "d-1", "g-" + "0" * 26, "o-" + "1" * 26
NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
CATALOG = signing.new_private()
KEY = bytes(range(32))
REFUSED = (errors.DataCorrupt, errors.Unauthenticated, errors.PermissionDenied, errors.InvalidArgument)


def flips(data: bytes, *, step: int = 1) -> Iterator[tuple[str, bytes]]:
    """The data with one bit changed, in each byte (or each `step`-th) once, a different bit from byte to byte."""
    for at in range(0, len(data), step):
        yield f"bit {at % 8} of byte {at}", data[:at] + bytes([data[at] ^ (1 << at % 8)]) + data[at + 1 :]


def cuts(data: bytes) -> Iterator[tuple[str, bytes]]:
    """The data cut short and made longer."""
    for length in (0, 1, len(data) // 2, len(data) - 1):
        yield f"cut to {length}", data[:length]
    yield "a byte more", data + b"\0"
    yield "twice", data + data


def sealed_file(plain: bytes, object_id: str = OBJECT) -> tuple[bytes, str]:
    """A container and its commitment."""
    sealer = container.Sealer(KEY, container.context(UID, GENERATION, object_id))
    return sealer.update(plain) + sealer.finalize(), sealer.commitment


def read(sealed: bytes, commitment: str, object_bytes: int, object_id: str = OBJECT) -> bytes:
    """A file as a reader gets it, who knows length and commitment from the manifest."""
    reader = container.RangedReader(
        KEY,
        container.context(UID, GENERATION, object_id),
        object_bytes=object_bytes,
        commitment=commitment,
        fetch=lambda offset, length: sealed[offset : offset + length],
    )
    return reader.read_at(0, reader.size)


def entry(path: str, object_id: str, sealed: bytes, commitment: str) -> dataset.FileEntry:
    """A file in a manifest."""
    return dataset.FileEntry(
        path=path,
        file_bytes=container.file_bytes(len(sealed)),
        object_id=object_id,
        generation=GENERATION,
        object_bytes=len(sealed),
        object_sha256="ab" * 32,
        commitment=commitment,
        tag="",
        rows=-1,
    )


@pytest.mark.invariant("D1")
@pytest.mark.parametrize("size", [0, 100, container.CHUNK, container.CHUNK + 1, 70_000])
def test_a_container_with_a_flipped_bit_is_never_read(size: int):
    """Salt, commitment, every chunk and every tag; large ones are read by range, small ones whole."""
    sealed, commitment = sealed_file(os.urandom(size))
    for what, damaged in flips(sealed, step=1 if size < 1000 else 61):
        try:
            read(damaged, commitment, len(sealed))
        except errors.DataCorrupt:
            continue
        pytest.fail(f"{what} was read")


@pytest.mark.invariant("D1")
def test_a_truncated_container_is_never_read():
    """At whatever length it ends, also where a chunk ends, and whether or not the catalog's length goes with it."""
    sealed, commitment = sealed_file(os.urandom(3 * container.CHUNK))
    for length in {0, 10, 55, 56, *range(56, len(sealed), container.SEALED_CHUNK), len(sealed) - 1}:
        for told in (len(sealed), length):
            with pytest.raises(errors.DataCorrupt):
                read(sealed[:length], commitment, told)


@pytest.mark.invariant("D1")
def test_plaintext_in_place_of_ciphertext_is_never_returned():
    """Not even with the lengths that fit: whoever can write into a store must not choose what is read."""
    sealed, commitment = sealed_file(b"a" * 50_000)
    smuggled = (b"smuggled" * len(sealed))[: len(sealed)]
    for forged in (smuggled, sealed[: container.HEADER] + smuggled[container.HEADER :]):
        with pytest.raises(errors.DataCorrupt):
            read(forged, commitment, len(sealed))


@pytest.mark.invariant("D1")
def test_two_files_of_one_generation_cannot_be_swapped():
    """They have one key: the object's own identity is in its derivation, and the manifest pins the commitment."""
    other = "o-" + "2" * 26
    first, first_commitment = sealed_file(b"first file")
    second, second_commitment = sealed_file(b"other file", other)
    with pytest.raises(errors.DataCorrupt):
        read(second, first_commitment, len(first))
    # Also where the thief changes what the catalog says of the commitment: the context is not the store's to choose.
    with pytest.raises(errors.DataCorrupt):
        read(second, second_commitment, len(first))


@pytest.mark.invariant("D1")
def test_an_object_under_another_key_is_refused_even_if_it_would_decrypt():
    """Key commitment: a row of the key table that was replaced cannot make the same bytes mean something else."""
    sealed, commitment = sealed_file(b"what was meant")
    forger = container.Sealer(bytes(32), container.context(UID, GENERATION, OBJECT))
    forged = forger.update(b"what the thief") + forger.finalize()
    with pytest.raises(errors.DataCorrupt):
        read(forged, commitment, len(sealed))


@pytest.mark.invariant("D2")
def test_a_manifest_with_a_flipped_bit_is_refused_by_digest_and_by_signature():
    """Its name is its digest; whoever changes both still lacks the site's word."""
    site = signing.new_private()
    sealed, commitment = sealed_file(b"x" * 300)
    data = manifest.encode(dataset.Manifest(dataset_uid=UID, files=(entry("a.bin", OBJECT, sealed, commitment),)))
    digest = manifest.digest(data)
    signature = manifest.sign(site, UID, digest)
    manifest.verify(signing.public_hex(site), UID, digest, signature)
    for what, damaged in (*flips(data, step=7), *cuts(data)):
        assert manifest.digest(damaged) != digest, what
        with pytest.raises(errors.DataCorrupt):
            manifest.verify(signing.public_hex(site), UID, manifest.digest(damaged), signature)
    for _, damaged in flips(bytes.fromhex(signature)):
        with pytest.raises(errors.DataCorrupt):
            manifest.verify(signing.public_hex(site), UID, digest, damaged.hex())


@pytest.mark.invariant("D2")
def test_a_damaged_manifest_that_somebody_signed_is_refused_or_says_the_same_paths():
    """Decoding never crashes and never yields a path that leads elsewhere, whatever the bytes."""
    sealed, commitment = sealed_file(b"x" * 300)
    files = tuple(entry(f"f{number}.bin", f"o-{number:026}", sealed, commitment) for number in range(20))
    data = manifest.encode(dataset.Manifest(dataset_uid=UID, files=files))
    for _, damaged in (*flips(data), *cuts(data)):
        try:
            decoded = manifest.decode(damaged)
        except errors.DataCorrupt:
            continue
        assert not any(".." in file.path or file.path.startswith("/") for file in decoded.files)


@pytest.mark.invariant("D3")
def test_a_grant_with_a_flipped_bit_opens_nothing():
    """Version byte, signature, every field: also one that says an older version, or another algorithm."""
    grant = Grant(
        grant="g-1",
        access=Access.READ,
        subject="users/ann",
        site="eu-1",
        version="sales/flights@3",
        bytes_max=1000,
        issue_time=NOW,
        expire_time=NOW + timedelta(hours=1),
    )
    token, public = grants.sign(CATALOG, grant), signing.public_hex(CATALOG)
    assert grants.verify(public, token, now=NOW, site="eu-1") == grant
    downgraded = [(f"version {number}", bytes([number]) + token[1:]) for number in range(256) if number != token[0]]
    for _, damaged in (*flips(token), *cuts(token), *downgraded):
        with pytest.raises((errors.Unauthenticated, errors.PermissionDenied)):
            grants.verify(public, damaged, now=NOW, site="eu-1")


@pytest.mark.invariant("D3")
def test_what_is_signed_for_one_purpose_is_good_for_no_other():
    """A head is no grant, a manifest is no head: each statement begins with what it is."""
    head = heads.sign(CATALOG, chain.Head(table="ledger", position=1, rows=1, chain=bytes(32)), NOW)
    payload = heads.statement(head)
    forged = b"\x01" + bytes.fromhex(head.signature) + payload
    with pytest.raises(errors.Unauthenticated):
        grants.verify(signing.public_hex(CATALOG), forged, now=NOW, site="eu-1")
    with pytest.raises(errors.DataCorrupt):
        manifest.verify(signing.public_hex(CATALOG), UID, head.chain, head.signature)


@pytest.mark.invariant("D3")
def test_a_sealed_key_of_another_algorithm_is_refused():
    """One suite, told by nothing in the bytes: there is no field by which a weaker one could be asked for."""
    private, public = hpke.new_pair()
    info = hpke.dek_info(UID, GENERATION, "run:jobs/j/runs/1")
    sealed = hpke.seal(public, KEY, info)
    for _, damaged in (*flips(sealed, step=max(1, len(sealed) // 150)), *cuts(sealed)):
        with pytest.raises(errors.Unauthenticated):
            hpke.open_(private, damaged, info)
    with pytest.raises(REFUSED):
        hpke.seal(public[: len(public) - 1], KEY, info)


@pytest.mark.invariant("K2")
def test_a_wrapped_key_with_a_flipped_bit_does_not_open():
    """Nonce, ciphertext and tag; what the row says of itself is in the associated data."""
    keys = MemoryKeys("eu-1")
    _, row = keys.generate(GENERATION, UID)
    for _, damaged in (*flips(base64.b64decode(row.wrapped)), *cuts(base64.b64decode(row.wrapped))):
        with pytest.raises(REFUSED):
            keys.unwrap(dataclasses.replace(row, wrapped=base64.b64encode(damaged).decode()))


@pytest.mark.invariant("K2")
def test_a_wrapped_key_that_was_put_elsewhere_does_not_open():
    """Swapped between datasets, generations, or sites; replayed at a site that never had it."""
    keys, foreign = MemoryKeys("eu-1"), MemoryKeys("us-1")
    (dek, row), (other_dek, other) = keys.generate(GENERATION, UID), keys.generate("g-" + "9" * 26, "d-2")
    assert (keys.unwrap(row), keys.unwrap(other)) == (dek, other_dek)
    swapped = (
        dataclasses.replace(row, wrapped=other.wrapped),
        dataclasses.replace(row, dataset_uid="d-2"),
        dataclasses.replace(row, generation=other.generation),
        dataclasses.replace(row, site="us-1"),
        dataclasses.replace(row, kek="kek-0000000000000000"),
    )
    for moved in swapped:
        with pytest.raises((*REFUSED, errors.NotFound, errors.FailedPrecondition)):
            keys.unwrap(moved)
    for replayed in (row, dataclasses.replace(row, site="us-1")):
        with pytest.raises((*REFUSED, errors.NotFound, errors.FailedPrecondition)):
            foreign.unwrap(replayed)


@pytest.mark.invariant("A2")
def test_a_signed_head_with_anything_changed_is_not_genuine():
    """Each field, the key in it, and each bit of the signature."""
    head = heads.sign(CATALOG, chain.Head(table="ledger", position=41, rows=40, chain=b"\x07" * 32), NOW)
    assert heads.is_genuine(head)
    changed = [
        dataclasses.replace(head, table="audit"),
        dataclasses.replace(head, position=42),
        dataclasses.replace(head, rows=41),
        dataclasses.replace(head, chain="08" * 32),
        dataclasses.replace(head, time=NOW + timedelta(microseconds=1)),
        dataclasses.replace(head, key=signing.public_hex(signing.new_private())),
    ]
    changed += [dataclasses.replace(head, signature=bad.hex()) for _, bad in flips(bytes.fromhex(head.signature))]
    assert not any(map(heads.is_genuine, changed))


@pytest.mark.invariant("G3")
def test_a_compressed_manifest_is_refused_before_it_is_decoded():
    """A few bytes of zstd stand for a thousand times as many: the batch's own header says that it is compressed."""
    schema = manifest._COLUMNS.with_metadata({b"format": manifest._FORMAT, b"dataset_uid": UID.encode()})
    zeros = {pa.string(): "", pa.int64(): 0, pa.binary(): b"", pa.binary(32): bytes(32)}
    batch = pa.record_batch([pa.repeat(pa.scalar(zeros[f.type], f.type), 500_000) for f in schema], schema=schema)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_batch(batch)
    assert batch.nbytes > 500 * len(sink.getvalue())
    del batch
    before = pa.total_allocated_bytes()
    with pytest.raises(errors.DataCorrupt) as refused:
        manifest.decode(sink.getvalue())
    assert refused.value.reason == "MANIFEST_INVALID"
    assert pa.total_allocated_bytes() <= before
