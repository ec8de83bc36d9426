"""The process's environment, read here and nowhere else; what is in it means what `contexts` and `config` say."""

from __future__ import annotations

import os
from collections.abc import Mapping


def environment() -> Mapping[str, str]:
    """The process's environment, for child processes that inherit it."""
    return os.environ  # noqa: TID251 - here and nowhere else


def logs_as_text() -> bool:
    """Whether processes log lines for people, not JSON: FED_LOG_FORMAT is `text`."""
    return environment().get("FED_LOG_FORMAT", "json") == "text"


def quiet_grpc() -> None:
    """Leaves to us what is said about failed connections, unless GRPC_VERBOSITY is set; to be called before gRPC is loaded.

    gRPC's library writes a line of its own about each, past every logger, onto the terminal or between our lines of JSON.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # noqa: TID251 - as above
