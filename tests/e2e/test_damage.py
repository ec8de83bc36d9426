"""Bytes at a site that are not what its manifests say: whoever reads hears what is wrong with which file, and gets nothing."""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from federation import errors
from federation.core import job
from federation.crypto import container, layout, manifest
from tests import localfed

CHUNKS = 40
#: Two files of one length, many chunks long, and one that fits in a part of a chunk.
FILES = {
    "a.bin": random.Random(1).randbytes(CHUNKS * container.CHUNK + 123),
    "b.bin": random.Random(2).randbytes(CHUNKS * container.CHUNK + 123),
    "deep/c.txt": b"a small file, whole in one chunk\n",
}


@pytest.fixture(scope="module")
def fed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[localfed.LocalFederation]:
    """One site that stores and computes."""
    folder = tmp_path_factory.mktemp("damage")
    compute = {"eu-1": {"compute": {"kind": "process"}}}
    with localfed.running(localfed.LocalFederation(folder=folder / "f", compute=compute)) as running:
        yield running


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A dataset as it lies in the site's store."""

    name: str
    store: Path
    manifest: Path
    objects: dict[str, Path]

    def key(self, path: Path) -> str:
        """The store key of a file."""
        return path.relative_to(self.store).as_posix()


@pytest.fixture
def stored(fed: localfed.LocalFederation, request: pytest.FixtureRequest) -> Iterator[Stored]:
    """A fresh dataset; afterwards its site is as it was, whatever the test did to it, and nothing is found there."""
    made = _put(fed, re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[-60:].strip("-"))
    before = {path: path.read_bytes() for path in (made.manifest, *made.objects.values())}
    yield made
    for path, data in before.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    assert fed.findings() == []


def _put(fed: localfed.LocalFederation, name: str) -> Stored:
    version = fed.put(f"damage/{name}", FILES)
    store = fed.layout.site("eu-1") / "store"
    listed = store / layout.manifest_key(version.manifest_digest)
    found = manifest.decode(listed.read_bytes())
    objects = {
        entry.path: store / layout.object_key(found.dataset_uid, entry.generation, entry.object_id) for entry in found.files
    }
    return Stored(name=f"damage/{name}", store=store, manifest=listed, objects=objects)


Damage = Callable[[Path], None]


def flip(position: int) -> Damage:
    """One bit of the byte at a position, counted from the end where negative."""

    def damage(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[position] ^= 1
        path.write_bytes(data)

    return damage


def in_chunk(number: int) -> Damage:
    """One bit in the middle of a chunk."""
    return flip(container.HEADER + number * container.SEALED_CHUNK + 99)


def cut(count: int) -> Damage:
    """The last bytes are gone."""
    return lambda path: path.write_bytes(path.read_bytes()[:-count])


def plain(path: Path) -> None:
    """The file itself in place of its ciphertext."""
    path.write_bytes(FILES["b.bin"])


def padded(path: Path) -> None:
    """The file itself, at the length of its ciphertext."""
    path.write_bytes(FILES["b.bin"].ljust(path.stat().st_size, b"\0"))


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is done to `b.bin`, what its readers hear, and what `fed fsck` calls it."""

    damage: Damage
    reason: str
    finding: str = "DAMAGED"


CASES = {
    "a flipped salt": Case(damage=flip(0), reason="OBJECT_CORRUPT"),
    "a flipped commitment": Case(damage=flip(container.SALT), reason="OBJECT_SWAPPED"),
    "a flipped first chunk": Case(damage=in_chunk(0), reason="OBJECT_CORRUPT"),
    "a flipped middle chunk": Case(damage=in_chunk(CHUNKS // 2), reason="OBJECT_CORRUPT"),
    "a flipped last chunk": Case(damage=in_chunk(CHUNKS), reason="OBJECT_CORRUPT"),
    "a flipped last byte": Case(damage=flip(-1), reason="OBJECT_CORRUPT"),
    "a missing byte": Case(damage=cut(1), reason="OBJECT_TRUNCATED"),
    "a missing chunk": Case(damage=cut(container.SEALED_CHUNK), reason="OBJECT_TRUNCATED"),
    "nothing left": Case(damage=lambda path: path.write_bytes(b""), reason="OBJECT_TRUNCATED"),
    "the plaintext": Case(damage=plain, reason="OBJECT_SWAPPED"),
    "the padded plaintext": Case(damage=padded, reason="OBJECT_SWAPPED"),
    "no object": Case(damage=Path.unlink, reason="OBJECT_MISSING", finding="MISSING"),
}


def _refused(fed: localfed.LocalFederation, name: str, folder: Path) -> errors.DataCorrupt:
    """The error with which a `get` is refused; nothing of it is left."""
    with pytest.raises(errors.DataCorrupt) as caught, fed.client() as client:
        client.get(name, folder)
    assert not folder.exists()
    return caught.value


def _gives_all(fed: localfed.LocalFederation, name: str, folder: Path) -> None:
    with fed.client() as client:
        client.get(name, folder)
    assert {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()} == FILES


@pytest.mark.parametrize("what", CASES)
def test_a_damaged_object_is_refused_by_file_and_found(
    fed: localfed.LocalFederation, stored: Stored, tmp_path: Path, what: str
):
    """A person who gets the dataset hears the file and the reason and gets nothing; `fsck` names the object and no other."""
    case, victim = CASES[what], stored.objects["b.bin"]
    case.damage(victim)
    refused = _refused(fed, stored.name, tmp_path / "got")
    assert refused.reason == case.reason
    assert f"{stored.name}@1/b.bin" in refused.message
    assert fed.findings() == [(case.finding, stored.key(victim))]


@pytest.mark.parametrize("what", ["a flipped salt", "a flipped last byte", "a missing byte", "no object"])
def test_a_damaged_small_object_is_refused_too(fed: localfed.LocalFederation, stored: Stored, tmp_path: Path, what: str):
    """An object that is fetched in one piece is checked like any other."""
    case, victim = CASES[what], stored.objects["deep/c.txt"]
    case.damage(victim)
    refused = _refused(fed, stored.name, tmp_path / "got")
    assert (refused.reason, "deep/c.txt" in refused.message) == (case.reason, True)
    assert fed.findings() == [(case.finding, stored.key(victim))]


def test_swapped_objects_are_refused(fed: localfed.LocalFederation, stored: Stored, tmp_path: Path):
    """Two good objects of one length in each other's place: each is whole, and neither is what the manifest names."""
    one, other = stored.objects["a.bin"], stored.objects["b.bin"]
    data = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(data)
    assert _refused(fed, stored.name, tmp_path / "got").reason == "OBJECT_SWAPPED"
    assert sorted(fed.findings()) == sorted(("DAMAGED", stored.key(path)) for path in (one, other))


def test_bytes_behind_an_object_harm_nobody_and_are_found(fed: localfed.LocalFederation, stored: Stored, tmp_path: Path):
    """What the manifest names is read and nothing more; `fsck` says that the length is not right."""
    victim = stored.objects["b.bin"]
    victim.write_bytes(victim.read_bytes() + b"more")
    _gives_all(fed, stored.name, tmp_path / "got")
    assert fed.findings() == [("DAMAGED", stored.key(victim))]


def _of_another(fed: localfed.LocalFederation) -> bytes:
    return _put(fed, "another").manifest.read_bytes()


@pytest.mark.parametrize("what", ["flipped", "cut", "empty", "another dataset's"])
def test_a_damaged_manifest_is_refused_and_found(fed: localfed.LocalFederation, stored: Stored, tmp_path: Path, what: str):
    """Nothing of a version is read by a manifest that its site did not sign, and none of its objects is called an orphan."""
    good = stored.manifest.read_bytes()
    middle = len(good) // 2
    stored.manifest.write_bytes(
        {
            "flipped": lambda: good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :],
            "cut": lambda: good[:-1],
            "empty": lambda: b"",
            "another dataset's": lambda: _of_another(fed),
        }[what]()
    )
    refused = _refused(fed, stored.name, tmp_path / "got")
    assert (refused.reason, f"{stored.name}@1" in refused.message) == ("MANIFEST_INVALID", True)
    assert fed.findings() == [("MANIFEST_INVALID", stored.key(stored.manifest))]


def test_a_missing_manifest_is_told_apart(fed: localfed.LocalFederation, stored: Stored, tmp_path: Path):
    """Its objects are all there, and still none of them is read or called an orphan."""
    stored.manifest.unlink()
    assert _refused(fed, stored.name, tmp_path / "got").reason == "MANIFEST_MISSING"
    assert fed.findings() == [("MISSING", stored.key(stored.manifest))]


def test_objects_that_nobody_names_are_found(fed: localfed.LocalFederation, stored: Stored, tmp_path: Path):
    """A stranger in the store harms nobody and is named, whatever it is called."""
    known = stored.objects["b.bin"]
    strangers = [
        known.with_name("o-" + "0" * 26),
        known.parent.parent / ("g-" + "0" * 26) / known.name,
        stored.manifest.with_name("0" * 64),
        stored.store / "notes.txt",
    ]
    for path in strangers:
        path.parent.mkdir(exist_ok=True)
        shutil.copyfile(known, path)
    _gives_all(fed, stored.name, tmp_path / "got")
    assert sorted(fed.findings()) == sorted(("ORPHAN", stored.key(path)) for path in strangers)
    for path in strangers:
        path.unlink()


def test_the_command_line_says_it_too(fed: localfed.LocalFederation, stored: Stored, tmp_path: Path):
    """`fed dataset get` and `fed fsck` exit with 1, name the file and the reason, and go silent once it is mended."""
    victim = stored.objects["a.bin"]
    good = victim.read_bytes()
    in_chunk(3)(victim)
    got = fed.fed("dataset", "get", stored.name, str(tmp_path / "got"), check=False)
    assert got.exit_code == 1
    assert "OBJECT_CORRUPT" in got.stderr
    assert f"{stored.name}@1/a.bin" in got.stderr
    found = fed.fed("fsck", check=False)
    assert found.exit_code == 1
    assert "DAMAGED" in found.stdout
    assert stored.key(victim) in found.stdout
    victim.write_bytes(good)
    assert fed.fed("fsck").stdout == ""


#: Reads every input in three ways: from front to back, in the middle, and through pyarrow. Prints what came of it.
READER = """
import federation, io, pyarrow.fs

def front(file): return file.read()
def middle(file): file.seek(40 * 16384); return file.read(10)

for alias in sorted(federation.inputs):
    for read in (front, middle):
        try:
            with federation.inputs[alias].open("b.bin") as file:
                print(alias, read.__name__, "gave", len(read(file)))
        except Exception as error:
            print(alias, read.__name__, type(error).__name__, getattr(error, "reason", ""), error)
    try:
        fs = pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(federation.filesystem()))
        with fs.open_input_file(federation.inputs[alias].dataset + "/b.bin") as file:
            print(alias, "arrow", "gave", len(file.read()))
    except Exception as error:
        print(alias, "arrow", type(error).__name__, "", error)
"""


def test_a_job_hears_the_same_and_gets_no_bytes(fed: localfed.LocalFederation):
    """In a job each damaged input is refused with its reason, by every way of reading that touches what is damaged."""
    datasets = {what: _put(fed, f"job-{number}") for number, what in enumerate(CASES)}
    good = {what: one.objects["b.bin"].read_bytes() for what, one in datasets.items()}
    for what, one in datasets.items():
        CASES[what].damage(one.objects["b.bin"])
    inputs = {f"i{number:02}": one.name for number, one in enumerate(datasets.values())}
    ended = fed.wait_job(fed.submit(READER, inputs=inputs).job)
    printed = fed.job_log(ended.job)
    for what, one in datasets.items():
        one.objects["b.bin"].write_bytes(good[what])
    assert ended.state is job.JobState.SUCCEEDED, printed
    told = {tuple(line.split(" ", 2)[:2]): line for line in printed.splitlines() if re.match(r"i[0-9]{2} ", line)}
    for alias, what in zip(inputs, CASES, strict=True):
        assert CASES[what].reason in told[alias, "front"], printed
        assert "/b.bin" in told[alias, "front"]
        assert CASES[what].reason in told[alias, "arrow"], printed
        # Only a flip elsewhere may leave the end of the file readable.
        elsewhere = what in ("a flipped first chunk", "a flipped middle chunk")
        assert ("gave 10" if elsewhere else CASES[what].reason) in told[alias, "middle"], printed
    assert fed.findings() == []


def test_a_job_that_lets_the_error_pass_fails_with_it(fed: localfed.LocalFederation, stored: Stored):
    """The job is FAILED, what it wrote until then is gone, and its detail tells the reason and the file."""
    in_chunk(CHUNKS // 2)(stored.objects["b.bin"])
    script = """
import federation
with federation.outputs["copy"].open("first.txt") as file: file.write(b"written before the trouble")
with federation.outputs["copy"].open("copy.bin") as copy, federation.inputs["one"].open("b.bin") as file:
    while piece := file.read(16384): copy.write(piece)
"""
    output = f"{stored.name}-copy"
    ended = fed.wait_job(fed.submit(script, inputs={"one": stored.name}, outputs={"copy": output}).job)
    assert (ended.state, ended.reason) == (job.JobState.FAILED, "OBJECT_CORRUPT")
    assert "OBJECT_CORRUPT" in ended.detail
    assert "/b.bin" in ended.detail
    with fed.client() as client:
        assert list(client.list_versions(output)) == []
    assert fed.findings() == [("DAMAGED", stored.key(stored.objects["b.bin"]))]


def test_a_version_that_reuses_a_damaged_file_is_damaged_too(fed: localfed.LocalFederation, stored: Stored, tmp_path: Path):
    """A put sends what has changed and does not look at what has not: readers of either version are told, and so is `fsck`."""
    victim = stored.objects["b.bin"]
    in_chunk(0)(victim)
    assert fed.put(stored.name, {**FILES, "new.txt": b"new"}).number == 2
    assert _refused(fed, stored.name, tmp_path / "got").reason == "OBJECT_CORRUPT"
    assert fed.findings() == [("DAMAGED", stored.key(victim))]
