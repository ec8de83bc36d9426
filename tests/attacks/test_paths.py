"""Archives, paths, object keys and Delta logs that try to lead elsewhere, or to unpack to more than they are."""

from __future__ import annotations

import io
import json
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake

from connectors.storage import common
from connectors.storage.local import LocalSource, LocalStore
from connectors.storage.memory import MemoryStore
from federation import frames
from federation.adapters import records_opening
from federation.adapters.engine_embedded import DeltaFusionEngine
from federation.adapters.records_links import DeltaReader
from federation.agent import ingest, packages
from federation.core import bill, errors, ids
from federation.crypto import layout

#: Paths that lead elsewhere, or are shown as others than they are.
ESCAPES = (
    *("..", "../x", "a/../../x", "a/..", "/etc/passwd", "//host/x", "./x", "a/./b", "a//b", "a/", ""),
    *("..\\x", "a\\..\\..\\x", "C:\\x", "a\0b", "a\nb", "a\x1b[2Jb", "a\x7fb", "\ud800"),
    *("invoice\u202egpj.exe", "a\u2066b", "a\u200fb", "x" * 1025),
)


def zipped(fill: Callable[[zipfile.ZipFile], object]) -> io.BytesIO:
    """A zip with what `fill` puts in."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        fill(archive)
    target.seek(0)
    return target


def refused(package: io.BytesIO, folder: Path) -> errors.InvalidArgument:
    """How a package is refused; nothing of it may lie beside its folder."""
    inner = folder / "inner"
    inner.mkdir(exist_ok=True)
    with pytest.raises(errors.InvalidArgument) as caught:
        packages.unpack(package, inner)
    assert [path.name for path in folder.iterdir()] == ["inner"]
    return caught.value


@pytest.mark.invariant("G2")
@pytest.mark.parametrize("path", ESCAPES, ids=repr)
def test_a_path_that_leads_elsewhere_is_no_path(path: str):
    """In a dataset, in a store, in an upload: one grammar, asked at every door."""
    with pytest.raises(errors.InvalidArgument) as caught:
        ids.relative_path(path)
    assert caught.value.reason == "PATH_INVALID"


@pytest.mark.invariant("G2")
@pytest.mark.parametrize("key", [*ESCAPES, ".tmp/x"], ids=repr)
def test_no_store_is_asked_for_a_key_that_leads_elsewhere(key: str, tmp_path: Path):
    """Nothing is written, read or deleted."""
    (tmp_path / "x").write_bytes(b"not yours")
    for store in (LocalStore(tmp_path / "store"), MemoryStore()):
        with pytest.raises(errors.InvalidArgument):
            store.put(key, io.BytesIO(b"evil"))
        with pytest.raises(errors.InvalidArgument):
            b"".join(store.read(key))
        with pytest.raises(errors.InvalidArgument):
            store.delete(key)
    assert (tmp_path / "x").read_bytes() == b"not yours"


@pytest.mark.invariant("G2")
@pytest.mark.parametrize(
    "text", ["../x", "G-" + "0" * 26, "g-" + "0" * 25, "g-" + "0" * 26 + "/..", "*", "g-%2e%2e" + "0" * 20, ""]
)
def test_no_object_key_is_made_of_what_is_no_identifier(text: str):
    """Wildcards and escapes stay out of keys, and so out of a provider's policies."""
    with pytest.raises(errors.InvalidArgument):
        layout.object_key("d-1", text, "o-" + "0" * 26)
    with pytest.raises(errors.InvalidArgument):
        layout.object_key("d-1", "g-" + "0" * 26, text)


@pytest.mark.invariant("G2")
@pytest.mark.parametrize(
    "name", ["*", "?", "a*", "a'--", 'a"', "a%", "a_", "a;drop", "a b", "ä", "A", "a" * 64, "${x}", "a\u202eb"]
)
def test_a_name_with_quotes_or_wildcards_is_no_name(name: str):
    """So none ever comes into SQL, Cedar text, a LIKE or a provider's policy."""
    for make in (
        lambda: ids.segment(name, "namespace"),
        lambda: ids.dataset(f"sales/{name}"),
        lambda: ids.child(name, "sites"),
    ):
        with pytest.raises(errors.InvalidArgument):
            make()


@pytest.mark.invariant("G2")
@pytest.mark.parametrize("path", [path for path in ESCAPES if "\0" not in path and "\ud800" not in path and path], ids=repr)
def test_an_archive_with_an_escaping_path_is_refused(path: str, tmp_path: Path):
    """Whatever its spelling; a folder too."""
    for name in {path, path.rstrip("/") + "/"} - {"a/", "/"}:
        refused(zipped(lambda archive, name=name: archive.writestr(zipfile.ZipInfo(name), b"evil")), tmp_path)


@pytest.mark.invariant("G2")
@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK], ids=oct)
def test_an_archive_with_a_link_or_a_device_is_refused(kind: int, tmp_path: Path):
    """A file that is written behind a link would land where the link points."""

    def fill(archive: zipfile.ZipFile) -> None:
        special = zipfile.ZipInfo("a")
        special.external_attr = (kind | 0o777) << 16
        archive.writestr(special, "/tmp")
        archive.writestr("a/evil", b"evil")

    assert refused(zipped(fill), tmp_path).reason == "PACKAGE_INVALID"


@pytest.mark.invariant("G2")
@pytest.mark.parametrize(
    "names", [("a", "A"), ("a/b", "A/B"), ("\u00e9", "e\u0301"), ("\ufb01", "fi"), ("a", "a/"), ("\u017f", "s")], ids=repr
)
def test_an_archive_with_two_names_for_one_file_is_refused(names: tuple[str, str], tmp_path: Path):
    """On a file system that folds letters or composes characters the second would take the place of the first."""
    assert (
        refused(zipped(lambda archive: [archive.writestr(name, b"1") for name in names]), tmp_path).reason == "PACKAGE_INVALID"
    )


@pytest.mark.invariant("G2")
@pytest.mark.parametrize("name", ["C:evil", "c:/evil", "Z:\\evil"])
def test_an_archive_with_a_drive_is_refused(name: str, tmp_path: Path):
    """It means another disk where the package may be looked at next."""
    refused(zipped(lambda archive: archive.writestr(name, b"evil")), tmp_path)


@pytest.mark.invariant("G3")
def test_an_archive_that_unpacks_to_far_more_than_it_is_is_refused(tmp_path: Path):
    """A gigabyte of zeros in a megabyte: stopped by what comes out beside what went in, long before the disk is full."""

    def fill(archive: zipfile.ZipFile) -> None:
        for number in range(3):
            with archive.open(f"zeros-{number}", "w") as file:
                for _ in range(40):
                    file.write(bytes(1 << 20))

    package = zipped(fill)
    assert len(package.getvalue()) < 1 << 20
    assert refused(package, tmp_path).reason == "WORKING_DIR_TOO_BIG"
    assert sum(path.stat().st_size for path in tmp_path.rglob("zeros-*")) <= packages._RATIO_FROM


@pytest.mark.invariant("G3")
def test_an_archive_whose_header_lies_about_its_size_is_refused_or_read_as_it_is(tmp_path: Path):
    """What is written is counted as it comes; a size in the directory is not believed."""
    package = bytearray(zipped(lambda archive: archive.writestr("a", bytes(100_000))).getvalue())
    at = package.rindex(b"PK\x01\x02")
    package[at + 24 : at + 28] = (1).to_bytes(4, "little")  # uncompressed size in the central directory
    assert refused(io.BytesIO(bytes(package)), tmp_path).reason == "PACKAGE_INVALID"


@pytest.mark.invariant("G3")
def test_an_archive_in_a_packing_that_is_not_read_here_is_refused(tmp_path: Path):
    """LZMA and bzip2 have bombs of their own."""

    def fill(archive: zipfile.ZipFile) -> None:
        archive.writestr("a", bytes(1000), compress_type=zipfile.ZIP_BZIP2)

    assert refused(zipped(fill), tmp_path).reason == "PACKAGE_INVALID"


@pytest.mark.invariant("G3")
def test_a_compressed_frame_is_refused_before_it_is_decoded():
    """A bill's lines come as Arrow: what is compressed is refused by its header."""
    schema = frames.schema(bill.BillLine)
    batch = pa.record_batch([pa.nulls(0, field.type) for field in schema], schema=schema)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_batch(batch)
    with pytest.raises(errors.InvalidArgument) as caught:
        frames.unpack(bill.BillLine, sink.getvalue())
    assert caught.value.reason == "FRAME_INVALID"
    assert "compressed" in caught.value.message
    assert frames.unpack(bill.BillLine, frames.to_bytes(batch)).num_rows == 0


@pytest.mark.invariant("G3")
def test_a_dictionary_in_a_frame_is_refused():
    """Ours have none; a batch of indexes may stand for many times its size."""
    table = pa.table({"a": pa.array(["x"]).dictionary_encode()})
    with pytest.raises(errors.InvalidArgument) as caught:
        frames.unpack(bill.BillLine, frames.to_bytes(table))
    assert caught.value.reason == "FRAME_INVALID"


#: A table of the record.
TABLE = "egress_ledger"
#: Paths in a Delta log by which DataFusion reads files outside of the table, and some by which it might.
OUTSIDE = (
    *("../secret.parquet", "%2e%2e/secret.parquet", "x/%2E%2E/%2e%2e/secret.parquet", "%252e%252e/secret.parquet"),
    *("{root}/secret.parquet", "file://{root}/secret.parquet", "..\\secret.parquet", "s3://bucket/x.parquet"),
    *("http://127.0.0.1:9/x.parquet", "//host/x", "file:secret", "day=2026-11-28/../../secret.parquet", "a\0b"),
)


def poisoned(root: Path, path: str) -> Path:
    """Tables whose ledger's log names one more file: a secret beside the table."""
    secret = root / "secret.parquet"
    pq.write_table(pa.table({"position": [666]}), secret)
    write_deltalake(str(root / "tables" / TABLE), pa.table({"position": [1]}))
    add = {"path": path.format(root=root), "partitionValues": {}, "size": secret.stat().st_size, "modificationTime": 0}
    commit = root / "tables" / TABLE / "_delta_log" / f"{1:020}.json"
    commit.write_text(json.dumps({"add": add | {"dataChange": True}}) + "\n")
    return root / "tables"


@pytest.mark.invariant("G2")
@pytest.mark.parametrize("path", OUTSIDE, ids=repr)
def test_a_delta_log_that_leads_elsewhere_is_refused_before_it_is_read(path: str, tmp_path: Path):
    """By the engine that answers `fed sql`, and by `fed ledger verify`, wherever the tables lie."""
    tables = poisoned(tmp_path, path)
    with pytest.raises(errors.DataCorrupt) as caught:
        DeltaFusionEngine(str(tables)).query("SELECT * FROM egress_ledger")
    assert caught.value.reason == "TABLE_ESCAPES"
    with pytest.raises(errors.DataCorrupt) as caught:
        list(DeltaReader(str(tables)).links(TABLE))
    assert caught.value.reason == "TABLE_ESCAPES"


def test_the_poison_works_where_it_is_not_looked_for(tmp_path: Path):
    """Else the test above would refuse what harms nobody: deltalake itself reads outside of its table."""
    from deltalake import DeltaTable, QueryBuilder

    handle = DeltaTable(str(poisoned(tmp_path, "../../secret.parquet") / TABLE))
    read = pa.table(QueryBuilder().register("ledger", handle).execute("SELECT position FROM ledger").read_all())
    assert 666 in read.column("position").to_pylist()


def test_paths_that_our_own_tables_have_are_not_refused():
    """Partitions with encoded values, and names with dots and equals signs."""
    records_opening.check_paths(["day=2026-11-28/part-1.zstd.parquet", "a=x%3Ay/b..parquet", "p%20q.parquet"], "ledger")


#: URLs by which libraries of files can be led elsewhere: chains, queries, users, other schemes, dots.
SOURCES = (
    *("simplecache::http://169.254.169.254/x", "file:///data/../etc", "file:///data/%2e%2e/etc", "file:///data/x?y=1"),
    *("file:///data/x#frag", "file:///data/x::file:///etc", "s3://bucket/x?endpoint_override=evil&scheme=http"),
    *(
        "s3://user:secret@bucket/x",
        "http://127.0.0.1/x",
        "zip://*::file:///data/x.zip",
        "FILE:///data/x\0",
        "file://host\n/data",
    ),
)


@pytest.mark.invariant("G1")
@pytest.mark.parametrize("url", SOURCES, ids=repr)
def test_a_source_is_a_plain_url_below_its_prefix(url: str, tmp_path: Path):
    """No chain, no query, no other scheme: refused by the agent by its prefix, and by the connector by its form."""
    assert not ingest.covers("file:///data", url) or url.startswith("file:///data/")
    with pytest.raises((errors.InvalidArgument, errors.PermissionDenied)):
        common.beneath("file:///data", url, "file")
    with pytest.raises((errors.InvalidArgument, errors.PermissionDenied)):
        list(LocalSource({"prefix": f"file://{tmp_path}"}).list(url))


def test_a_deflate_stream_that_is_broken_is_no_crash(tmp_path: Path):
    """What zlib complains of is a refusal."""
    package = bytearray(zipped(lambda archive: archive.writestr("a", bytes(range(256)) * 50)).getvalue())
    package[35:60] = b"\xff" * 25
    assert refused(io.BytesIO(bytes(package)), tmp_path).reason == "PACKAGE_INVALID"
