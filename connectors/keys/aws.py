"""A site's keys with AWS: its KEKs are KMS keys that never come out, its keyring file is under a key in Parameter Store.

What AWS can truly destroy decides what lies where. A KMS key lives on for at least 7 days after it was deleted and costs a
dollar a month, so a generation has none of its own. The generations' secrets are the site's own file's (see `keyfile`), sealed
under a key that is one SecureString parameter. Each change takes a new key and deletes the parameter of the old one, which has
no way back: an old copy of the file opens nothing. Only single-Region keys are used: a multi-Region key would take the wrap
elsewhere.

Options: `region`, `endpoint`, `alias` (of the current KEK; others have `ALIAS/ID`), `parameters` (a path), `mirror`, and
`key_file` where the agent's own role is not enough. The place of a row is its encryption context, so CloudTrail tells which
were opened. https://docs.aws.amazon.com/kms/latest/APIReference/, and .../systems-manager/latest/APIReference/.
"""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import botocore.config
import botocore.exceptions

from connectors.keys import keyfile
from federation.core import errors
from federation.crypto import canonical, wrapping
from federation.crypto.secrets import Secret

#: The shortest that KMS allows.
_PENDING_DAYS = 7
_CONFIG = botocore.config.Config(connect_timeout=5, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 3})
_DENIED = {"AccessDeniedException", "UnrecognizedClientException", "ExpiredTokenException", "InvalidSignatureException"}
_GONE = {"NotFoundException", "KMSInvalidStateException", "DisabledException", "ParameterNotFound"}
_WRONG = {"InvalidCiphertextException", "IncorrectKeyException", "ValidationException"}


class AwsKeys(keyfile.FileKeyring):
    """Fills `KeyConnector`, `KeyCustody` and `KeyBackup` with AWS."""

    def __init__(self, site: str, folder: str | Path, options: Mapping[str, str]) -> None:
        file, keks = self.opened(site, folder, options)
        file.begin(lambda: wrapping.Material.new(site, keks=False))
        super().__init__(file, keks)

    @staticmethod
    def opened(site: str, folder: str | Path, options: Mapping[str, str]) -> tuple[keyfile.KeyFile, wrapping.Keks]:
        """The file's key is a parameter of SSM, the KEK one of KMS."""
        keks = KmsKeks(_client("kms", options), options.get("alias", f"alias/fed-{site}"), site)
        path = options.get("parameters", f"/fed/{site}/keyring")
        protection = ParameterProtection(_client("ssm", options), path, keks.alias)
        file = keyfile.KeyFile(site, Path(folder), protection=protection, mirror=options.get("mirror", ""))
        keks.reseal = lambda: file.change(lambda material: material)
        return file, keks


class KmsKeks:
    """Fills `wrapping.Keks` with KMS keys: `alias` is at the current one, and `alias/ID` at each."""

    kind = "aws"

    def __init__(self, kms: Any, alias: str, site: str) -> None:
        self._kms = kms
        self.alias = alias
        self._site = site
        self._known: frozenset[str] = frozenset()
        #: Seals what lies beside KMS under the current KEK, before an older one goes.
        self.reseal: Callable[[], object] = lambda: None
        try:
            with _looking():
                kms.describe_key(KeyId=alias)
        except LookupError:
            self.rotate()

    def current(self) -> str:
        """See `Keks`."""
        with _ours():
            return str(self._kms.describe_key(KeyId=self.alias)["KeyMetadata"]["KeyId"])

    def ids(self) -> tuple[str, ...]:
        """See `Keks`."""
        with _ours():
            pages = self._kms.get_paginator("list_aliases").paginate()
            names = [row["AliasName"] for page in pages for row in page["Aliases"]]
        return tuple(sorted(name.removeprefix(f"{self.alias}/") for name in names if name.startswith(f"{self.alias}/")))

    def seal(self, kek: str, plaintext: bytes, place: bytes) -> bytes:
        """See `Keks`."""
        with _ours():
            answer = self._kms.encrypt(KeyId=kek, Plaintext=plaintext, EncryptionContext=_context(place))
            return bytes(answer["CiphertextBlob"])

    def open(self, kek: str, sealed: bytes, place: bytes) -> bytes:
        """See `Keks`. Only by a key that our alias names: a row could name any key that the agent's role may use."""
        if kek not in self._known:
            self._known = frozenset(self.ids())
        if kek not in self._known:
            raise LookupError(kek)
        try:
            return self._decrypt(kek, sealed, _context(place))
        except errors.PermissionDenied:
            # KMS says so of a ciphertext that names no key as well: if the key serves us, it is the ciphertext.
            self._decrypt(kek, self.seal(kek, b"probe", place), _context(place))
            raise ValueError("it names another key") from None

    def rotate(self) -> str:
        """See `Keks`."""
        with _ours():
            made = self._kms.create_key(
                Description=f"KEK of site {self._site} of a federation",
                MultiRegion=False,
                Tags=[{"TagKey": "federation:site", "TagValue": self._site}],
            )
            kek = str(made["KeyMetadata"]["KeyId"])
            self._kms.create_alias(AliasName=f"{self.alias}/{kek}", TargetKeyId=kek)
            try:
                self._kms.update_alias(AliasName=self.alias, TargetKeyId=kek)
            except self._kms.exceptions.NotFoundException:
                self._kms.create_alias(AliasName=self.alias, TargetKeyId=kek)
        return kek

    def retire(self, kek: str) -> None:
        """See `Keks`. KMS keeps it for 7 days, in which whoever administers it can bring it back."""
        self.reseal()
        with _ours():
            self._kms.schedule_key_deletion(KeyId=kek, PendingWindowInDays=_PENDING_DAYS)
            self._kms.delete_alias(AliasName=f"{self.alias}/{kek}")
        self._known -= {kek}

    def _decrypt(self, kek: str, sealed: bytes, context: Mapping[str, str]) -> bytes:
        with _looking():
            answer = self._kms.decrypt(KeyId=kek, CiphertextBlob=sealed, EncryptionContext=context)
            return bytes(answer["Plaintext"])


class ParameterProtection:
    """Fills `keyfile.Protection` with a key in Parameter Store, a new one for each change; others are deleted after it."""

    def __init__(self, ssm: Any, path: str, kek: str) -> None:
        self._ssm = ssm
        self._path = path
        self._kek = kek
        self._name = ""
        self._key = Secret(b"")

    def begin(self) -> None:
        """See `keyfile.Protection`."""
        name, key = secrets.token_hex(8), os.urandom(wrapping.KEK)
        with _ours():
            self._ssm.put_parameter(
                Name=f"{self._path}/{name}", Value=base64.b64encode(key).decode(), Type="SecureString", KeyId=self._kek
            )
        self._name, self._key = name, Secret(key)

    def seal(self, plaintext: bytes, place: bytes) -> dict[str, Any]:
        """See `keyfile.Protection`."""
        sealed = wrapping.seal(self._key.reveal(), plaintext, canonical.join(place, self._name))
        return {"protection": "aws", "parameter": self._name, "sealed": base64.b64encode(sealed).decode()}

    def open(self, sealed: Mapping[str, Any], place: bytes) -> bytes:
        """See `keyfile.Protection`."""
        name = str(sealed["parameter"])
        if sealed["protection"] != "aws" or "/" in name:
            raise ValueError("not sealed under a key in Parameter Store")
        if name != self._name:
            self._key, self._name = self._read(name), name
        data = base64.b64decode(sealed["sealed"], validate=True)
        return wrapping.open_(self._key.reveal(), data, canonical.join(place, name))

    def settle(self, sealed: Mapping[str, Any]) -> None:
        """See `keyfile.Protection`."""
        with _ours():
            pages = self._ssm.get_paginator("get_parameters_by_path").paginate(Path=self._path)
            names = [row["Name"] for page in pages for row in page["Parameters"]]
            for name in names:
                if name != f"{self._path}/{sealed['parameter']}":
                    self._ssm.delete_parameter(Name=name)

    def _read(self, name: str) -> Secret:
        try:
            with _looking():
                found = self._ssm.get_parameter(Name=f"{self._path}/{name}", WithDecryption=True)
        except LookupError:
            raise ValueError("the key was deleted") from None
        return Secret(base64.b64decode(found["Parameter"]["Value"]))


def _client(service: str, options: Mapping[str, str]) -> Any:
    keyfile.only(options, ("region", "endpoint", "alias", "parameters", "mirror", "key", "secret"), needed=("region",))
    return boto3.client(
        service,
        region_name=options["region"],
        endpoint_url=options.get("endpoint"),
        aws_access_key_id=options.get("key"),
        aws_secret_access_key=options.get("secret"),
        config=_CONFIG,
    )


def _context(place: bytes) -> dict[str, str]:
    parts = (part.decode() for part in canonical.split(place))
    return dict(zip(("purpose", "dataset", "generation", "class", "site", "kek"), parts, strict=True))


@contextmanager
def _ours() -> Iterator[None]:
    """AWS's errors become ours: KEYS_UNAVAILABLE, KEYS_DENIED, KEYS_REFUSED."""
    try:
        with _looking():
            yield
    except (LookupError, ValueError) as error:
        raise errors.FailedPrecondition(
            f"AWS does not do as it is asked: {error}",
            reason="KEYS_REFUSED",
            help="See whether the current KEK is enabled, and where its alias points.",
        ) from None


@contextmanager
def _looking() -> Iterator[None]:
    """As `_ours`, but LookupError for what is not there, and ValueError for what is wrong."""
    try:
        yield
    except botocore.exceptions.ClientError as error:
        code = error.response["Error"]["Code"]
        if code in _GONE:
            raise LookupError(code) from None
        if code in _WRONG:
            raise ValueError(code) from None
        if code in _DENIED:
            raise errors.PermissionDenied(
                f"AWS refuses {error.operation_name}: {code}",
                reason="KEYS_DENIED",
                help="Give the agent's role a policy as docs/keys.md has it.",
                metadata={"operation": error.operation_name},
            ) from None
        raise _unavailable(f"{error.operation_name}: {code}") from None
    except botocore.exceptions.BotoCoreError as error:
        raise _unavailable(type(error).__name__) from None


def _unavailable(what: str) -> errors.Unavailable:
    return errors.Unavailable(
        f"AWS does not do what keys need: {what}",
        reason="KEYS_UNAVAILABLE",
        help="See whether KMS and Parameter Store answer; the agent asks again.",
    )
