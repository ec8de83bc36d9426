"""What the spool promises: beginnings that survive a restart, in bounded space, and never a hole."""

from __future__ import annotations

from pathlib import Path

from federation.agent import spool
from federation.core import dataset
from tests import builders

OBJECT = "o-00000000000000000000000001"


def entry(size: int, object_id: str = OBJECT) -> dataset.FileEntry:
    """A file of the manifest, as far as the spool looks at it."""
    return dataset.FileEntry(
        path="a",
        file_bytes=size,
        object_id=object_id,
        generation=builders.GENERATION,
        object_bytes=size,
        object_sha256="0" * 64,
        commitment="0" * 64,
        tag="",
        rows=-1,
    )


def kept(spooled: spool.Spool, size: int = 100) -> bytes:
    """What is kept of the object."""
    with spooled.draft("t-1", entry(size)) as draft:
        return b"".join(draft.pieces())


def test_a_beginning_is_there_after_a_restart(tmp_path: Path) -> None:
    """And what it takes is counted again."""
    with spool.Spool(tmp_path, bytes_max=1000, least=1).draft("t-1", entry(100)) as draft:
        draft.add(0, b"abc")
        draft.add(3, memoryview(b"def"))
    again = spool.Spool(tmp_path, bytes_max=1000, least=1)
    assert (kept(again), again.used_bytes) == (b"abcdef", 6)


def test_space_is_bounded_over_all_objects_and_a_beginning_never_gets_a_hole(tmp_path: Path) -> None:
    """Where there is no room nothing is added; nor is what comes after what was not added."""
    spooled = spool.Spool(tmp_path, bytes_max=10, least=1)
    other = "o-00000000000000000000000002"
    with spooled.draft("t-1", entry(100)) as one, spooled.draft("t-1", entry(100, other)) as two:
        one.add(0, b"123456")
        two.add(0, b"123456")
        two.add(6, b"789")
        one.add(6, b"7890")
        one.add(10, b"x")
    assert spooled.used_bytes == sum(path.stat().st_size for path in tmp_path.glob("*/g-*")) == 10
    assert kept(spooled) == b"1234567890"


def test_of_small_objects_nothing_is_kept(tmp_path: Path) -> None:
    """They are fetched again at little cost."""
    spooled = spool.Spool(tmp_path, bytes_max=1000, least=50)
    with spooled.draft("t-1", entry(49)) as draft:
        draft.add(0, b"abc")
    assert kept(spooled, 49) == b""
    assert spooled.used_bytes == 0


def test_what_is_cleared_gives_its_room_back(tmp_path: Path) -> None:
    """An object, a transfer, and what belongs to no transfer that is known."""
    spooled = spool.Spool(tmp_path, bytes_max=1000, least=1)
    with spooled.draft("t-1", entry(100)) as draft:
        draft.add(0, b"abc")
        draft.clear()
    assert spooled.used_bytes == 0
    for name in ("t-1", "t-2", "t-3"):
        spooled.put_manifest(name, b"manifest")
        with spooled.draft(name, entry(100)) as draft:
            draft.add(0, b"abc")
    spooled.clear("t-1")
    spooled.keep(["t-3"])
    assert spooled.used_bytes == 3
    assert [path.name for path in tmp_path.iterdir()] == ["t-3"]
    assert (spooled.manifest("t-3"), spooled.manifest("t-1")) == (b"manifest", None)
