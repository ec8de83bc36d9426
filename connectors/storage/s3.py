"""S3 and whatever speaks it, as a site's store and as a source, through s3fs. Endpoints come from the options alone.

An object appears whole or not at all: one conditional put (If-None-Match: *), or a multipart upload whose completion is one.
All requests run on the event loop that fsspec keeps, so that any number of threads may call at once.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import contextvars
import copy
import io
import re
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from typing import Any, BinaryIO, TypeVar, cast
from urllib.parse import quote

import aiohttp
import botocore.exceptions
import s3fs
from fsspec.exceptions import FSTimeoutError

from connectors.storage import common
from federation.core import errors, ids
from federation.ports import ObjectInfo

T = TypeVar("T")

OPTIONS = ("endpoint_url", "key", "secret", "token", "region", "anonymous")
#: Bytes of one ranged request, and of the first parts of a large upload.
WINDOW = 8 * 1024 * 1024
#: Objects listed by one request.
PAGE = 1000
#: Parts on their way at once.
_PARALLEL = 4
#: S3 takes 10,000 parts of at most 5 GiB: after each thousand they double, which is enough for the largest object it takes.
_PARTS_BEFORE_DOUBLING = 1000
_TRIES = 3
#: Under which grant an object is read, as the store's access log tells it.
READER_PARAMETER = "x-fed-grant"
#: For whom this task reads.
_READER: contextvars.ContextVar[str] = contextvars.ContextVar("reader", default="")
#: Metadata that tells one put of a key from another.
_MARK = "fed-put"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_FULL = frozenset({"EntityTooLarge", "QuotaExceeded", "InsufficientStorage", "XMinioStorageFull", "507"})
_CONDITION = frozenset({"PreconditionFailed", "412"})
_ENDED = frozenset({"NoSuchUpload"})
_RACE = frozenset({"ConditionalRequestConflict", "OperationAborted", "409"})
_FOREIGN = (OSError, botocore.exceptions.BotoCoreError, aiohttp.ClientError, TimeoutError, FSTimeoutError)


class S3Store:
    """Fills `ObjectStore` with a bucket, or what lies under a prefix of one. Options: see `OPTIONS`; all are optional."""

    def __init__(self, url: str, options: Mapping[str, str]) -> None:
        bucket, parts = common.url(url, "s3")
        if not _BUCKET.fullmatch(bucket):
            raise errors.InvalidArgument(f"{url!r} names no bucket", reason="URL_INVALID", help="Write s3://BUCKET/PREFIX.")
        self._bucket = bucket
        self._prefix = "".join(f"{part}/" for part in parts)
        self._where = f"s3://{bucket}/{self._prefix}"
        self._fs = _filesystem(common.options(options, OPTIONS, "an S3 store"))

    def __repr__(self) -> str:
        return f"<S3Store {self._where}>"

    def put(self, key: str, data: BinaryIO) -> int:
        common.key(key)
        first = _read_full(data, WINDOW)
        if len(first) < WINDOW:
            self._run(key, self._put_whole, key, first)
            return len(first)
        return _Upload(self, key).run(first, data)

    def read(self, key: str, offset: int = 0, length: int = -1, *, reader: str = "") -> Iterator[bytes]:
        common.key(key)
        end = None if length < 0 else offset + length
        ahead: Any = None
        try:
            while end is None or offset < end:
                stop = offset + WINDOW if end is None else min(offset + WINDOW, end)
                window, total = self._wait(key, ahead or self._begin(self._range(key, offset, stop, reader)))
                if not window:
                    return
                offset += len(window)
                end = total if end is None else min(end, total)
                # The next window travels while this one is used.
                ahead = self._begin(self._range(key, offset, min(offset + WINDOW, end), reader)) if offset < end else None
                for at in range(0, len(window), common.PIECE):
                    yield window[at : at + common.PIECE]
        finally:
            if ahead is not None:
                ahead.cancel()

    def beneath(self, parts: tuple[str, ...]) -> S3Store:
        """The same bucket, over the same connections, further down."""
        inner = copy.copy(self)
        inner._prefix += "".join(f"{part}/" for part in parts)
        inner._where = f"s3://{self._bucket}/{inner._prefix}"
        return inner

    def info(self, key: str) -> ObjectInfo | None:
        common.key(key)
        try:
            head = self._run(key, self._call, "head_object", key)
        except errors.NotFound:
            return None
        return ObjectInfo(key=key, bytes=head["ContentLength"])

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        token: dict[str, str] = {}
        while True:
            page = self._run(prefix, self._page, prefix, token)
            for entry in page.get("Contents", ()):
                yield ObjectInfo(key=entry["Key"].removeprefix(self._prefix), bytes=entry["Size"])
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def delete(self, key: str) -> None:
        common.key(key)
        self._run(key, self._call, "delete_object", key)

    def free_bytes(self) -> int | None:
        return None

    def probe(self) -> None:
        # Some stores honour the condition on a plain put and forget it when parts are put together.
        common.probe(self, self._where, lambda key, data: _Upload(self, key).run(data.read(), data))

    async def _page(self, prefix: str, token: dict[str, str]) -> Any:
        return await self._fs._call_s3(
            "list_objects_v2", Bucket=self._bucket, Prefix=self._prefix + prefix, MaxKeys=PAGE, **token
        )

    async def _call(self, method: str, key: str, **arguments: Any) -> Any:
        return await self._fs._call_s3(method, Bucket=self._bucket, Key=self._prefix + key, **arguments)

    async def _put_whole(self, key: str, content: bytes) -> None:
        ours = secrets.token_hex(16)
        metadata = {_MARK: ours}
        await self._conditionally(
            key, ours, lambda: self._call("put_object", key, Body=content, IfNoneMatch="*", Metadata=metadata)
        )

    async def _conditionally(self, key: str, ours: str, write: Callable[[], Awaitable[Any]]) -> None:
        """Makes a new object. A write that was sent again because its answer was lost finds itself there, and has succeeded."""
        for attempt in range(_TRIES):
            try:
                await write()
            except OSError as error:
                if _code(error) in _RACE and attempt + 1 < _TRIES:
                    await asyncio.sleep(0.1 * 2**attempt)
                    continue
                if _code(error) not in _CONDITION | _RACE | _ENDED:
                    raise
                mark = await self._mark(key)
                if mark is None:
                    raise
                if mark != ours:
                    raise common.taken(key) from error
            return

    async def _mark(self, key: str) -> str | None:
        """By which put an object was written; None when there is no object."""
        try:
            head = await self._call("head_object", key)
        except FileNotFoundError:
            return None
        return str(head.get("Metadata", {}).get(_MARK, ""))

    async def _range(self, key: str, start: int, stop: int, reader: str) -> tuple[bytes, int]:
        """Bytes from `start` to before `stop` and the object's length; none where the object ends before `start`."""
        _READER.set(reader)
        client = await self._fs.get_s3(self._bucket)
        client.meta.events.register("before-call.s3.GetObject", _name_reader, unique_id="fed-reader")
        for attempt in range(_TRIES):
            try:
                answer = await self._call("get_object", key, Range=f"bytes={start}-{stop - 1}")
                if answer["ResponseMetadata"]["HTTPStatusCode"] != 206:
                    answer["Body"].close()
                    raise common.dishonest(self._where, "it answers a request for a range with something else")
                async with answer["Body"] as body:
                    return await body.read(), int(answer["ContentRange"].rpartition("/")[2])
            except (aiohttp.ClientError, TimeoutError, botocore.exceptions.HTTPClientError):
                # The connection broke in the middle of the body, past the retries of the layers below.
                if attempt + 1 == _TRIES:
                    raise
            except OSError as error:
                if _code(error) in ("InvalidRange", "416"):
                    return b"", start
                raise
        raise AssertionError

    def _run(self, key: str, work: Callable[..., Coroutine[Any, Any, T]], *arguments: Any, **named: Any) -> T:
        return cast("T", self._wait(key, self._begin(work(*arguments, **named))))

    def _begin(self, work: Coroutine[Any, Any, T]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._fs.loop)

    def _wait(self, key: str, begun: Any) -> Any:
        with self._translated(key):
            return begun.result()

    @contextlib.contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        """Foreign errors as ours."""
        try:
            yield
        except _FOREIGN as error:
            raise _ours(error, self._where, key) from error


class S3Source:
    """Fills `SourceReader` with what lies in S3 under one allowed prefix. Options: `prefix` (a url) and those of `S3Store`."""

    def __init__(self, options: Mapping[str, str]) -> None:
        given = common.options(options, ("prefix", *OPTIONS), "an S3 source")
        self._prefix = given.pop("prefix", "")
        self._store = S3Store(self._prefix, given)

    def __repr__(self) -> str:
        return f"<S3Source prefix={self._prefix}>"

    def list(self, url: str) -> Iterator[ObjectInfo]:
        for info in self._at(url).list():
            # Some tools mark a folder by an empty object; it holds nothing.
            if not (info.key.endswith("/") and info.bytes == 0):
                ids.relative_path(info.key)
                yield info

    def open(self, url: str, key: str) -> BinaryIO:
        store = self._at(url)
        info = store.info(key)
        if info is None:
            raise errors.NotFound(f"there is nothing to read at {url}/{key}", reason="SOURCE_MISSING", metadata={"url": url})
        return io.BufferedReader(_Stream(store, key, info.bytes), common.PIECE)

    def _at(self, url: str) -> S3Store:
        return self._store.beneath(common.beneath(self._prefix, url, "s3"))


class _Upload:
    """One large object on its way: parts in parallel, at most a few in memory, and no trace if it fails."""

    def __init__(self, store: S3Store, key: str) -> None:
        self._store = store
        self._key = key
        self._ours = secrets.token_hex(16)
        self._upload = ""
        self._parts: list[dict[str, Any]] = []
        self._pending: collections.deque[tuple[int, Any]] = collections.deque()

    def run(self, first: bytes, data: BinaryIO) -> int:
        """Uploads what was read already and all the rest; returns the object's bytes."""
        started = self._call("create_multipart_upload", Metadata={_MARK: self._ours})
        self._upload = started["UploadId"]
        total, number, part = 0, 1, first
        try:
            while part:
                self._send(number, part)
                total += len(part)
                part = _read_full(data, WINDOW << (number // _PARTS_BEFORE_DOUBLING))
                number += 1
            self._settle(0)
            self._store._run(self._key, self._complete)
        except BaseException:
            self._abort()
            raise
        return total

    def _send(self, number: int, part: bytes) -> None:
        self._settle(_PARALLEL - 1)
        work = self._store._call("upload_part", self._key, UploadId=self._upload, PartNumber=number, Body=part)
        self._pending.append((number, self._store._begin(work)))

    def _settle(self, at_most: int) -> None:
        """Waits until at most so many parts are on their way."""
        while len(self._pending) > at_most:
            number, begun = self._pending.popleft()
            self._parts.append({"PartNumber": number, "ETag": self._store._wait(self._key, begun)["ETag"]})

    async def _complete(self) -> None:
        parts = {"Parts": self._parts}
        await self._store._conditionally(
            self._key,
            self._ours,
            lambda: self._store._call(
                "complete_multipart_upload", self._key, UploadId=self._upload, MultipartUpload=parts, IfNoneMatch="*"
            ),
        )

    def _abort(self) -> None:
        for _, begun in self._pending:
            begun.cancel()
        # What made the upload fail is the error to tell. One that cannot even be aborted is the bucket's own to remove.
        with contextlib.suppress(errors.FederationError):
            self._call("abort_multipart_upload", UploadId=self._upload)

    def _call(self, method: str, **arguments: Any) -> Any:
        return self._store._run(self._key, self._store._call, method, self._key, **arguments)


class _Stream(io.RawIOBase):
    """An object as a seekable file, read ahead while it is read in order."""

    def __init__(self, store: S3Store, key: str, size: int) -> None:
        self._store = store
        self._key = key
        self._size = size
        self._at = 0
        self._rest = b""
        self._pieces: Iterator[bytes] | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        self._rest, self._pieces = b"", None
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        if self._pieces is None:
            self._pieces = self._store.read(self._key, self._at)
        piece = self._rest or next(self._pieces, b"")
        count = min(len(piece), len(buffer))
        buffer[:count] = piece[:count]
        self._rest = piece[count:]
        self._at += count
        return count


def _name_reader(params: dict[str, Any], **_: Any) -> None:
    """Puts the reader into the request's address: S3 ignores parameters that begin with x-, and its access log has them.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/LogFormat.html, "Custom access log information".
    """
    if reader := _READER.get():
        params["url"] += f"{'&' if '?' in params['url'] else '?'}{READER_PARAMETER}={quote(reader, safe='')}"


def _filesystem(options: Mapping[str, str]) -> s3fs.S3FileSystem:
    endpoint = options.get("endpoint_url")
    if endpoint and not re.match(r"https?://[^/@?#]+/?$", endpoint):
        raise errors.InvalidArgument(
            f"{endpoint!r} is not an endpoint", reason="URL_INVALID", help="Write https://HOST or http://HOST:PORT."
        )
    config: dict[str, Any] = {
        "connect_timeout": 5,
        "read_timeout": 60,
        "max_pool_connections": 64,
        "retries": {"mode": "standard", "max_attempts": 2},
        # The container authenticates every byte; a second checksum costs time, and many stores do not know it.
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
        # An address that comes by way of the environment or a profile is nobody's decision.
        "ignore_configured_endpoint_urls": True,
    }
    if endpoint:
        config["s3"] = {"addressing_style": "path"}
    filesystem = s3fs.S3FileSystem(
        anon=options.get("anonymous", "false") == "true",
        key=options.get("key"),
        secret=options.get("secret"),
        token=options.get("token"),
        endpoint_url=endpoint,
        client_kwargs={"region_name": options["region"]} if "region" in options else {},
        config_kwargs=config,
        skip_instance_cache=True,
        use_listings_cache=False,
    )
    filesystem.retries = _TRIES
    return filesystem


def _read_full(data: BinaryIO, size: int) -> bytes:
    """Exactly `size` bytes, fewer only at the end: a pipe or socket may give less at a time."""
    piece = data.read(size)
    if not piece or len(piece) == size:
        return piece
    pieces, count = [piece], len(piece)
    while count < size and (piece := data.read(size - count)):
        pieces.append(piece)
        count += len(piece)
    return b"".join(pieces)


def _code(error: BaseException) -> str:
    """S3's own code of an error, empty where it has none."""
    response = getattr(error, "response", None) or getattr(error.__cause__, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


def _ours(error: BaseException, where: str, key: str) -> errors.FederationError:
    """A foreign error as ours."""
    code = _code(error)
    if code == "NoSuchBucket":
        return errors.FailedPrecondition(
            f"the bucket of {where} does not exist", reason="STORE_MISSING", help="Make it, or correct the site's storage url."
        )
    if isinstance(error, FileNotFoundError):
        return common.missing(key)
    if code in _FULL:
        return common.full(where, str(error))
    if isinstance(error, PermissionError | botocore.exceptions.NoCredentialsError):
        return common.forbidden(where, str(error))
    if code in ("NotImplemented", "501"):
        return common.dishonest(where, f"it does not know how to do this ({error})")
    return common.unavailable(where, str(error) or type(error).__name__)
