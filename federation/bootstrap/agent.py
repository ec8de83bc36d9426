"""The wiring of a site's agent: the connectors that its settings name. Imports nothing that only a server needs."""

from __future__ import annotations

import logging
import signal
import threading

from federation import config, logs, secrecy, traces
from federation.adapters import registry
from federation.adapters.system import SystemClock, UlidIds
from federation.agent.agent import Agent, Connectors

_log = logging.getLogger(__name__)


def run(settings: config.AgentSettings) -> None:
    """Runs an agent until SIGTERM or SIGINT; runs on the cluster go on without it."""
    secrecy.keep()
    logs.configure(text=config.logs_as_text())
    traces.configure("federation-agent", config.environment())
    made = make(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=made.stop, name="stop").start())
    _log.info("agent starts", extra={"site": settings.site})
    made.run()
    _log.info("agent ended", extra={"site": settings.site})


def make(settings: config.AgentSettings) -> Agent:
    """A site's agent, ready to run."""
    settings.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    storage, keys, compute = settings.storage, settings.keys, settings.compute
    connectors = Connectors(
        store=registry.load("storage", storage.kind)(storage.url, dict(storage.options)),
        sources={
            row.prefix: registry.load("sources", row.kind)({"prefix": row.prefix, **dict(row.options)})
            for row in settings.sources
        },
        keys=registry.load("keys", keys.kind)(settings.site, keys.folder, dict(keys.options)),
        compute=registry.load("compute", compute.kind)(compute.address, compute.token_file) if compute else None,
    )
    return Agent(settings, connectors, clock=SystemClock(), ids=UlidIds())
