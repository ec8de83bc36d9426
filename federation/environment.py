"""The process's environment, read here and nowhere else; what is in it means what `contexts` and `config` say."""

from __future__ import annotations

import os
from collections.abc import Mapping

#: What is said about failed connections is ours to say: gRPC's library writes lines of its own, past every logger, onto the
#: terminal, between our lines of JSON, into the log of a job.
GRPC_QUIET = {"GRPC_VERBOSITY": "ERROR"}


def environment() -> Mapping[str, str]:
    """The process's environment, for child processes that inherit it."""
    return os.environ  # noqa: TID251 - here and nowhere else


def logs_as_text() -> bool:
    """Whether processes log lines for people, not JSON: FED_LOG_FORMAT is `text`."""
    return environment().get("FED_LOG_FORMAT", "json") == "text"


def quiet_grpc() -> None:
    """Sets `GRPC_QUIET`, where nobody has set something else; to be called before gRPC is loaded."""
    for name, value in GRPC_QUIET.items():
        os.environ.setdefault(name, value)  # noqa: TID251 - as above
