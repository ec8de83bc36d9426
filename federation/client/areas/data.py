"""What moves data: between this machine and a site's gateway, sealed and opened here."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from federation.client import files, transfer
from federation.client.areas import catalog, sites
from federation.client.values import Finding
from federation.core import columns, dataset, errors, ids, statistics
from federation.services import residency as residency_rules

if TYPE_CHECKING:
    import pyarrow as pa


#: A preview's grant is good for so much.
_PREVIEW_BYTES = 64 * 1024 * 1024
#: A manifest comes with the keys and is none of the data that a grant counts.
_MANIFEST_BYTES = 1


class Data(sites.Sites, catalog.Catalog):
    """What moves data."""

    def put(
        self,
        name: str,
        path: Path,
        *,
        site: str,
        residency: Iterable[str] = (),
        kind: dataset.DatasetKind = dataset.DatasetKind.DATA,
        column_classes: Iterable[columns.ColumnClass] = (),
        progress: transfer.Progress = lambda _: None,
    ) -> dataset.Version:
        """Encrypts a file or folder here and stores it at a site as the next version of a dataset.

        Namespace and dataset are created when absent, with `residency` and `kind`. Files that have not changed since the
        version before are not sent again. Hidden files are part of it; symbolic links, and files that cannot be read, are
        refused before anything is written.

        With `column_classes` every file is Parquet, its columns are sealed under a key for each class, and all files are sent.
        """
        asked = tuple(column_classes)
        classes = columns.checked(asked) if asked else ()
        found = files.found(path)
        self.ensure_dataset(name, site=site, residency=residency, kind=kind)
        access = self.open_write(name, site)
        return self.get_version(transfer.put(self._connection.ca, access, found, progress, classes))

    def get(
        self,
        name: str,
        folder: Path,
        *,
        site: str = "",
        overwrite: bool = False,
        purpose: str = "",
        column_classes: Iterable[str] = (),
        progress: transfer.Progress = lambda _: None,
    ) -> list[Path]:
        """Brings a version (or a dataset's newest) into a folder and decrypts it there; returns the files.

        All files come whole and authenticated, or none does. One that is there already is refused unless `overwrite`. Where
        columns are sealed by classes, those of `column_classes` come beside the class `default`, as plain Parquet.
        """
        wanted = columns.wanted(column_classes)[1:]
        access = self.open_read(name, site, purpose=purpose, column_classes=wanted)
        return transfer.get(self._connection.ca, access, folder, overwrite=overwrite, progress=progress, column_classes=wanted)

    def preview(
        self,
        name: str,
        *,
        rows: int = 20,
        columns: Iterable[str] = (),
        file: str = "",
        site: str = "",
        purpose: str = "",
        show_sensitive: bool = False,
    ) -> pa.Table:
        """The first rows of a version, or of a dataset's newest: of `file`, or of its first file with rows.

        Reads only what it needs of Parquet, CSV, TSV, JSON lines and plain text, at most 64 MiB, under a grant and a lease of
        the caller's, and meters it. Columns that the data card calls sensitive are masked, unless somebody who decides over the
        dataset wants to see them. The table's metadata tell `fed.file`, `fed.masked`, `fed.more` and `fed.received_bytes`.
        FailedPrecondition (PREVIEW_UNSUPPORTED) for a version without rows.
        """
        access = self.open_read(name, site, purpose=purpose, bytes_max=_PREVIEW_BYTES, sensitive=show_sensitive)
        return transfer.preview(
            self._connection.ca, access, rows=rows, columns=tuple(columns), path=file, masked=not show_sensitive
        )

    def get_manifest(self, name: str, *, site: str = "", purpose: str = "") -> dataset.Manifest:
        """The files of a version, or of a dataset's newest, as its site signed them.

        It is a read like `get`: asked of the policy, under a lease of the caller's, in the audit; none of the data is fetched.
        """
        access = self.open_read(name, site, purpose=purpose, bytes_max=_MANIFEST_BYTES)
        return transfer.manifest(self._connection.ca, access)

    def describe_file(
        self, name: str, file: str, *, site: str = "", purpose: str = "", show_sensitive: bool = False
    ) -> statistics.FileStatistics:
        """The schema of a version's Parquet file, with nulls, least and greatest value of each column, from its footer alone.

        It is a read as `preview` is, and masks alike. FailedPrecondition (STATISTICS_MISSING) for a file that is no Parquet, or
        whose columns are sealed by classes.
        """
        access = self.open_read(name, site, purpose=purpose, bytes_max=_PREVIEW_BYTES, sensitive=show_sensitive)
        return transfer.describe(self._connection.ca, access, path=file, masked=not show_sensitive)

    def check(self, site: str, read_objects: bool = False) -> Iterator[Finding]:
        """What is wrong between a site's store and the catalog; nothing when all is well. `read_objects` reads every byte."""
        return transfer.check(self._connection.ca, self.open_check(site), read_objects=read_objects)

    def orphans(self, site: str, *, remove: bool = False) -> Iterator[Finding]:
        """Objects in a site's store that no version names and nobody is writing; those of ours removed, if asked to."""
        if remove:
            return transfer.check(self._connection.ca, self.open_check(site), remove_orphans=True)
        return (row for row in self.check(site) if row["finding"] == "ORPHAN")

    def ensure_dataset(
        self,
        name: str,
        *,
        site: str,
        residency: Iterable[str] = (),
        kind: dataset.DatasetKind = dataset.DatasetKind.DATA,
    ) -> dataset.Dataset:
        """The dataset, made with its namespace if absent, to be written at a site.

        Makes nothing where its first version would be refused: at a site that is not there, or that its residency forbids.
        FailedPrecondition (RESIDENCY_DIFFERS) when it is there with another residency than the one that was asked for.
        """
        wanted, asked = ids.dataset(name), residency_rules.normal(residency)
        try:
            stored = self.get_dataset(wanted.short)
        except errors.NotFound:
            place = self.get_site(site)
            residency_rules.require_site(wanted.short, asked, place.site, place.jurisdiction)
            with contextlib.suppress(errors.AlreadyExists):
                self.create_namespace(dataset.Namespace(name=wanted.namespace))
            return self.create_dataset(
                dataset.Dataset(namespace=wanted.namespace, dataset=wanted.dataset, kind=kind, residency=asked)
            )
        if asked and asked != tuple(sorted(stored.residency)):
            raise errors.FailedPrecondition(
                f"{wanted.short} has the residency {', '.join(stored.residency) or 'anywhere'}, not {', '.join(asked)}",
                reason="RESIDENCY_DIFFERS",
                help=f"Leave residency out, or change it first: fed dataset update {wanted.short} --residency ...",
                metadata={"dataset": wanted.short},
            )
        return stored
