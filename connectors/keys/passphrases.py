"""A keyring or its backup under a passphrase: scrypt (RFC 7914), then AES-256-GCM.

A passphrase is read from a file that its owner alone may read (also one that systemd puts in `/run/credentials`), from a file
descriptor that whoever starts the process has opened, or from Linux's kernel keyring; never from a command line or the
environment.
"""

from __future__ import annotations

import base64
import ctypes
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from federation.core import errors
from federation.crypto import canonical, wrapping
from federation.crypto.secrets import Secret

#: 128 MiB and a third of a second for each guess (OWASP's password storage cheat sheet, 2026: N 2^17, r 8, p 1).
COST = 2**17
_COST_MAX = 2**20
_BLOCK = 8
_SALT = 16
_PASSPHRASE_MAX = 4096
#: Linux, x86-64 and arm64: keyctl(KEYCTL_READ) and request_key, by number, because the C library has no names for them.
_CALLS = {"x86_64": (249, 250), "aarch64": (218, 219)}
_KEYCTL_READ = 11


class Passphrase:
    """Fills `keyfile.Protection`. The key is derived once for each salt, and a keyring keeps its salt."""

    def __init__(self, passphrase: Secret, cost: int = COST) -> None:
        self._passphrase = passphrase
        self._cost = cost
        self._salt = os.urandom(_SALT)
        self._keys: dict[tuple[bytes, int], Secret] = {}

    def begin(self) -> None:
        """See `keyfile.Protection`."""

    def seal(self, plaintext: bytes, place: bytes) -> dict[str, Any]:
        """See `keyfile.Protection`."""
        header = {"protection": "scrypt", "cost": self._cost, "salt": self._salt.hex()}
        sealed = wrapping.seal(self._key(self._salt, self._cost), plaintext, _bound(place, header))
        return header | {"sealed": base64.b64encode(sealed).decode()}

    def open(self, sealed: Mapping[str, Any], place: bytes) -> bytes:
        """See `keyfile.Protection`."""
        cost, salt = int(sealed["cost"]), bytes.fromhex(sealed["salt"])
        if sealed["protection"] != "scrypt" or not 2 <= cost <= _COST_MAX or len(salt) != _SALT:
            raise ValueError("not sealed by a passphrase")
        header = {name: sealed[name] for name in ("protection", "cost", "salt")}
        key = self._key(salt, cost)
        plaintext = wrapping.open_(key, base64.b64decode(sealed["sealed"], validate=True), _bound(place, header))
        self._salt, self._cost = salt, cost
        return plaintext

    def settle(self, sealed: Mapping[str, Any]) -> None:
        """See `keyfile.Protection`."""

    def _key(self, salt: bytes, cost: int) -> bytes:
        if (salt, cost) not in self._keys:
            derived = Scrypt(salt=salt, length=wrapping.KEK, n=cost, r=_BLOCK, p=1).derive(self._passphrase.reveal())
            self._keys[salt, cost] = Secret(derived)
        return self._keys[salt, cost].reveal()


def _bound(place: bytes, header: Mapping[str, Any]) -> bytes:
    return canonical.join(place, *(f"{name}={header[name]}" for name in sorted(header)))


def of_options(options: Mapping[str, str]) -> Passphrase | None:
    """The passphrase that a connector's options name, None where they name none."""
    named = [name for name in ("passphrase_file", "passphrase_fd", "passphrase_key") if name in options]
    if len(named) > 1:
        raise errors.InvalidArgument(
            f"a keyring has one passphrase, and {' and '.join(named)} are given", reason="CONFIG_INVALID", help="Keep one."
        )
    if not named:
        return None
    read = {"passphrase_file": from_file, "passphrase_fd": from_descriptor, "passphrase_key": from_kernel}[named[0]]
    return Passphrase(read(options[named[0]]))


def from_file(path: str) -> Secret:
    """The passphrase in a file that its owner alone may read, without the end of its line."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise _unusable(f"file {path}", error.strerror or "it cannot be read") from None
    with os.fdopen(fd, "rb") as file:
        if stat.S_IMODE(os.fstat(fd).st_mode) & 0o077:
            raise _unusable(f"file {path}", "others can read it")
        return _cut(f"file {path}", file.read(_PASSPHRASE_MAX + 1))


def from_descriptor(number: str) -> Secret:
    """The passphrase that a file descriptor gives, which is closed then."""
    try:
        with os.fdopen(int(number), "rb") as file:
            return _cut(f"file descriptor {number}", file.read(_PASSPHRASE_MAX + 1))
    except (OSError, ValueError):
        raise _unusable(f"file descriptor {number}", "it is not open") from None


def from_kernel(description: str) -> Secret:
    """The passphrase under that description (type `user`) in a kernel keyring of this process: `keyctl padd user NAME @u`."""
    request, control = _CALLS.get(os.uname().machine, (0, 0))
    if not request:
        raise _unusable(f"kernel key {description}", f"on {os.uname().machine} it is not known how to ask")
    libc = ctypes.CDLL(None, use_errno=True)
    serial = libc.syscall(request, b"user", description.encode(), None, 0)
    buffer = ctypes.create_string_buffer(_PASSPHRASE_MAX + 1)
    size = libc.syscall(control, _KEYCTL_READ, serial, buffer, len(buffer)) if serial > 0 else -1
    if size < 0:
        raise _unusable(f"kernel key {description}", os.strerror(ctypes.get_errno()))
    found = buffer.raw[:size]
    ctypes.memset(buffer, 0, len(buffer))
    return _cut(f"kernel key {description}", found)


def of_path(path: Path) -> Passphrase:
    """The passphrase of a backup, in a file of its own."""
    return Passphrase(from_file(str(path)))


def _cut(where: str, data: bytes) -> Secret:
    passphrase = data.removesuffix(b"\n").removesuffix(b"\r")
    if not 8 <= len(passphrase) <= _PASSPHRASE_MAX:
        raise _unusable(where, f"a passphrase has 8 to {_PASSPHRASE_MAX} bytes")
    return Secret(passphrase)


def _unusable(where: str, why: str) -> errors.FailedPrecondition:
    return errors.FailedPrecondition(
        f"the passphrase in {where} cannot be used: {why}",
        reason="PASSPHRASE_UNUSABLE",
        help="Put it there for the agent's user alone.",
    )
