"""Refusals over HTTP: our errors with the matching status, as JSON; of unexpected errors nothing but an id."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from federation.core import errors

_log = logging.getLogger(__name__)

#: What a request may take, whose answer is not a stream.
REQUEST_SECONDS = 30.0
_STATUS: dict[type[errors.FederationError], int] = {
    errors.InvalidArgument: 400,
    errors.OutOfRange: 400,
    errors.Unauthenticated: 401,
    errors.PermissionDenied: 403,
    errors.NotFound: 404,
    errors.AlreadyExists: 409,
    errors.Conflict: 409,
    errors.FailedPrecondition: 412,
    errors.ResourceExhausted: 429,
    errors.Unavailable: 503,
    errors.DeadlineExceeded: 504,
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def answered(request: web.Request, handler: Handler, seconds: float | None = REQUEST_SECONDS) -> web.StreamResponse:
    """The handler's answer within these seconds, every refusal as JSON with its reason.

    An unexpected error is answered with an id by which the log tells more.
    """
    try:
        async with asyncio.timeout(seconds):
            return await handler(request)
    except errors.FederationError as error:
        return _refusal(error)
    except TimeoutError:
        return _refusal(errors.DeadlineExceeded(f"the request was not done in {seconds:.0f} s"))
    except web.HTTPException as error:
        told = {"reason": "HTTP_ERROR", "message": error.reason, "help": ""}
        return web.json_response({"error": told}, status=error.status)
    except Exception as error:  # noqa: BLE001 - the one door through which errors leave; none is swallowed
        number = str(uuid.uuid4())
        _log.error("%s %s failed unexpectedly (request %s)", request.method, request.path, number, exc_info=error)
        return web.json_response(
            {"error": {"reason": "INTERNAL", "message": f"the server failed in a way it did not expect (request {number})"}},
            status=500,
        )


def _refusal(error: errors.FederationError) -> web.Response:
    status = next((_STATUS[cls] for cls in type(error).__mro__ if cls in _STATUS), 500)
    told: dict[str, Any] = {"reason": error.reason, "message": error.message, "help": error.help}
    if error.violations:
        told["violations"] = dict(error.violations)
    headers = {"retry-after": str(max(1, round(error.retry_seconds)))} if error.retry_seconds else {}
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    return web.json_response({"error": told}, status=status, headers=headers)
