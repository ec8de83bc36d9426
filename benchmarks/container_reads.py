"""What encryption costs a reader: ranges of an encrypted object through `RangedReader`, against the same ranges of a plain one.

Both lie in a `LocalStore` and come in its pieces; the floor puts them into place, the reader decrypts them into place.
Nothing is parsed or computed from the bytes, so this is the worst case: memory against AES. The two take turns, so that
a busy machine slows both, and the best turn of each counts. Times are of the processor, which other programs disturb
less than the clock on the wall; `--wall` takes that one.

    python -m benchmarks.container_reads [--mib 128] [--turns 7] [--wall]
"""

from __future__ import annotations

import argparse
import io
import os
import random
import tempfile
import time

from connectors.storage.local import LocalStore
from federation.crypto import container
from federation.crypto.container import RangedReader, Sealer

KIB, MIB = 1024, 1024 * 1024
KEY = bytes(range(32))


def main() -> None:
    """Prints MB/s of plain and encrypted reads and their ratio, one line for each kind of read."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=128, help="size of the file")
    parser.add_argument("--turns", type=int, default=7, help="turns for each kind of read")
    parser.add_argument("--wall", action="store_true", help="measure by the clock on the wall")
    arguments = parser.parse_args()
    clock = time.perf_counter if arguments.wall else time.thread_time
    with tempfile.TemporaryDirectory() as folder:
        measure(LocalStore(folder), arguments.mib * MIB, arguments.turns, clock)


def measure(store: LocalStore, size: int, turns: int, clock) -> None:
    """All kinds of reads of one file of that size."""
    plain, encrypted, sealing_seconds = prepare(store, size, clock)
    print(f"sealing with SHA-256: {size / sealing_seconds / 1e6:,.0f} MB/s")
    print(f"{'read':<22}{'plain MB/s':>12}{'encrypted MB/s':>16}{'ratio':>8}")
    for name, length, offsets in reads(size):
        total = sum(min(length, size - offset) for offset in offsets)
        seconds = [
            min(times) for times in zip(*(turn(plain, encrypted, length, offsets, clock) for _ in range(turns)), strict=True)
        ]
        rates = [total / spent / 1e6 for spent in seconds]
        print(f"{name:<22}{rates[0]:>12,.0f}{rates[1]:>16,.0f}{rates[1] / rates[0]:>8.2f}")


def prepare(store: LocalStore, size: int, clock):
    """The same bytes as a plain and as an encrypted object; gives a read function for each, and the seconds of sealing."""
    content = os.urandom(size)
    context = container.context("d-bench", "g-bench", "o-bench")
    sealer = Sealer(KEY, context)
    begin = clock()
    pieces = [sealer.update(content[at : at + MIB]) for at in range(0, size, MIB)]
    pieces.append(sealer.finalize())
    seconds = clock() - begin
    store.put("plain", io.BytesIO(content))
    store.put("encrypted", io.BytesIO(b"".join(pieces)))

    def plain(offset: int, length: int) -> bytes:
        buffer, at = io.BytesIO(bytes(min(length, size - offset))), 0
        with buffer.getbuffer() as target:
            for piece in store.read("plain", offset, length):
                target[at : at + len(piece)] = piece
                at += len(piece)
        return buffer.getvalue()

    reader = RangedReader(
        KEY,
        context,
        object_bytes=sealer.object_bytes,
        commitment=sealer.commitment,
        fetch=lambda offset, length: store.read("encrypted", offset, length),
    )
    assert reader.read_at(5, 2 * MIB) == plain(5, 2 * MIB)
    return plain, reader.read_at, seconds


def reads(size: int):
    """Name, length and offsets of each kind of read; random ones are not aligned to anything."""
    choose = random.Random(1)
    for name, length, count in (("random 16 KiB", 16 * KIB, 2000), ("random 1 MiB", MIB, 200), ("random 8 MiB", 8 * MIB, 25)):
        yield name, length, [choose.randrange(size - length) for _ in range(count)]
    yield "sequential by 1 MiB", MIB, range(0, size, MIB)
    yield "sequential by 8 MiB", 8 * MIB, range(0, size, 8 * MIB)


def turn(plain, encrypted, length: int, offsets, clock) -> tuple[float, float]:
    """Seconds that each of the two took, one after the other."""
    spent = []
    for read in (plain, encrypted):
        begin = clock()
        for offset in offsets:
            read(offset, length)
        spent.append(clock() - begin)
    return spent[0], spent[1]


if __name__ == "__main__":
    main()
