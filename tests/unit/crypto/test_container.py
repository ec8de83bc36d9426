"""The container: what was sealed is read back by any range, and nothing that was touched is ever read."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
import json
import os
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.cobblestone import Cobblestone256Decryptor
from cryptography.hazmat.primitives import hashes
from hypothesis import given
from hypothesis import strategies as st

from federation.core import errors
from federation.crypto import container
from federation.crypto.container import CHUNK, HEADER, SEALED_CHUNK, RangedReader, Sealer

KEY = bytes(range(32))
CONTEXT = container.context("d-1", "g-1", "o-1")
PLAIN = os.urandom(5 * CHUNK + 100)
#: Sizes at which a chunk begins, ends or is alone, on both sides of what is fetched whole.
SIZES = [0, 1, 15, 16, 17, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK - 1, 2 * CHUNK, 2 * CHUNK + 1, 4 * CHUNK, len(PLAIN)]


def seal(plain: bytes, key: bytes = KEY, context: bytes = CONTEXT, step: int = 10_000) -> tuple[bytes, Sealer]:
    """A container, and the sealer that made it."""
    sealer = Sealer(key, context)
    pieces = [sealer.update(plain[at : at + step]) for at in range(0, len(plain), step)]
    return b"".join([*pieces, sealer.finalize()]), sealer


def reader(
    sealed: bytes, commitment: str, *, size: int | None = None, key: bytes = KEY, context: bytes = CONTEXT
) -> RangedReader:
    """A reader of bytes in memory."""
    size = len(sealed) if size is None else size
    return RangedReader(
        key, context, object_bytes=size, commitment=commitment, fetch=lambda at, length: sealed[at : at + length]
    )


def refused(opened: RangedReader, offset: int = 0, length: int = 1 << 30) -> errors.DataCorrupt:
    """What a read is refused with."""
    with pytest.raises(errors.DataCorrupt) as caught:
        opened.read_at(offset, length)
    return caught.value


@pytest.fixture(params=[3 * CHUNK - 7, len(PLAIN)], ids=["fetched whole", "fetched by range"])
def sealed(request):
    """A container on either side of the size up to which objects are fetched whole, with its plaintext and facts."""
    plain = PLAIN[: request.param]
    return plain, *seal(plain)


class TestRoundTrip:
    """What the two directions promise each other."""

    @pytest.mark.parametrize("size", SIZES)
    def test_what_was_sealed_is_read_back(self, size):
        """A whole file survives, and the sealer's facts are those of the object."""
        sealed, facts = seal(PLAIN[:size])
        assert reader(sealed, facts.commitment).read_at(0, size) == PLAIN[:size]
        assert facts.object_bytes == len(sealed) == container.object_bytes(size)
        assert facts.file_bytes == size == container.file_bytes(len(sealed))
        assert facts.object_sha256 == hashlib.sha256(sealed).hexdigest()
        assert facts.commitment == sealed[24:56].hex()

    @given(st.sampled_from(SIZES), st.integers(1, 3 * CHUNK), st.data())
    def test_any_range_is_that_slice(self, size, step, data):
        """Whatever the file's size and however it was written, a range equals the slice of the plaintext."""
        sealed, facts = seal(PLAIN[:size], step=step)
        opened = reader(sealed, facts.commitment)
        for _ in range(3):
            offset, length = data.draw(st.integers(0, size + 3)), data.draw(st.integers(0, size + 3))
            assert opened.read_at(offset, length) == PLAIN[:size][offset : offset + length]
            target = bytearray(length)
            count = opened.read_into(offset, memoryview(target))
            assert target[:count] == PLAIN[:size][offset : offset + length]

    @given(st.integers(0, len(PLAIN)), st.integers(0, len(PLAIN)), st.lists(st.integers(1, 40_000), min_size=1), st.randoms())
    def test_pieces_may_come_in_any_size(self, offset, length, sizes, random):
        """A fetch that streams gives the same as one that answers at once, wherever it is cut."""
        sealed, facts = seal(PLAIN)

        def fetch(at: int, count: int):
            end = at + count
            while at < end:
                step = min(random.choice(sizes), end - at)
                yield sealed[at : at + step]
                at += step

        opened = RangedReader(KEY, CONTEXT, object_bytes=len(sealed), commitment=facts.commitment, fetch=fetch)
        assert opened.read_at(offset, length) == PLAIN[offset : offset + length]

    def test_the_native_implementation_reads_it_too(self):
        """The bytes are the format's, not ours."""
        sealed, _ = seal(PLAIN)
        native = Cobblestone256Decryptor(KEY, CONTEXT)
        assert native.update(sealed) + native.finalize() == PLAIN

    def test_the_same_file_never_looks_the_same(self):
        """Each container has a salt of its own."""
        assert seal(PLAIN)[0] != seal(PLAIN)[0]

    def test_many_threads_share_a_reader(self):
        """Reads side by side do not disturb each other, the first one included."""
        sealed, facts = seal(PLAIN)
        opened = reader(sealed, facts.commitment)
        with ThreadPoolExecutor(8) as pool:
            read = pool.map(lambda at: opened.read_at(at * 777, 20_000) == PLAIN[at * 777 : at * 777 + 20_000], range(100))
            assert all(read)

    def test_a_read_fetches_little(self):
        """Opening takes the header and the last chunk; a range takes its chunks, and the end of the file nothing more."""
        sealed, facts = seal(PLAIN)
        fetched = []

        def fetch(at: int, length: int) -> bytes:
            fetched.append((at, length))
            return sealed[at : at + length]

        opened = RangedReader(KEY, CONTEXT, object_bytes=len(sealed), commitment=facts.commitment, fetch=fetch)
        assert opened.size == len(PLAIN)
        assert fetched == []
        opened.read_at(CHUNK, 1)
        assert fetched == [(0, HEADER), (HEADER + 5 * SEALED_CHUNK, 116), (HEADER + SEALED_CHUNK, SEALED_CHUNK)]
        opened.read_at(len(PLAIN) - 8, 8)
        opened.read_at(len(PLAIN), 8)
        opened.read_at(0, 0)
        assert len(fetched) == 3

    def test_a_range_before_the_file_is_refused(self):
        """Negative offsets do not count from the end."""
        sealed, facts = seal(b"abc")
        with pytest.raises(errors.InvalidArgument):
            reader(sealed, facts.commitment).read_at(-1, 2)


class TestSizes:
    """Lengths of files and containers determine each other."""

    @given(st.integers(0, container.FILE_BYTES_MAX))
    def test_the_two_lengths_are_inverse(self, size):
        """From file to object and back is the same length."""
        assert container.file_bytes(container.object_bytes(size)) == size

    @given(st.integers(-100, 1 << 54))
    def test_a_length_is_possible_or_refused(self, size):
        """An object's length is that of exactly one file's container, or is told to be impossible."""
        try:
            file_bytes = container.file_bytes(size)
        except errors.DataCorrupt:
            assert size < HEADER + 16 or (size - HEADER) % SEALED_CHUNK < 16 or size > container.object_bytes(1 << 52)
        else:
            assert container.object_bytes(file_bytes) == size

    @pytest.mark.parametrize("size", [-1, container.FILE_BYTES_MAX + 1])
    def test_a_file_that_fits_no_container_is_refused(self, size):
        """Neither less than nothing nor more than the format holds."""
        with pytest.raises(errors.DataCorrupt):
            container.object_bytes(size)


class TestDamage:
    """Whatever is done to an object, its reader says what it is and returns no byte of it."""

    @pytest.mark.parametrize("at", range(HEADER))
    def test_a_flipped_byte_of_the_header_is_refused(self, sealed, at):
        """In the commitment it is another object; in the salt it does not fit its key."""
        _, stored, facts = sealed
        damaged = stored[:at] + bytes([stored[at] ^ 1]) + stored[at + 1 :]
        error = refused(reader(damaged, facts.commitment), 0, 0)
        assert error.reason == ("OBJECT_CORRUPT" if at < 24 else "OBJECT_SWAPPED")

    @given(st.data())
    def test_a_flipped_byte_of_a_chunk_is_refused_with_its_number(self, data):
        """Every read that touches the chunk fails and names it; when it is the last one, every read fails."""
        plain = PLAIN[: data.draw(st.sampled_from([size for size in SIZES if size]))]
        stored, facts = seal(plain)
        at = data.draw(st.integers(HEADER, len(stored) - 1))
        damaged = stored[:at] + bytes([stored[at] ^ data.draw(st.integers(1, 255))]) + stored[at + 1 :]
        chunk, last = (at - HEADER) // SEALED_CHUNK, len(plain) // CHUNK
        error = refused(reader(damaged, facts.commitment))
        assert (error.reason, error.metadata["chunk"]) == ("OBJECT_CORRUPT", str(chunk))
        opened = reader(damaged, facts.commitment)
        for healthy in range(last):
            if chunk in (last, healthy):
                assert refused(opened, healthy * CHUNK + 5, 7).metadata["chunk"] == str(chunk)
            else:
                assert opened.read_at(healthy * CHUNK, CHUNK) == plain[healthy * CHUNK : (healthy + 1) * CHUNK]

    def test_every_flipped_byte_of_a_small_object_is_refused(self):
        """All of them, header and last chunk."""
        stored, facts = seal(b"secret")
        for at in range(len(stored)):
            refused(reader(stored[:at] + bytes([stored[at] ^ 128]) + stored[at + 1 :], facts.commitment))

    @given(st.sampled_from(SIZES), st.data())
    def test_a_truncated_object_is_refused_at_any_length(self, size, data):
        """When the manifest knows better it is told as truncated; with its length changed too, it does not authenticate."""
        stored, facts = seal(PLAIN[:size])
        left = data.draw(st.integers(0, len(stored) - 1))
        assert refused(reader(stored[:left], facts.commitment, size=len(stored)), 0, 1).reason == "OBJECT_TRUNCATED"
        with pytest.raises(errors.DataCorrupt) as caught:
            reader(stored[:left], facts.commitment).read_at(0, 1)
        assert caught.value.reason in ("OBJECT_SIZE_INVALID", "OBJECT_CORRUPT")

    def test_an_object_cut_at_a_chunk_is_refused(self, sealed):
        """A whole number of good chunks is not a file: the short last one is missing."""
        _, stored, facts = sealed
        for chunks in range(3):
            cut = stored[: HEADER + chunks * SEALED_CHUNK]
            with pytest.raises(errors.DataCorrupt) as caught:
                reader(cut, facts.commitment)
            assert caught.value.reason == "OBJECT_SIZE_INVALID"

    def test_two_swapped_objects_are_refused(self, sealed):
        """Two good objects of one dataset, key and length, each under the other's name."""
        plain, stored, facts = sealed
        other, other_facts = seal(plain)
        assert refused(reader(other, facts.commitment), 0, 0).reason == "OBJECT_SWAPPED"
        assert refused(reader(stored, other_facts.commitment), 0, 0).reason == "OBJECT_SWAPPED"

    def test_an_object_under_another_name_is_refused(self, sealed):
        """Even with its own commitment pinned, an object opens in its own place alone."""
        _, stored, facts = sealed
        for place in (("d-2", "g-1", "o-1"), ("d-1", "g-2", "o-1"), ("d-1", "g-1", "o-2"), ("d-1g-1", "", "o-1")):
            opened = reader(stored, facts.commitment, context=container.context(*place))
            assert refused(opened, 0, 0).reason == "OBJECT_CORRUPT"

    def test_another_key_is_refused(self, sealed):
        """A DEK of another generation opens nothing, and says so."""
        _, stored, facts = sealed
        error = refused(reader(stored, facts.commitment, key=bytes(32)), 0, 0)
        assert (error.reason, error.metadata["part"]) == ("OBJECT_CORRUPT", "header")

    def test_a_plaintext_file_is_refused(self, sealed):
        """A file that was never encrypted, of exactly the right length, is not passed through."""
        _, stored, facts = sealed
        plaintext = b"PAR1" + bytes(len(stored) - 8) + b"PAR1"
        assert refused(reader(plaintext, facts.commitment), 0, 0).reason == "OBJECT_SWAPPED"

    def test_swapped_chunks_are_refused(self):
        """Order is authenticated."""
        stored, facts = seal(PLAIN)
        first, second = stored[HEADER : HEADER + SEALED_CHUNK], stored[HEADER + SEALED_CHUNK : HEADER + 2 * SEALED_CHUNK]
        assert refused(
            reader(stored[:HEADER] + second + first + stored[HEADER + 2 * SEALED_CHUNK :], facts.commitment)
        ).metadata["chunk"] == ("0")

    def test_a_store_that_answers_short_later_is_noticed(self):
        """Each fetch is checked, not only the first."""
        stored, facts = seal(PLAIN)

        def fetch(at: int, length: int) -> bytes:
            return stored[at : at + length][: -1 if length == 2 * SEALED_CHUNK else None]

        opened = RangedReader(KEY, CONTEXT, object_bytes=len(stored), commitment=facts.commitment, fetch=fetch)
        assert opened.read_at(0, CHUNK) == PLAIN[:CHUNK]
        error = refused(opened, CHUNK, 2 * CHUNK)
        assert (error.reason, error.metadata["actual_bytes"]) == ("OBJECT_TRUNCATED", str(2 * SEALED_CHUNK - 1))

    def test_a_store_that_answers_too_much_is_noticed(self):
        """One that ignores the range is not trusted for the part that was asked for."""
        stored, facts = seal(PLAIN)
        opened = RangedReader(
            KEY, CONTEXT, object_bytes=len(stored), commitment=facts.commitment, fetch=lambda at, length: stored
        )
        assert refused(opened).reason == "OBJECT_TRUNCATED"

    def test_a_failed_open_is_tried_again(self):
        """A store that was down for the first read is not held against the object."""
        stored, facts = seal(PLAIN)
        answers = iter([errors.Unavailable("down")])

        def fetch(at: int, length: int) -> bytes:
            for error in answers:
                raise error
            return stored[at : at + length]

        opened = RangedReader(KEY, CONTEXT, object_bytes=len(stored), commitment=facts.commitment, fetch=fetch)
        with pytest.raises(errors.Unavailable):
            opened.read_at(0, 1)
        assert opened.read_at(0, 1) == PLAIN[:1]


def test_nothing_secret_is_shown():
    """Repr tells size and commitment, not the key."""
    stored, facts = seal(b"abc")
    assert repr(reader(stored, facts.commitment)) == f"<RangedReader size=3 commitment={facts.commitment[:8]}>"


def vectors() -> list[dict[str, object]]:
    """Test vectors of the format for AES-256-GCM, as `cryptography` ships them.

    They are of an instance with SHA-256 in place of SHA-512 (the native one has the latter alone and refuses them all),
    so they hold the chunks, their order and their end to account; for the derivation, native and ours read each other, above.
    """
    folder = importlib.resources.files("cryptography_vectors") / "chunked-encryption" / "vectors.json"
    return [vector for vector in json.loads(folder.read_text())["vectors"] if vector["aead"] == "AEAD_AES_256_GCM"]


VECTORS = vectors()


def test_the_vectors_are_there():
    """A package that had lost its vectors would let the test below pass on nothing."""
    assert len(VECTORS) >= 30
    assert {vector["expect"] for vector in VECTORS} == {"success", "failure"}


@pytest.mark.parametrize("vector", VECTORS, ids=[str(vector["name"]) for vector in VECTORS])
def test_the_reader_agrees_with_the_formats_vectors(vector, monkeypatch):
    """With the header's own commitment pinned, it reads what is good and refuses what is not."""
    monkeypatch.setattr(container, "_HASH", hashes.SHA256())
    stored = base64.b64decode(vector["ciphertext"] or "")
    stored = zlib.decompress(stored) if vector.get("compressed") else stored

    def read() -> bytes:
        opened = reader(stored, stored[24:56].hex(), key=bytes.fromhex(vector["key"]), context=vector["context"].encode())
        return opened.read_at(0, opened.size)

    if vector["expect"] == "success":
        plain = read()
        assert len(plain) == vector["payload_length"]
        assert hashlib.sha256(plain).hexdigest() == vector["payload_sha256"]
    else:
        with pytest.raises((errors.DataCorrupt, errors.InvalidArgument)):
            read()
