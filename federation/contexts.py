"""A person's contexts: the settings that a command needs before all others.

Apart from `config`, which has them all, so that little is loaded where a shell waits for names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

from federation import files, strict
from federation.core import errors
from federation.environment import environment

_ADDRESS = re.compile(r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})")


@dataclass(frozen=True, kw_only=True)
class Context:
    """How a person reaches one federation: `host:port`, of several servers with commas between, CA's file, token's file (0600).

    `signed_in` is the file (0600) of a sign-in by `fed login`, which goes before the token; either may be missing.
    """

    context: str
    target: str
    ca: Path
    token: Path | None = None
    signed_in: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Contexts:
    """All contexts of a person and the name of the current one."""

    path: Path
    current: str = ""
    contexts: tuple[Context, ...] = ()

    def find(self, name: str) -> Context:
        """The context of that name; NotFound (CONTEXT_MISSING) otherwise."""
        found = next((row for row in self.contexts if row.context == name), None)
        if found is None:
            known = ", ".join(row.context for row in self.contexts) or "none yet"
            raise errors.NotFound(
                f"{self.path} has no context {name!r}",
                reason="CONTEXT_MISSING",
                help=f"There are: {known}.",
            )
        return found


@dataclass(frozen=True, kw_only=True)
class ClientSettings:
    """What a client needs. The token shows in no repr."""

    target: str
    ca: bytes = field(repr=False)
    token: str = field(repr=False)
    context: str = ""
    signed_in: Path | None = None


def client(context: str = "") -> ClientSettings:
    """Settings of a person's client: of the named or current context; FED_TARGET, FED_TOKEN and FED_CA go before each part."""
    env = environment()
    wanted = context or env.get("FED_CONTEXT", "")
    complete = all(env.get(key) for key in ("FED_TARGET", "FED_TOKEN", "FED_CA")) and not wanted
    found = None if complete else _current(contexts(), wanted)
    target = addresses(env["FED_TARGET"]) if env.get("FED_TARGET") else found.target if found else ""
    ca = Path(env["FED_CA"]) if env.get("FED_CA") else (found.ca if found else Path())
    signed_in = found.signed_in if found and found.signed_in and not env.get("FED_TOKEN") else None
    kept = found.token if found and not signed_in else None
    token = env.get("FED_TOKEN") or (files.read_secret(kept, "token file").strip() if kept else "")
    return ClientSettings(
        target=target, ca=_certificates(ca), token=token, context=found.context if found else "", signed_in=signed_in
    )


def _certificates(path: Path) -> bytes:
    """A CA file. One without a certificate is refused: gRPC would trust whom the system trusts, and show them the token."""
    data = files.read(path, "CA file")
    if b"-----BEGIN CERTIFICATE-----" not in data:
        raise errors.InvalidArgument(
            f"CA file {path} has no certificate in it", reason="CONFIG_INVALID", help="Put the CA's certificate there, as PEM."
        )
    return data


def chosen_context(name: str = "") -> Context:
    """The named context, or the current one; NotFound (CONTEXT_MISSING) where none is chosen."""
    return _current(contexts(), name or environment().get("FED_CONTEXT", ""))


def contexts() -> Contexts:
    """All contexts, from FED_CONFIG or ~/.config/fed/config.yaml; none where there is no such file."""
    path = config_path()
    if not path.exists():
        return Contexts(path=path)
    top = strict.parse(files.read_text(path, "config file"), str(path)).only(("current", "contexts"))
    table = top.table("contexts")
    rows = []
    for name in table.keys():  # noqa: SIM118 - a Table is no dict
        row = table.table(name).only(("target", "ca", "token", "signed_in"))
        ca = Path(row.text("ca")).expanduser()
        token, signed_in = (Path(row.text(key)).expanduser() if key in row else None for key in ("token", "signed_in"))
        rows.append(Context(context=name, target=row.read("target", addresses), ca=ca, token=token, signed_in=signed_in))
    return Contexts(path=path, current=top.text("current", ""), contexts=tuple(rows))


def save_context(context: Context, *, use: bool = True) -> Contexts:
    """Adds or replaces a context, and makes it the current one if asked; returns all as they are now.

    InvalidArgument for a target that is not host:port: a file with one could not be read again.
    """
    addresses(context.target)
    old = contexts()
    rows = (*(row for row in old.contexts if row.context != context.context), context)
    new = Contexts(path=old.path, current=context.context if use or not old.current else old.current, contexts=rows)
    _save(new)
    return new


def use_context(name: str) -> Contexts:
    """Makes a context the current one; NotFound (CONTEXT_MISSING) where there is none of that name."""
    old = contexts()
    old.find(name)
    new = Contexts(path=old.path, current=name, contexts=old.contexts)
    _save(new)
    return new


def rename_context(name: str, new: str) -> Contexts:
    """Gives a context another name; NotFound (CONTEXT_MISSING), AlreadyExists (CONTEXT_EXISTS)."""
    old = contexts()
    found = old.find(name)
    if any(row.context == new for row in old.contexts):
        raise errors.AlreadyExists(
            f"{old.path} has a context {new!r} already",
            reason="CONTEXT_EXISTS",
            help="Choose another name, or delete that one.",
        )
    rows = tuple(replace(row, context=new) if row == found else row for row in old.contexts)
    changed = Contexts(path=old.path, current=new if old.current == name else old.current, contexts=rows)
    _save(changed)
    return changed


def delete_context(name: str) -> Contexts:
    """Forgets a context; afterwards none is current if it was. NotFound (CONTEXT_MISSING) where there is none of that name."""
    old = contexts()
    found = old.find(name)
    rows = tuple(row for row in old.contexts if row != found)
    changed = Contexts(path=old.path, current="" if old.current == name else old.current, contexts=rows)
    _save(changed)
    return changed


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


def _current(all_: Contexts, wanted: str) -> Context:
    if not wanted and not all_.current:
        raise errors.NotFound(
            "no federation is chosen",
            reason="CONTEXT_MISSING",
            help="Start one with `fed up`, choose one with `fed context use NAME`, or set FED_TARGET, FED_TOKEN and FED_CA.",
        )
    return all_.find(wanted or all_.current)


def _save(all_: Contexts) -> None:
    rows = {row.context: _told_context(row) for row in all_.contexts}
    text = yaml.safe_dump({"current": all_.current, "contexts": rows}, sort_keys=False)
    files.write_secret(all_.path, text.encode())


def _told_context(row: Context) -> dict[str, str]:
    files = {"ca": row.ca, "token": row.token, "signed_in": row.signed_in}
    return {"target": row.target} | {key: str(path) for key, path in files.items() if path is not None}


def address(text: str) -> str:
    """One `host:port`; InvalidArgument for all else."""
    match = _ADDRESS.fullmatch(text)
    if not match or not 0 < int(match[2]) < 65536:
        raise errors.InvalidArgument(f"{text!r} is not host:port", help="Write for example 127.0.0.1:7400.")
    return text


def addresses(text: str) -> str:
    """One `host:port`, or several with commas between: servers of one catalog, which all prove to be the first one's host."""
    return ",".join(address(one.strip()) for one in text.split(","))
