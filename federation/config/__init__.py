"""The settings of every process, and the one place that reads them: federation file, a person's contexts, environment.

Everything is read once, checked strictly (an error says CONFIG_INVALID, the key's path, the value and what to write),
frozen, and handed down. What a command needs before all others is in `contexts`, `files` and `environment`, and known here by
the same names.
"""

from federation.config.file import agent, federation_file, server
from federation.config.forms import on_loopback
from federation.config.settings import (
    NO_RATES,
    RAY_DASHBOARD_PORT,
    TRUST_DOMAIN,
    AgentSettings,
    ComputeSettings,
    EngineSettings,
    FederationFile,
    KeysSettings,
    Layout,
    QuerySettings,
    RateSettings,
    RaySettings,
    ServerSettings,
    SiteSettings,
    StorageSettings,
    TlsFiles,
    UserSettings,
)
from federation.contexts import (
    ClientSettings,
    Context,
    Contexts,
    cache_path,
    chosen_context,
    client,
    config_path,
    contexts,
    delete_context,
    rename_context,
    save_context,
    state_path,
    use_context,
)
from federation.environment import environment, logs_as_text
from federation.files import keep_secret, read_secret, read_secret_bytes, write_secret

__all__ = [
    "NO_RATES",
    "RAY_DASHBOARD_PORT",
    "TRUST_DOMAIN",
    "AgentSettings",
    "ClientSettings",
    "ComputeSettings",
    "Context",
    "Contexts",
    "EngineSettings",
    "FederationFile",
    "KeysSettings",
    "Layout",
    "QuerySettings",
    "RateSettings",
    "RaySettings",
    "ServerSettings",
    "SiteSettings",
    "StorageSettings",
    "TlsFiles",
    "UserSettings",
    "agent",
    "cache_path",
    "chosen_context",
    "client",
    "config_path",
    "contexts",
    "delete_context",
    "environment",
    "federation_file",
    "keep_secret",
    "logs_as_text",
    "on_loopback",
    "read_secret",
    "read_secret_bytes",
    "rename_context",
    "save_context",
    "server",
    "state_path",
    "use_context",
    "write_secret",
]
