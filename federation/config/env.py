"""The process's environment, which is read here and nowhere else, and the folders that it names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def environment() -> Mapping[str, str]:
    """The process's environment, for child processes that inherit it."""
    return os.environ  # noqa: TID251 - here and nowhere else


def config_path() -> Path:
    """Where a person's contexts are kept."""
    env = environment()
    if env.get("FED_CONFIG"):
        return Path(env["FED_CONFIG"]).expanduser()
    return Path(env.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "fed" / "config.yaml"


def state_path(federation: str) -> Path:
    """Where a federation's state lies unless told otherwise."""
    return Path(environment().get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "fed" / federation


def cache_path() -> Path:
    """Where what can be fetched again is kept."""
    return Path(environment().get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fed"


def logs_as_text() -> bool:
    """Whether processes log lines for people, not JSON: FED_LOG_FORMAT is `text`."""
    return environment().get("FED_LOG_FORMAT", "json") == "text"
