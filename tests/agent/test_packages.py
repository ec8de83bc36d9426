"""Working directories are unpacked with suspicion."""

from __future__ import annotations

import hashlib
import io
import stat
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from federation.agent import packages
from federation.core import errors


def zipped(fill: Callable[[zipfile.ZipFile], None]) -> bytes:
    """A zip with what `fill` puts in."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        fill(archive)
    return target.getvalue()


def fetching(*known: bytes) -> Callable[[str], Iterator[bytes]]:
    """Gives packages by digest, in pieces."""
    by_digest = {hashlib.sha256(data).hexdigest(): data for data in known}

    def fetch(digest: str) -> Iterator[bytes]:
        data = by_digest.get(digest, b"something else")
        return iter([data[:10], data[10:]])

    return fetch


def unpacked(tmp_path: Path, data: bytes) -> Path:
    """The folder of a package."""
    return packages.Packages(tmp_path / "packages", fetching(data)).folder(hashlib.sha256(data).hexdigest())


def test_a_package_is_unpacked_once(tmp_path: Path) -> None:
    """Folders, files and the bit that makes them runnable; the second time it is there."""

    def fill(archive: zipfile.ZipFile) -> None:
        archive.writestr("a/b/train.py", b"print()")
        runnable = zipfile.ZipInfo("run.sh")
        runnable.external_attr = (stat.S_IFREG | 0o755) << 16
        archive.writestr(runnable, b"#!/bin/sh")

    data = zipped(fill)
    asked: list[str] = []
    fetch = fetching(data)

    def counted(digest: str) -> Iterator[bytes]:
        asked.append(digest)
        return fetch(digest)

    kept = packages.Packages(tmp_path / "packages", counted)
    digest = hashlib.sha256(data).hexdigest()
    folder = kept.folder(digest)
    assert (folder / "a" / "b" / "train.py").read_bytes() == b"print()"
    assert (folder / "run.sh").stat().st_mode & 0o100
    assert kept.folder(digest) == folder
    assert asked == [digest]


def test_a_package_that_is_not_its_digest_is_refused(tmp_path: Path) -> None:
    """And nothing of it stays."""
    kept = packages.Packages(tmp_path / "packages", fetching())
    with pytest.raises(errors.DataCorrupt) as refused:
        kept.folder("0" * 64)
    assert refused.value.reason == "DIGEST_MISMATCH"
    assert list((tmp_path / "packages").iterdir()) == []


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "a\\..\\evil", "a//b", "./a"])
def test_a_path_that_leaves_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    """Whatever its spelling."""
    with pytest.raises(errors.InvalidArgument) as refused:
        unpacked(tmp_path, zipped(lambda archive: archive.writestr(name, b"evil")))
    assert refused.value.reason == "PACKAGE_INVALID"
    assert not list(tmp_path.rglob("evil"))


def test_a_link_is_refused(tmp_path: Path) -> None:
    """What it points to is none of the job's."""

    def fill(archive: zipfile.ZipFile) -> None:
        link = zipfile.ZipInfo("link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")

    with pytest.raises(errors.InvalidArgument) as refused:
        unpacked(tmp_path, zipped(fill))
    assert refused.value.reason == "PACKAGE_INVALID"


def test_a_bomb_is_stopped_while_it_unpacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what comes out, not by what its header says."""
    monkeypatch.setattr(packages, "UNPACKED_BYTES_MAX", 1 << 20)

    def fill(archive: zipfile.ZipFile) -> None:
        for number in range(8):
            archive.writestr(f"zeros-{number}", bytes(1 << 18))

    with pytest.raises(errors.InvalidArgument) as refused:
        unpacked(tmp_path, zipped(fill))
    assert refused.value.reason == "WORKING_DIR_TOO_BIG"
    assert list((tmp_path / "packages").iterdir()) == []


def test_too_many_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A million empty files fill a disk too."""
    monkeypatch.setattr(packages, "FILES_MAX", 3)
    with pytest.raises(errors.InvalidArgument) as refused:
        unpacked(tmp_path, zipped(lambda archive: [archive.writestr(str(n), b"") for n in range(4)] and None))
    assert refused.value.reason == "PACKAGE_INVALID"


@pytest.mark.parametrize("data", [b"", b"not a zip", b"PK\x03\x04 and then nothing"])
def test_what_is_no_zip_is_refused(tmp_path: Path, data: bytes) -> None:
    """With a reason, not with a traceback."""
    with pytest.raises(errors.InvalidArgument) as refused:
        unpacked(tmp_path, data)
    assert refused.value.reason == "PACKAGE_INVALID"


def test_a_name_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    """The second would replace the first."""

    def fill(archive: zipfile.ZipFile) -> None:
        archive.writestr("a", b"1")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a", b"2")

    with pytest.raises(errors.InvalidArgument) as refused:
        unpacked(tmp_path, zipped(fill))
    assert refused.value.reason == "PACKAGE_INVALID"


def test_what_a_dead_process_left_is_removed(tmp_path: Path) -> None:
    """A half-unpacked package is never taken for a whole one."""
    (tmp_path / "packages" / "new-half").mkdir(parents=True)
    packages.Packages(tmp_path / "packages", fetching())
    assert list((tmp_path / "packages").iterdir()) == []
