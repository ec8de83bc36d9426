"""Manifests: the same bytes each time, and nothing in them that a reader could be harmed by."""

from __future__ import annotations

import base64
import dataclasses
import io
import random
import zlib

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.core import errors
from federation.core.dataset import FileEntry, Manifest
from federation.crypto import container, manifest, signing

GENERATION = "g-" + "0" * 26


def entry(path: str, size: int = 100, **changes) -> FileEntry:
    """A file that could be there."""
    values = {
        "path": path,
        "file_bytes": size,
        "object_id": "o-" + "1" * 26,
        "generation": GENERATION,
        "object_bytes": container.object_bytes(size),
        "object_sha256": "ab" * 32,
        "commitment": "cd" * 32,
        "tag": "ef" * 32,
        "rows": -1,
    }
    return FileEntry(**{**values, **changes})


def of(*files: FileEntry) -> Manifest:
    """A manifest of these files."""
    return Manifest(dataset_uid="d-1", files=files)


def invalid(call) -> errors.DataCorrupt:
    """What a call is refused with."""
    with pytest.raises(errors.DataCorrupt) as caught:
        call()
    assert caught.value.reason == "MANIFEST_INVALID"
    return caught.value


segments = st.text(st.characters(exclude_categories=("C",), exclude_characters="/\\"), min_size=1, max_size=12).filter(
    lambda text: text not in (".", "..")
)
paths = st.lists(segments, min_size=1, max_size=3).map("/".join)
manifests = st.lists(st.tuples(paths, st.integers(0, 1 << 40), st.integers(-1, 1 << 40)), unique_by=lambda row: row[0]).map(
    lambda rows: of(*(entry(path, size, rows=count) for path, size, count in sorted(rows)))
)


def clash_free(given_manifest: Manifest) -> bool:
    """Whether no file lies where another one needs a folder."""
    names = {file.path for file in given_manifest.files}
    return not any(name.rsplit("/", depth)[0] in names for name in names for depth in range(1, name.count("/") + 1))


@given(manifests.filter(clash_free), st.randoms())
def test_a_manifest_is_read_back_from_the_same_bytes_each_time(original, shuffle: random.Random):
    """Whatever the order in which files were named: one manifest, one digest."""
    files = list(original.files)
    shuffle.shuffle(files)
    data = manifest.encode(of(*files))
    assert data == manifest.encode(original)
    assert manifest.decode(data) == original
    assert len(manifest.digest(data)) == 64


#: A manifest as it was first written, compressed.
STORED = (
    b"eNrNU7FOG0EQnbPPwSaXcAVCFBQuaI3tiCCKFJQ0kfgDWNtrc8jnI76FGImCkoIiBQWfgJQmH5CCghKQPyD/kB9ALLO3u75lwKSgyUhzMzvzdv"
    b"btzpyUUp4WAEJQMgsf4R2UoIweiudP4gF+fRPvZz4AboNV4//BOqHxi6idWhPeK8sES7nYPog6uDvIapQxvmSwc6hd3qnHbBB1eSrqh01kgLFk"
    b"GDMBUEH/t4dnon5BDVDHGDtH3UFdN3VGD1IqSorDoomBscPke6r8XxrjbeDnUvu+ws87eMVdsB6cY/5GY+ZCh69+DYB2EseRiPkAOd7h3asYu3"
    b"fwyw7+A2rS2uNtsZ3usk+f1/CGZcyqe6p9qzLnXnX2Bfm+1pHg2R2EzO/Q137pJX49PuBDJqJkgO+EuIsp2Ep+BnYI4Axx1w6fZVK3G/W5ZaP6"
    b"WYaZrJ+WU4ivqdYzGfvQzM/zc5XdZ2JX+/4kjkfLzYLuiX6DBTORQVYRin7W3x8eTFgtmrlS/I49PcsFyGUBpktgbEhsleCqJN8g+Qapt2Hsur"
    b"Ejgh8R/CnBXxH8FTl/TPJjcm7oPc3btc1vkbxdWz473tN7nxC8XYdOrELeHf6DteVlebKVfTb8dsBFq95eaaeHpRfwS04fklpzqryWo3V6tcZU"
    b"eS331ezfNPbnG+X2jWJnws7F339I0fmvraj1I+05JKo="
)


def test_a_stored_manifest_stays_readable():
    """Whatever writes manifests later, this one says what it said."""
    data = zlib.decompress(base64.b64decode(STORED))
    assert manifest.digest(data) == "4a45b11823fe6e659dbd7777ce8f6c0c45b7fa98be2cb8b9f8885e8ad324cca0"
    assert manifest.decode(data) == of(entry("a.parquet", 5, rows=3), entry("b/c.csv", 0, tag=""))


def test_a_manifest_of_several_batches_is_read_back(monkeypatch):
    """Large manifests are written in pieces."""
    monkeypatch.setattr(manifest, "_BATCH", 7)
    original = of(*(entry(f"part-{number:03d}") for number in range(50)))
    assert manifest.decode(manifest.encode(original)) == original


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../b", "a//b", "", "a\nb", "a\\b", "a\ud800"])
def test_an_unsafe_path_is_refused(path):
    """Neither written nor, when somebody else wrote it, read."""
    with pytest.raises(errors.InvalidArgument) as caught:
        manifest.encode(of(entry(path)))
    assert caught.value.reason == "PATH_INVALID"
    if path.isprintable():
        invalid(lambda: manifest.decode(forged([entry(path)])))


@pytest.mark.parametrize(
    "files",
    [
        [entry("a"), entry("a")],
        [entry("b"), entry("a")],
        [entry("a"), entry("a/b")],
        [entry("a"), entry("a-b"), entry("a/b/c")],
        [entry("a", object_bytes=99)],
        [entry("a", size=1, object_bytes=container.object_bytes(2))],
        [entry("a", rows=-2)],
        [entry("a", file_bytes=-1)],
        [entry("a", tag="ef" * 31)],
        [entry("a", generation="../../x")],
        [entry("a", object_id="o-1")],
    ],
    ids=[
        "a path twice",
        "out of order",
        "file and folder",
        "file and deeper folder",
        "impossible size",
        "sizes of two files",
        "fewer than no rows",
        "negative size",
        "short tag",
        "generation that climbs",
        "short object id",
    ],
)
def test_what_no_writer_of_ours_would_write_is_refused(files):
    """Each is well-formed Arrow of the right schema."""
    invalid(lambda: manifest.decode(forged(files)))


def test_too_many_files_are_refused(monkeypatch):
    """On both sides, before memory is spent on them."""
    data = manifest.encode(of(entry("a"), entry("b"), entry("c")))
    monkeypatch.setattr(manifest, "FILES_MAX", 2)
    invalid(lambda: manifest.decode(data))
    invalid(lambda: manifest.encode(of(entry("a"), entry("b"), entry("c"))))
    monkeypatch.setattr(manifest, "BYTES_MAX", 100)
    assert "bytes long" in str(invalid(lambda: manifest.decode(data)))


def test_another_schema_is_refused():
    """A missing column, another type, or no word on which format it is."""
    schema = manifest._COLUMNS
    named = {b"format": b"fed/manifest/v1", b"dataset_uid": b"d-1"}
    for wrong in (
        schema,
        schema.with_metadata({**named, b"format": b"fed/manifest/v2"}),
        schema.remove(8).with_metadata(named),
        schema.set(1, pa.field("file_bytes", pa.int32(), nullable=False)).with_metadata(named),
        schema.set(0, pa.field("path", pa.utf8())).with_metadata(named),
    ):
        sink = io.BytesIO()
        pa.ipc.new_stream(sink, wrong).close()
        assert "schema" in str(invalid(lambda sink=sink: manifest.decode(sink.getvalue())))


@given(st.data())
def test_damaged_bytes_are_refused_or_harmless(data):
    """A flipped byte either fails in our own words or gives a manifest that is legal; it never gives a foreign error."""
    whole = manifest.encode(of(entry("a"), entry("b/c")))
    at = data.draw(st.integers(0, len(whole) - 1))
    flipped = whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :]
    for damaged in (flipped, whole[:at]):
        reason = ""
        try:
            manifest.encode(manifest.decode(damaged))
        except errors.DataCorrupt as error:
            reason = error.reason
        assert reason in ("", "MANIFEST_INVALID")


@pytest.mark.parametrize("data", [b"", b"PAR1", b"\xff" * 100, b"ARROW1\0\0"])
def test_what_is_no_manifest_is_refused(data):
    """Bytes of another kind."""
    invalid(lambda: manifest.decode(data))


def test_a_signature_holds_for_one_manifest_of_one_dataset():
    """Another digest, another dataset, another site's key or a mangled signature is refused."""
    private = signing.new_private()
    public = signing.public_hex(private)
    signature = manifest.sign(private, "d-1", "aa" * 32)
    manifest.verify(public, "d-1", "aa" * 32, signature)
    for call in (
        lambda: manifest.verify(public, "d-1", "ab" * 32, signature),
        lambda: manifest.verify(public, "d-2", "aa" * 32, signature),
        lambda: manifest.verify(signing.public_hex(signing.new_private()), "d-1", "aa" * 32, signature),
        lambda: manifest.verify(public, "d-1", "aa" * 32, signature[:-2]),
        lambda: manifest.verify(public, "d-1", "aa" * 32, "no hex"),
        lambda: manifest.verify("", "d-1", "aa" * 32, signature),
    ):
        invalid(call)


def forged(files: list[FileEntry]) -> bytes:
    """What a writer without scruples would write."""
    schema = manifest._COLUMNS.with_metadata({b"format": b"fed/manifest/v1", b"dataset_uid": b"d-1"})
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(manifest._to_batch([dataclasses.replace(file) for file in files], schema))
    return sink.getvalue()
