"""Log lines: one JSON object each, with the ids that lead to a call and its trace, and without secrets."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from federation import logs
from federation.crypto import secrets


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What a logger of its own writes."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.JsonLines())
    logger = logging.getLogger("tests.lines")
    logger.propagate, logger.handlers = False, [handler]
    logger.setLevel(logging.INFO)
    yield stream
    logger.handlers = []


SECRETS = [
    secrets.new_token() + "-longer-than-the-canary-of-the-session-looks-for",
    secrets.new_token("fedjoin"),
    "Bearer abc.def-ghi_jkl",
    "postgresql+psycopg://fed:pass-w0rd@db/fed",
    "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl",
    "AKIAIOSFODNN7EXAMPLE",
    "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA\n-----END PRIVATE KEY-----",
    "passphrase=correct-horse",
    '"secret_access_key": "wJalrXUtnFEMI/K7MDENG"',
]


@pytest.mark.parametrize("secret", SECRETS, ids=range(len(SECRETS)))
def test_no_way_into_a_line_lets_a_secret_through(lines: io.StringIO, secret: str) -> None:
    """Not as the message, not as an argument, not in `extra`, not in an error's words."""
    logger = logging.getLogger("tests.lines")
    logger.info("it is " + secret)  # noqa: G003 - as careless code would
    logger.info("it is %s", secret)
    logger.info("it is there", extra={"where": secret, "nested": {"in": [secret]}})
    try:
        raise ValueError(secret)
    except ValueError:
        logger.exception("it failed")
    written = lines.getvalue()
    assert written.count("[redacted]") >= 5
    for part in (
        "abc.def-ghi_jkl",
        "pass-w0rd",
        "c2lnbmF0dXJl",
        "IOSFODNN7",
        "MC4CAQAw",
        "correct-horse",
        "wJalrXUtn",
        secret[8:40],
    ):
        if part in secret:
            assert part not in written
    for line in written.splitlines():
        json.loads(line)


@pytest.mark.parametrize(
    "text",
    [
        "dataset sales/flights@3 at eu-1",
        "tokens/t1f3a was revoked",
        "the secret of generation g-01k9 is destroyed",
        "s3://bucket/prefix and https://host:7400/healthz",
        "users/ada may not call Jobs.CreateJob",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    """Names, addresses and sentences are what a log is for."""
    assert logs.redacted(text) == text


def test_a_line_bears_the_id_of_its_call(lines: io.StringIO) -> None:
    """So the line of a failure is found by what the caller was told."""
    token = logs.request_id.set("r-1")
    try:
        logging.getLogger("tests.lines").info("inside")
    finally:
        logs.request_id.reset(token)
    logging.getLogger("tests.lines").info("outside")
    inside, outside = map(json.loads, lines.getvalue().splitlines())
    assert inside["request_id"] == "r-1"
    assert "request_id" not in outside


def test_lines_for_people_hide_secrets_too() -> None:
    """The other format, FED_LOG_FORMAT=text."""
    record = logging.makeLogRecord({"name": "x", "levelname": "INFO", "msg": "token: %s", "args": (SECRETS[0],)})
    assert logs.TextLines().format(record).endswith("x: token: [redacted]")
