"""Log lines of the processes: one JSON object for each event, to stderr. Set up once, at a process's start.

A line has the request id of the call that it belongs to, and its trace. What looks like a secret is not written, wherever it
stands: that is the second line of defence, for values that are secret have types without a repr (`crypto/secrets.py`).
"""

from __future__ import annotations

import contextvars
import json
import logging
import re
import sys
from datetime import UTC, datetime

from federation import traces
from federation.core import screen

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

#: The id of the call that is being answered, '' outside of calls.
request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="")

_HIDDEN = "[redacted]"
#: Our own tokens and tickets, bearers of any kind, passwords in URLs, private keys, JWTs, and keys of AWS.
_SECRETS = re.compile(
    r"(?P<own>\bfed(?:join)?_[A-Za-z0-9_-]{20,})"
    r"|(?P<kept>\bbearer\s+)[A-Za-z0-9._~+/=-]{8,}"
    r"|(?P<url>[a-z][a-z0-9+.-]*://[^\s/@:\"']*:)[^\s/@\"']+(?=@)"
    r"|(?P<pem>-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$))"
    r"|(?P<jwt>\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*)"
    r"|(?P<aws>\b(?:AKIA|ASIA)[A-Z0-9]{16}\b)"
    r"|(?P<named>(?:password|passphrase|secret_?access_?key|secret|token|api_?key)[\"']?\s*[=:]\s*[\"']?)[^\s\"',;}]{6,}",
    re.IGNORECASE | re.DOTALL,
)


def redacted(text: str) -> str:
    """The text without what looks like a secret."""
    return _SECRETS.sub(lambda found: (found["kept"] or found["url"] or found["named"] or "") + _HIDDEN, text)


class JsonLines(logging.Formatter):
    """A record as one line: time, level, logger, message, then what `extra` gave, and the traceback of an error."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redacted(record.getMessage()),
        }
        if call := request_id.get():
            line["request_id"] = call
        if traced := traces.current():
            _, line["trace_id"], line["span_id"], _ = traced.split("-")
        line |= {key: _plain(value) for key, value in vars(record).items() if key not in _STANDARD}
        if record.exc_info:
            line["error"] = redacted(self.formatException(record.exc_info))
        return screen.safe_json(json.dumps(line, ensure_ascii=False, default=str))


class TextLines(logging.Formatter):
    """The same for people who look on: time, level, logger and message on a line, then a traceback."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        return screen.safe(redacted(super().format(record)))


def _plain(value: object) -> object:
    """A value that JSON has, without secrets in it."""
    match value:
        case None | int() | float():
            return value
        case dict():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case _:
            return redacted(str(value))


def configure(level: int = logging.INFO, *, text: bool = False) -> None:
    """Lets every logger of this process write to stderr: JSON lines, or `text`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(TextLines() if text else JsonLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
