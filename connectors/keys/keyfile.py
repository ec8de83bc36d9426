"""A keyring as a file that only its agent may read: `keyring.json` in a folder of its own, and a mirror of what can be erased.

Made on first use, whole and on disk or not at all; processes that begin or change something at once agree. A change is a new
file, synced and renamed over the old one. The tree of generations' secrets is the one part that must forget: it is in no
backup (see `backup`). Its second copy is the mirror, a folder on another disk or machine, which each erasure reaches before it
is done; a keyring is restored from a backup and its mirror, so that no backup revives what was erased after it.

How the file lies on disk is its protection's affair: as it is, under a passphrase, or under a key that Vault or AWS keeps.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import secrets
import stat
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from connectors.keys import passphrases
from federation.core import errors
from federation.crypto import canonical, shredding, wrapping
from federation.crypto.secrets import Secret

FILE = "keyring.json"
MIRROR = "mirror.json"
BACKUP = "backup"
_FORMAT = 2


class Protection(Protocol):
    """How a keyring's bytes lie on disk."""

    def begin(self) -> None:
        """What is sealed from now on replaces all that was sealed before."""
        ...

    def seal(self, plaintext: bytes, place: bytes) -> dict[str, Any]:
        """The bytes as a JSON object; `place` is what they belong to."""
        ...

    def open(self, sealed: Mapping[str, Any], place: bytes) -> bytes:
        """The bytes; ValueError, KeyError or TypeError where they were changed or belong elsewhere."""
        ...

    def settle(self, sealed: Mapping[str, Any]) -> None:
        """These are on disk now: whatever opens older ones may go, for good."""
        ...


class Plain:
    """As they are: whoever reads the file has them."""

    def begin(self) -> None:
        """See `Protection`."""

    def seal(self, plaintext: bytes, place: bytes) -> dict[str, Any]:
        """See `Protection`."""
        del place
        return {"keyring": json.loads(plaintext)}

    def open(self, sealed: Mapping[str, Any], place: bytes) -> bytes:
        """See `Protection`."""
        del place
        return json.dumps(sealed["keyring"]).encode()

    def settle(self, sealed: Mapping[str, Any]) -> None:
        """See `Protection`."""


class KeyFile:
    """Fills `wrapping.Store` with a file; FailedPrecondition (KEYRING_INVALID, KEYRING_EXPOSED) if it is unfit.

    Before it is used, `begin` finds or makes it, or `restore` puts it back. `mirror` is a folder, or ''.
    """

    def __init__(self, site: str, folder: Path, *, protection: Protection | None = None, mirror: str = "") -> None:
        self._site = site
        self._folder = folder
        self._protection = protection or Plain()
        self._mirror = Path(mirror) if mirror else None
        self._lock = threading.RLock()
        self._seen: tuple[int, int, int] | None = None
        self._material: wrapping.Material | None = None

    def begin(self, fresh: Callable[[], wrapping.Material]) -> None:
        """Makes what is not there yet, of fresh material, and brings keyring and mirror to the same state."""
        with self._alone():
            if _there(self._folder / FILE):
                self._agree(self._read())
            elif self._mirror and _there(self._mirror / MIRROR):
                raise _invalid(self._folder, "is not there, and its mirror is", "Restore it: `fed key restore`.")
            else:
                self._write(fresh())

    def restore(self, backup: Backup, *, forget: bool = False) -> None:
        """Makes the keyring of a backup and its mirror: what was erased after the backup stays so.

        FailedPrecondition (KEYRING_THERE) where a keyring is, (MIRROR_MISSING) where no mirror is. With `forget` a fresh tree
        is taken where no mirror is: the site is itself again and can be sent what it had, and opens nothing of before.
        """
        with self._alone():
            if _there(self._folder / FILE):
                raise errors.FailedPrecondition(
                    f"there is a keyring in {self._folder}", reason="KEYRING_THERE", help="Move it away first."
                )
            if self._mirror and _there(self._mirror / MIRROR):
                found = _mirror(self._site, self._mirror, self._protection)
                tree, gone = found.tree, found.destroyed
            elif forget:
                tree, gone = shredding.Tree.new(), ()
            else:
                raise errors.FailedPrecondition(
                    f"the mirror of the keyring of site {self._site} is not there",
                    reason="MIRROR_MISSING",
                    help="Mount it, or restore without what was sealed before: --forget.",
                )
            # A mirror older than the backup has missed erasures that the backup knows by name.
            material = material_of(self._site, backup.data, tree)
            self._write(material.without((*material.destroyed, *gone)))

    def material(self) -> wrapping.Material:
        """See `wrapping.Store`. Another process's change is seen by the file being another."""
        with self._lock, _ours(self._folder):
            return self._read()

    def change(self, change: Callable[[wrapping.Material], wrapping.Material]) -> wrapping.Material:
        """See `wrapping.Store`. The mirror is written first: what is erased is erased there, or the change is not."""
        with self._alone():
            material = change(self._read())
            self._write(material)
            return material

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """This thread of this process alone changes the folder."""
        with self._lock, _ours(self._folder):
            for folder in filter(None, (self._folder, self._mirror)):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _locked(self._folder):
                yield

    def _agree(self, material: wrapping.Material) -> None:
        """What is erased in one of keyring and mirror is erased in both, however a crash left them."""
        if self._mirror is None:
            return
        gone = _mirror(self._site, self._mirror, self._protection).destroyed if _there(self._mirror / MIRROR) else None
        if gone is None or set(gone) != set(material.destroyed):
            self._write(material.without(gone or ()))

    def _read(self) -> wrapping.Material:
        path = self._folder / FILE
        info = path.lstat()
        seen = (info.st_ino, info.st_mtime_ns, info.st_size)
        if self._material is None or seen != self._seen:
            sealed = read(path, self._folder, self._site)
            try:
                self._material = parse(self._site, self._protection.open(sealed, place(self._site, FILE)))
            except (ValueError, KeyError, TypeError, AttributeError):
                # The cause may quote the file, so it is not told.
                raise _invalid(self._folder, "is damaged, or sealed otherwise", "Restore it from its backup.") from None
            self._seen = seen
        return self._material

    def _write(self, material: wrapping.Material) -> None:
        self._protection.begin()
        if self._mirror:
            tree = json.dumps(_mirrored(material)).encode()
            write(self._mirror / MIRROR, self._site, self._protection.seal(tree, place(self._site, MIRROR)))
        sealed = self._protection.seal(json.dumps(dump(material)).encode(), place(self._site, FILE))
        write(self._folder / FILE, self._site, sealed)
        self._protection.settle(sealed)
        self._material = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Backup:
    """What was kept of a keyring: all but its tree."""

    data: Mapping[str, Any]


class FileKeyring(wrapping.Keyring):
    """A keyring whose material is in a file. Fills `KeyBackup` too. How a connector finds it, its `opened` says."""

    def __init__(self, file: KeyFile, keks: wrapping.Keks) -> None:
        super().__init__(file, keks)
        self._file = file

    @staticmethod
    def opened(site: str, folder: str | Path, options: Mapping[str, str]) -> tuple[KeyFile, wrapping.Keks]:
        """The file and the KEKs that a connector's options name; a service that holds KEKs gets a first one if it has none."""
        raise NotImplementedError

    @classmethod
    def restore(
        cls,
        site: str,
        folder: str | Path,
        options: Mapping[str, str],
        data: bytes,
        passphrase_file: Path,
        *,
        forget: bool = False,
    ) -> None:
        """Puts the keyring of a backup where `opened` finds it. See `KeyFile.restore`."""
        file, _ = cls.opened(site, folder, options)
        file.restore(open_backup(data, passphrase_file, site), forget=forget)

    def back_up(self, passphrase_file: Path) -> bytes:
        """What is needed to restore the keyring beside its mirror, sealed under the passphrase in that file."""
        plaintext = json.dumps(kept(self._file.material())).encode()
        sealed = passphrases.of_path(passphrase_file).seal(plaintext, place(self.site, BACKUP))
        return json.dumps({"format": _FORMAT, "site": self.site, **sealed}, indent=1).encode()


def open_backup(data: bytes, passphrase_file: Path, site: str) -> Backup:
    """The backup that `back_up` made; BACKUP_INVALID for another's, a changed one or another passphrase."""
    passphrase = passphrases.of_path(passphrase_file)
    try:
        sealed = json.loads(data)
        return Backup(data=json.loads(passphrase.open(sealed, place(site, BACKUP))))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise errors.FailedPrecondition(
            f"this is no backup of the keyring of site {site}, or it is under another passphrase",
            reason="BACKUP_INVALID",
            help="Give the passphrase that it was made with.",
        ) from None


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Mirrored:
    tree: shredding.Tree
    destroyed: tuple[tuple[str, str], ...]


def _mirror(site: str, folder: Path, protection: Protection) -> _Mirrored:
    sealed = read(folder / MIRROR, folder, site)
    try:
        data = json.loads(protection.open(sealed, place(site, MIRROR)))
        return _Mirrored(tree=shredding.Tree.load(data["tree"]), destroyed=_names(data["destroyed"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _invalid(folder, "is damaged, or sealed otherwise", "Use the mirror of this site's keyring.") from None


def only(options: Mapping[str, str], known: Iterable[str], needed: Iterable[str] = ()) -> None:
    """Returns when a connector's options are among `known` and those that it needs are there."""
    strange, missing = sorted(set(options) - set(known)), sorted(set(needed) - set(options))
    if strange or missing:
        raise errors.InvalidArgument(
            f"keys: {strange[0]!r} is no option of this connector" if strange else f"keys: {missing[0]!r} is missing",
            reason="CONFIG_INVALID",
            help=f"Its options: {', '.join(sorted(known))}.",
        )


def place(site: str, file: str) -> bytes:
    """What a file's bytes are bound to."""
    return canonical.join("fed/keyring/v2", site, file)


def read(path: Path, folder: Path, site: str) -> Mapping[str, Any]:
    """A file's JSON object, if nobody else can read it or put another in its place, and it is of that site."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(fd, encoding="utf-8") as file:
        _check_mode(folder, stat.S_IMODE(folder.stat().st_mode), 0o022)
        _check_mode(path, stat.S_IMODE(os.fstat(fd).st_mode), 0o077)
        try:
            data = json.load(file)
            if data["format"] != _FORMAT:
                raise ValueError("not a keyring of this format")
            owner = str(data["site"])
        except (ValueError, KeyError, TypeError):
            raise _invalid(folder, "is damaged", "Restore it from its backup.") from None
    if owner != site:
        raise _invalid(folder, f"is of site {owner}, not {site}", "Give each site a folder of its own.")
    return dict(data)


def write(path: Path, site: str, sealed: Mapping[str, Any]) -> None:
    """Puts a JSON object in a file's place, durably."""
    draft = path.parent / f".{path.name}-{secrets.token_hex(8)}"
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            json.dump({"format": _FORMAT, "site": site, **sealed}, file, indent=1)
            file.flush()
            os.fsync(fd)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def dump(material: wrapping.Material) -> dict[str, Any]:
    """Material as it is kept."""
    return kept(material) | _mirrored(material)


def kept(material: wrapping.Material) -> dict[str, Any]:
    """What never has to be forgotten: all but the tree. This is what a backup holds, with the names of what was destroyed."""
    return {
        "current": material.current,
        "keks": {name: kek.reveal().hex() for name, kek in material.keks.items()},
        "signing": material.signing.reveal().hex(),
        "sealing": material.sealing.reveal().hex(),
        "destroyed": [list(name) for name in material.destroyed],
    }


def parse(site: str, plaintext: bytes) -> wrapping.Material:
    """Material as it was kept; ValueError, KeyError or TypeError for anything else."""
    data = json.loads(plaintext)
    return material_of(site, data, shredding.Tree.load(data["tree"]))


def material_of(site: str, data: Mapping[str, Any], tree: shredding.Tree) -> wrapping.Material:
    """Material from what was kept and a tree."""
    keks = {str(name): _secret(value) for name, value in data["keks"].items()}
    if data["current"] not in keks and (keks or data["current"]):
        raise ValueError("the current KEK is not there")
    return wrapping.Material(
        site=site,
        tree=tree,
        signing=_secret(data["signing"]),
        sealing=_secret(data["sealing"]),
        keks=keks,
        current=data["current"],
        destroyed=_names(data["destroyed"]),
    )


def _mirrored(material: wrapping.Material) -> dict[str, Any]:
    return {"tree": material.tree.dump(), "destroyed": [list(name) for name in material.destroyed]}


def _names(rows: Any) -> tuple[tuple[str, str], ...]:
    return tuple((str(uid), str(generation)) for uid, generation in rows)


def _secret(text: str) -> Secret:
    value = bytes.fromhex(text)
    if len(value) != wrapping.KEK:
        raise ValueError("not a key")
    return Secret(value)


def _there(path: Path) -> bool:
    return os.path.lexists(path)


def _check_mode(path: Path, mode: int, forbidden: int) -> None:
    if mode & forbidden:
        raise errors.FailedPrecondition(
            f"{path} has mode {mode:04o}: others than its owner could use the keys",
            reason="KEYRING_EXPOSED",
            help=f"Run `chmod go-rwx {path}`, and think about who may have read it.",
        )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time changes what is in the folder."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


@contextmanager
def _ours(folder: Path) -> Iterator[None]:
    """What the file system says becomes ours."""
    try:
        yield
    except OSError as error:
        raise errors.FailedPrecondition(
            f"the keyring in {folder} cannot be used: {error.strerror}",
            reason="KEYRING_INVALID",
            help="Let the agent's user own the folder and its file.",
        ) from error


def _invalid(folder: Path, why: str, help_: str) -> errors.FailedPrecondition:
    return errors.FailedPrecondition(f"the keyring in {folder} {why}", reason="KEYRING_INVALID", help=help_)
