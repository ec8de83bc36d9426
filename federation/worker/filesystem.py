"""A job's datasets as a file system: `fed://NAMESPACE/DATASET/PATH` is plaintext, decrypted by range, to whatever uses fsspec.

Inputs are for reading and never change; outputs take new files, each once, and only this run's own. What is not in the run's
plan is refused with the reason. Folders are those that the manifest's paths imply.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from fsspec import AbstractFileSystem

from federation.core import errors, ids
from federation.worker import environment, failures, session

Info = dict[str, Any]

#: A version never changes, so neither does the time of its files: caches that compare it are always right.
_MODIFIED = datetime(1970, 1, 1, tzinfo=UTC)


class FedFileSystem(AbstractFileSystem):  # type: ignore[misc]
    """fsspec's file system for `fed://`. Without a connection it finds the one of the job that it runs in.

    Its pickle carries the connection, so that Ray workers and other processes of the cluster read through it as well. Who
    opens a file of an input may read all its columns, and lineage is told so; unless `projected` says that it was told which.
    """

    protocol = "fed"
    root_marker = ""
    # What is worth keeping is kept by the process's session; an instance kept by fsspec could outlive its job.
    cachable = False

    def __init__(
        self, *args: Any, connection: environment.Connection | None = None, projected: bool = False, **options: Any
    ) -> None:
        super().__init__(*args, **options)
        self._projected = projected
        self._session = session.of(connection) if connection else session.current()
        self._trees: dict[str, _Tree] = self._session.kept.setdefault("trees", {})

    def __repr__(self) -> str:
        return f"<FedFileSystem {self._session.connection.run}>"

    def __reduce__(self) -> tuple[object, ...]:
        return (_restored, (self._session.connection, self._projected))

    @property
    def fsid(self) -> str:
        """One run sees one set of datasets."""
        return f"fed-{self._session.connection.run}"

    def info(self, path: str, **_: Any) -> Info:
        """Name, size and type; FileNotFoundError, or PermissionError for a dataset that is not in the plan."""
        where = self._split(path)
        if where is None:
            return _folder(self._strip_protocol(path))
        found = self._tree(where.dataset).infos.get(where.path)
        if found is None:
            raise _missing(path)
        return dict(found)

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """What lies directly in a folder, or the file itself."""
        where = self._split(path)
        if where is None:
            found = self._above(self._strip_protocol(path))
        else:
            tree = self._tree(where.dataset)
            info = tree.infos.get(where.path)
            if info is None:
                raise _missing(path)
            found = [info] if info["type"] == "file" else tree.children.get(where.path, [])
        return [dict(info) for info in found] if detail else sorted(info["name"] for info in found)

    def modified(self, path: str) -> datetime:
        """Always the same time: files never change."""
        self.info(path)
        return _MODIFIED

    created = modified

    def ukey(self, path: str) -> str:
        """A key of the file's content."""
        return str(self.info(path).get("object", path))

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        """The bytes of a file from `start` to `end`, counted from the end where negative."""
        with self._open(path, "rb") as file:
            begin, stop, _step = slice(start, end).indices(file.size)
            return bytes(file.read_at(begin, max(0, stop - begin)))

    def makedirs(self, path: str, exist_ok: bool = False) -> None:  # noqa: ARG002 - fsspec's signature
        """Does nothing in an output: folders are there when a file in them is."""
        self._output(path)

    def mkdir(self, path: str, create_parents: bool = True, **_: Any) -> None:  # noqa: ARG002 - fsspec's signature
        """As `makedirs`."""
        self._output(path)

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,  # noqa: ARG002
        autocommit: bool = True,  # noqa: ARG002
        cache_options: Mapping[str, Any] | None = None,  # noqa: ARG002
        **_: Any,
    ) -> Any:
        if mode == "rb":
            return self._open_input(path)
        if mode in ("wb", "xb"):
            return self._create(path)
        raise errors.InvalidArgument(
            f"files of a dataset cannot be opened with mode {mode!r}",
            reason="MODE_INVALID",
            help="Read with rb, write with wb.",
        )

    def _open_input(self, path: str) -> Any:
        where = self._split(path)
        if where is None or not where.path:
            raise IsADirectoryError(path)
        if self._tree(where.dataset).infos.get(where.path, {}).get("type") == "directory":
            raise IsADirectoryError(path)
        with failures.shaped():
            opened = self._session.version(where.dataset).open(where.path)
        if not self._projected:
            self._session.note_read(where.dataset)
        return opened

    def _create(self, path: str) -> Any:
        where = self._output(path)
        with failures.shaped():
            return self._session.create(where.dataset, ids.relative_path(where.path))

    def _output(self, path: str) -> _Where:
        where = self._split(path)
        if where is None or not self._session.output(where.dataset):
            known = ", ".join(binding.dataset for binding in self._session.connection.outputs) or "none"
            raise failures.AccessDenied(
                f"{self._strip_protocol(path)!r} is in no output of {self._session.connection.run}; its outputs are: {known}",
                reason="OUTPUT_NOT_IN_PLAN",
                help="Name it with --output when the job is submitted.",
            )
        return where

    def _tree(self, dataset: str) -> _Tree:
        """Folders and files of a dataset: an input's manifest, or what was written to an output here so far."""
        if self._only_output(dataset):
            return _tree(dataset, ((path, {"size": size}) for path, size in self._session.written.get(dataset, {}).items()))
        if dataset not in self._trees:
            version = self._session.version(dataset)
            files = ((entry.path, {"size": entry.file_bytes, "object": entry.object_id}) for entry in version.manifest.files)
            self._trees[dataset] = _tree(dataset, files)
        return self._trees[dataset]

    def _only_output(self, dataset: str) -> bool:
        known = any(binding.dataset == dataset for binding in self._session.connection.inputs)
        return self._session.output(dataset) and not known

    def _above(self, path: str) -> list[Info]:
        """The tree above datasets: the namespaces and datasets of the plan."""
        bindings = (*self._session.connection.inputs, *self._session.connection.outputs)
        names = {binding.dataset for binding in bindings}
        if path:
            return [_folder(name) for name in sorted(names) if name.startswith(path + "/")]
        return [_folder(name) for name in sorted({name.split("/")[0] for name in names})]

    def _split(self, path: str) -> _Where | None:
        """Dataset and path inside it; None for what lies above datasets."""
        parts = self._strip_protocol(path).split("/", 2)
        if len(parts) < 2:
            return None
        return _Where(f"{parts[0]}/{parts[1]}", parts[2] if len(parts) > 2 else "")


class _Where(NamedTuple):
    """A place in a dataset; `path` is empty for the dataset itself."""

    dataset: str
    path: str


class _Tree(NamedTuple):
    """What is there by path, and what lies directly in each folder."""

    infos: dict[str, Info]
    children: dict[str, list[Info]]


def _tree(dataset: str, files: Iterable[tuple[str, Info]]) -> _Tree:
    tree = _Tree({"": _folder(dataset)}, {})
    for path, facts in files:
        info = {"name": f"{dataset}/{path}", "type": "file", **facts}
        tree.infos[path] = info
        tree.children.setdefault(_add_folders(tree, dataset, path), []).append(info)
    return tree


def _add_folders(tree: _Tree, dataset: str, path: str) -> str:
    """The folder of a path, with all folders above it made known."""
    folder = path.rpartition("/")[0]
    if folder not in tree.infos:
        above = _add_folders(tree, dataset, folder)
        tree.infos[folder] = _folder(f"{dataset}/{folder}")
        tree.children.setdefault(above, []).append(tree.infos[folder])
    return folder


def _folder(name: str) -> Info:
    return {"name": name, "size": 0, "type": "directory"}


def _missing(path: str) -> failures.FileMissing:
    return failures.FileMissing(f"there is no {path!r}", reason="FILE_NOT_FOUND", help="Paths are case-sensitive.")


def _restored(connection: environment.Connection, projected: bool = False) -> FedFileSystem:
    return FedFileSystem(connection=connection, projected=projected)
