"""Our errors in the shapes that file libraries know: fsspec and pyarrow look for FileNotFoundError and PermissionError."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from federation.core import errors


class FileMissing(errors.NotFound, FileNotFoundError):
    """A file or folder that the version does not have."""


class AccessDenied(errors.PermissionDenied, PermissionError):
    """A dataset that is not in the run's plan, or a write to what is only read."""


class FileCorrupt(errors.DataCorrupt, OSError):
    """A file that is not what its version's manifest says."""


class StorageFull(errors.ResourceExhausted, OSError):
    """No room to write, or no more bytes granted."""


_SHAPES: dict[type[errors.FederationError], type[errors.FederationError]] = {
    errors.NotFound: FileMissing,
    errors.PermissionDenied: AccessDenied,
    errors.DataCorrupt: FileCorrupt,
    errors.ResourceExhausted: StorageFull,
}


@contextmanager
def shaped() -> Iterator[None]:
    """Errors of ours that leave the block are also what a file library expects, where there is such a thing."""
    try:
        yield
    except errors.FederationError as error:
        shape = _SHAPES.get(type(error))
        if shape is None:
            raise
        raise shape(
            error.message, reason=error.reason, help=error.help, metadata=error.metadata, violations=error.violations
        ) from error
