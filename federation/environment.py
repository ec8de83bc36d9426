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
