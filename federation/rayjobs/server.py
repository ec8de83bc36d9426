"""Ray's Jobs API by HTTP, so that `ray job submit` and whatever speaks it reach the federation unchanged.

It is a client of the catalog and nothing more: each request bears its caller's own token, which is passed on, so policy, audit
and rate limits are the caller's. It keeps nothing, so any number may run side by side.
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import json
import signal
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from typing import Any, TypeVar, cast

from aiohttp import web

from federation.client import AsyncClient, files
from federation.client.pool import ClientPool
from federation.core import errors, ids, submission
from federation.core.job import Job, JobState
from federation.rayjobs import translate
from federation.wire import answers, listening
from federation.wire.patience import Patience

T = TypeVar("T")

#: Of Ray's Jobs API: with `DELETE`, as of Ray 2.9 on.
API_VERSION = "4"
BODY_BYTES_MAX = 1024 * 1024
#: Jobs of one listing, newest first: Ray's API knows no pages.
LISTED_MAX = 1000
#: Logs that are followed at a time; each takes a thread.
FOLLOWED_MAX = 64
_SPOOL_BYTES = 1024 * 1024
#: A package takes as long as its way; a tail as long as its job.
_UNHURRIED = frozenset({("PUT", "packages"), ("GET", "tail")})


class RayJobs:
    """The application over the catalog at `target`, whose CA (PEM) is `ca`."""

    def __init__(self, target: str, ca: bytes) -> None:
        self._pool = ClientPool(target, ca)
        self._tails = asyncio.Semaphore(FOLLOWED_MAX)
        self.patience = Patience()

    def application(self) -> web.Application:
        """The routes; what they hold is closed with it."""
        app = web.Application(client_max_size=BODY_BYTES_MAX, middlewares=[self.patience.middleware, _answered])
        app.router.add_get("/api/version", _version)
        app.router.add_get("/api/authentication_mode", _authentication_mode)
        app.router.add_get("/api/packages/{protocol}/{package}", self._known_package)
        app.router.add_put("/api/packages/{protocol}/{package}", self._take_package)
        app.router.add_post("/api/jobs/", self._submit)
        app.router.add_get("/api/jobs/", self._list)
        app.router.add_get("/api/jobs/{id}", self._show)
        app.router.add_delete("/api/jobs/{id}", self._delete)
        app.router.add_post("/api/jobs/{id}/stop", self._stop)
        app.router.add_get("/api/jobs/{id}/logs", self._logs)
        app.router.add_get("/api/jobs/{id}/logs/tail", self._tail)
        app.on_cleanup.append(self._close)
        return app

    async def _close(self, _app: web.Application) -> None:
        await self._pool.close()

    async def _client(self, request: web.Request) -> AsyncClient:
        return await self._pool.of(listening.bearer(request.headers.get("authorization", "")))

    async def _known_package(self, request: web.Request) -> web.Response:
        client = await self._client(request)
        await client.get_package(alias=_package(request))
        return web.Response()

    async def _take_package(self, request: web.Request) -> web.Response:
        client, alias = await self._client(request), _package(request)
        await client.who_am_i()  # before a stranger's bytes fill the disk
        with tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES) as spool:
            size = 0
            async for piece in request.content.iter_any():
                size += len(piece)
                if size > files.PACKAGE_BYTES_MAX:
                    raise errors.ResourceExhausted(
                        f"the package is larger than {files.PACKAGE_BYTES_MAX} bytes",
                        reason="WORKING_DIR_TOO_BIG",
                        help="Keep data out of the working directory: put it into a dataset and read it as an input.",
                    )
                spool.write(piece)
            await client.send_package(spool, alias=alias)
        return web.Response()

    async def _submit(self, request: web.Request) -> web.Response:
        client = await self._client(request)
        told = _parsed(await request.read())
        wanted = submission.request(told, "")  # what is wrong in itself is said before anything is asked
        alias = submission.package(told.get("runtime_env"))
        if alias:
            wanted = submission.request(told, (await client.get_package(alias=alias)).digest)
        job = await client.submit(wanted)
        name = translate.submission_id(job)
        return web.json_response({"job_id": name, "submission_id": name})

    async def _list(self, request: web.Request) -> web.Response:
        client = await self._client(request)
        found: list[dict[str, Any]] = []
        async with _closing(client.list_jobs(filter='kind = "RAY"')) as jobs:
            async for job in jobs:
                found.append(translate.details(job))
                if len(found) == LISTED_MAX:
                    break
        return web.json_response(found)

    async def _show(self, request: web.Request) -> web.Response:
        client = await self._client(request)
        job = await _job(client, request)
        if not job.run:
            return web.json_response(translate.details(job))
        run = await client.get_run(job.run)
        place = await client.get_site(run.site)
        return web.json_response(translate.details(job, run, place.dashboard_of(run.submission_id)))

    async def _stop(self, request: web.Request) -> web.Response:
        client = await self._client(request)
        job = await _job(client, request)
        if job.state.terminal:
            return web.json_response({"stopped": False})
        await client.cancel_job(job.job)
        return web.json_response({"stopped": True})

    async def _delete(self, request: web.Request) -> web.Response:
        client = await self._client(request)
        job = await _job(client, request)
        if not job.state.terminal:
            raise errors.FailedPrecondition(
                f"{translate.submission_id(job)} is {job.state}", reason="JOB_UNFINISHED", help="Stop it first."
            )
        raise errors.FailedPrecondition(
            f"{translate.submission_id(job)} is kept: a job's record is evidence of what was read and where",
            reason="JOB_RECORD_KEPT",
            help="Nothing needs to be deleted: what is no longer needed is trimmed by the federation's retention.",
        )

    async def _logs(self, request: web.Request) -> web.Response:
        client = await self._client(request)
        job = await _job(client, request)
        begun = bool(job.run) and (await client.get_run(job.run)).start_time is not None
        text = b"".join([piece async for piece in client.logs(job.job)]) if begun else b""
        return web.json_response({"logs": text.decode("utf-8", "replace")})

    async def _tail(self, request: web.Request) -> web.StreamResponse:
        """What the job prints, over all its attempts, until it ends or the caller leaves."""
        client = await self._client(request)
        job = await _job(client, request)
        if self._tails.locked():
            raise errors.ResourceExhausted(
                f"{FOLLOWED_MAX} logs are followed here already", reason="TOO_MANY_TAILS", help="Try again later."
            )
        async with self._tails:
            socket = web.WebSocketResponse(heartbeat=30.0)
            await socket.prepare(request)
            with contextlib.suppress(ConnectionError):  # the caller has left
                async for text in _decoded(client, job):
                    await socket.send_str(text)
            await socket.close()
        return socket


async def serve(target: str, ca: bytes, at: listening.Listening) -> None:
    """Serves until SIGTERM or SIGINT."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    loop.set_default_executor(ThreadPoolExecutor(FOLLOWED_MAX + 16, thread_name_prefix="rayjobs"))
    jobs = RayJobs(target, ca)
    runner = web.AppRunner(jobs.application(), access_log=None, shutdown_timeout=2.0)
    await runner.setup()
    watch = asyncio.create_task(jobs.patience.watch(runner))
    try:
        await web.TCPSite(runner, at.host, at.port, ssl_context=at.tls()).start()
        await ended.wait()
    except OSError as error:
        raise listening.port_taken(f"{at.host}:{at.port}", error) from error
    finally:
        watch.cancel()
        await runner.cleanup()


@web.middleware
async def _answered(request: web.Request, handler: answers.Handler) -> web.StreamResponse:
    part = "packages" if "package" in request.match_info else request.path.rpartition("/")[2]
    unhurried = (request.method, part) in _UNHURRIED
    return await answers.answered(request, handler, None if unhurried else answers.REQUEST_SECONDS)


async def _version(_request: web.Request) -> web.Response:
    """Ray's clients compare this before they submit. The federation's sites may have clusters of several releases."""
    told = {"version": API_VERSION, "ray_version": metadata.version("ray"), "ray_commit": "", "session_name": "federation"}
    return web.json_response(told)


async def _authentication_mode(_request: web.Request) -> web.Response:
    return web.json_response({"authentication_mode": "token"})


def _closing(rows: AsyncIterator[T]) -> contextlib.aclosing[AsyncGenerator[T, None]]:
    """What the client lists, ended where the reader stops: its calls end then, too."""
    return contextlib.aclosing(cast("AsyncGenerator[T, None]", rows))


async def _job(client: AsyncClient, request: web.Request) -> Job:
    """The job that the caller has submitted under this id, else the one that the federation calls so."""
    name = request.match_info["id"]
    if ids.SUBMISSION.fullmatch(name):
        me = (await client.who_am_i()).principal
        async with _closing(client.list_jobs(filter=f'submission_id = "{name}" AND principal = "{me}"')) as own:
            async for job in own:
                return job
    if not ids.SEGMENT.fullmatch(name):
        raise errors.NotFound(f"there is no job {name[:200]!r}", help="`ray job list` names yours.")
    return await client.get_job(name)


async def _decoded(client: AsyncClient, job: Job) -> AsyncIterator[str]:
    """The log as text, in pieces that end where a character does. Nothing for a job that was refused."""
    if job.state is JobState.REJECTED:
        return
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    async with _closing(client.logs(job.job, follow=True)) as pieces:
        async for piece in pieces:
            if text := decoder.decode(piece):
                yield text
    if text := decoder.decode(b"", final=True):
        yield text


def _package(request: web.Request) -> str:
    """The name of the package in the address, as `submission.package` takes it from a submission."""
    uri = f"{request.match_info['protocol']}://{request.match_info['package']}"
    found = submission.PACKAGE_URI.fullmatch(uri)
    if found is None:
        raise errors.InvalidArgument(
            f"{uri[:200]!r} is not a package of a working directory",
            reason="RUNTIME_ENV_UNSUPPORTED",
            help="Zip files that Ray's client makes are taken, and wheels are not.",
        )
    return found[1]


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise errors.InvalidArgument("the body is not a JSON object", reason="JOB_REQUEST_INVALID", help="See Ray's Jobs API.")
    return {name: value for name, value in found.items() if value is not None}
