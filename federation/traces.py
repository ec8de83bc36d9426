"""Traces: what belongs to one thing that a person asked for, in all processes that it passes (OpenTelemetry, W3C format).

Off unless the standard OTEL_* variables name an exporter; then not even OpenTelemetry is imported, and a span is a shared
object that does nothing. On, spans go to an OTLP endpoint in a thread of its own and are dropped where that is away: tracing
never keeps anybody waiting. Attributes have names of methods, jobs, runs and sites, and reasons of refusals; never messages,
values, names of datasets or people, or anything secret. Our provider is ours alone: what a job or Ray traces is left to them.
"""

from __future__ import annotations

import contextvars
import importlib
import logging
import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from typing import Any, Final, TypeVar

from federation.core import errors

_log = logging.getLogger(__name__)

T = TypeVar("T")

#: The header and metadata key of W3C Trace Context, and what it holds.
HEADER: Final = "traceparent"
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_EXPORTER = {
    "http/protobuf": "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "grpc": "opentelemetry.exporter.otlp.proto.grpc.trace_exporter",
}
_NOTHING: AbstractContextManager[Any] = nullcontext()

_tracer: Any = None
_provider: Any = None


def wanted(environment: Mapping[str, str]) -> bool:
    """Whether the standard variables ask for traces."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    exporter = environment.get("OTEL_TRACES_EXPORTER", "")
    named = environment.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or environment.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    return exporter != "none" and bool(named or exporter == "otlp")


def configure(service: str, environment: Mapping[str, str]) -> bool:
    """Turns traces on for this process if its environment asks for them; whether they are on. Again changes nothing.

    OTEL_SERVICE_NAME goes before `service`. Where a package is missing they stay off, and the log says which.
    """
    global _tracer, _provider  # noqa: PLW0603 - one for each process, as logging is
    if _tracer is not None or not wanted(environment):
        return _tracer is not None
    named = (environment.get(f"OTEL_EXPORTER_OTLP_{which}PROTOCOL") for which in ("TRACES_", ""))
    protocol = next(filter(None, named), "http/protobuf")
    try:
        exporter = importlib.import_module(_EXPORTER[protocol]).OTLPSpanExporter()
        sdk = importlib.import_module("opentelemetry.sdk.trace")
        batch = importlib.import_module("opentelemetry.sdk.trace.export").BatchSpanProcessor
        resources = importlib.import_module("opentelemetry.sdk.resources").Resource
    except (ImportError, KeyError) as missing:
        _log.warning("traces stay off: %s is not here; pip install 'dataset-federation[otel]'", missing)
        return False
    name = environment.get("OTEL_SERVICE_NAME") or service
    _provider = sdk.TracerProvider(resource=resources.create({"service.name": name}))
    _provider.add_span_processor(batch(exporter))
    _tracer = _provider.get_tracer("federation")
    return True


def shutdown() -> None:
    """Sends what was not sent yet, and turns traces off. At a process's end it happens by itself."""
    global _tracer, _provider
    provider, _tracer, _provider = _provider, None, None
    if provider is not None:
        provider.shutdown()


def on() -> bool:
    """Whether this process traces."""
    return _tracer is not None


def span(name: str, *, parent: str = "", kind: str = "INTERNAL", **attributes: str) -> AbstractContextManager[Any]:
    """A span around what is done inside, below the current one, or below `parent` (a traceparent) where there is none.

    An error that passes through marks it with its reason, not with its words.
    """
    return _NOTHING if _tracer is None else _span(name, parent, kind, attributes)


def begin(name: str, *, parent: str = "", kind: str = "INTERNAL", **attributes: str) -> Any:
    """A span that is not the current one and that its caller ends by `end`; None where traces are off."""
    if _tracer is None:
        return None
    api = importlib.import_module("opentelemetry.trace")
    return _tracer.start_span(name, context=_context(parent), kind=api.SpanKind[kind], attributes=_named(attributes))


def end(begun: Any, reason: str = "") -> None:
    """Ends a span of `begin`; with a reason, as one that failed."""
    if begun is None:
        return
    if reason:
        _failed(begun, reason)
    begun.end()


def past(name: str, *, parent: str, start: datetime, finish: datetime, **attributes: str) -> None:
    """A span of something that is over, below `parent`; nothing without one."""
    if _tracer is None or not parent:
        return
    begun = _tracer.start_span(
        name, context=_below(parent), attributes=_named(attributes), start_time=int(start.timestamp() * 1e9)
    )
    begun.end(int(finish.timestamp() * 1e9))


def current() -> str:
    """The current span as a traceparent, '' where there is none."""
    return "" if _tracer is None else traceparent(importlib.import_module("opentelemetry.trace").get_current_span())


def traceparent(begun: Any) -> str:
    """A span as W3C Trace Context names it, '' for none."""
    found = begun.get_span_context() if begun is not None else None
    if found is None or not found.is_valid:
        return ""
    return f"00-{found.trace_id:032x}-{found.span_id:016x}-{int(found.trace_flags):02x}"


def valid(text: object) -> str:
    """A traceparent that somebody sent, '' for what is none."""
    return text if isinstance(text, str) and _TRACEPARENT.fullmatch(text) else ""


def carried(work: Callable[..., T]) -> Callable[..., T]:
    """The same work, which other threads may do below the current span. Not by two at once."""
    if _tracer is None:
        return work
    context = contextvars.copy_context()
    return lambda *values: context.run(work, *values)


@contextmanager
def _span(name: str, parent: str, kind: str, attributes: Mapping[str, str]) -> Any:
    api = importlib.import_module("opentelemetry.trace")
    begun = begin(name, parent=parent, kind=kind, **attributes)
    with api.use_span(begun, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        try:
            yield begun
        except BaseException as error:
            _failed(begun, error.reason if isinstance(error, errors.FederationError) else type(error).__name__)
            raise


def _failed(begun: Any, reason: str) -> None:
    api = importlib.import_module("opentelemetry.trace")
    begun.set_attribute("error.type", reason)
    begun.set_status(api.Status(api.StatusCode.ERROR))


def _context(parent: str) -> Any:
    """None is the current context."""
    return None if current() or not parent else _below(parent)


def _below(parent: str) -> Any:
    api = importlib.import_module("opentelemetry.trace")
    if not valid(parent):
        return None
    _, trace, of, flags = parent.split("-")
    context = api.SpanContext(int(trace, 16), int(of, 16), is_remote=True, trace_flags=api.TraceFlags(int(flags, 16)))
    return api.set_span_in_context(api.NonRecordingSpan(context))


def _named(attributes: Mapping[str, str]) -> dict[str, str]:
    """`rpc_method` is `rpc.method`; what is empty is left out."""
    return {name.replace("_", ".", 1): value for name, value in attributes.items() if value}
