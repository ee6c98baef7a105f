"""Named API keys: a file of digests, changed by ``sightline keys`` and reread by running servers.

A key is 256 random bits. Only its SHA-256 is stored. A slow hash protects passwords, which can be guessed.
Nobody guesses 256 random bits, and every request would pay for a slow hash.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import secrets
import stat
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from filelock import FileLock, Timeout
from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
)

from sightline.errors import ConfigurationError, InputError
from sightline.settings import Settings

_log = logging.getLogger(__name__)

# Secret scanners find keys by a prefix.
PREFIX = "sightline_"
_KEY_BYTES = 32
# Every request is compared with every key.
MAX_KEYS = 1000
MAX_FILE_BYTES = 1024 * 1024
_LOCK_TIMEOUT_S = 10.0


class KeyScope(StrEnum):
    """The routes that a key may be used for."""

    ANALYZE = "analyze"
    COLLECTIONS = "collections"
    LIBRARIES = "libraries"
    METRICS = "metrics"
    ADMIN = "admin"


class NamedKey(BaseModel):
    """A key as the file has it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # Safe in log lines, metric labels and keys of Redis.
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    scopes: frozenset[KeyScope]
    created: AwareDatetime
    expires: AwareDatetime | None = None
    revoked: AwareDatetime | None = None

    @property
    def state(self) -> Literal["active", "expired", "revoked"]:
        """The state now."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and self.expires <= datetime.now(UTC) else "active"


class _Contents(BaseModel):
    model_config = ConfigDict(extra="forbid")

    version: Literal[1] = 1
    keys: tuple[NamedKey, ...] = Field((), max_length=MAX_KEYS)


class KeyFile:
    """The file of named keys. Changes are atomic, and one at a time between processes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> tuple[NamedKey, ...]:
        """Return all keys, an empty tuple if there is no file.

        Raises:
            ConfigurationError: the file cannot be read or is damaged.
        """
        try:
            with self.path.open("rb") as file:
                data = file.read(MAX_FILE_BYTES + 1)
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise ConfigurationError(
                f"keys file {self.path}: {error.strerror}; expected a readable file"
            ) from error
        return self._parsed(data)

    def _parsed(self, data: bytes) -> tuple[NamedKey, ...]:
        if len(data) > MAX_FILE_BYTES:
            raise self._damaged(f"larger than {MAX_FILE_BYTES} bytes")
        try:
            keys = _Contents.model_validate_json(data).keys
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise self._damaged(f"{where}: {first['msg']}" if where else first["msg"]) from None
        if len({key.name for key in keys}) < len(keys):
            raise self._damaged("two keys of one name")
        return keys

    def _damaged(self, reason: str) -> ConfigurationError:
        return ConfigurationError(
            f"keys file {self.path}: damaged: {reason}; expected a file that `sightline keys create` wrote"
        )

    def create(self, name: str, scopes: Collection[KeyScope], expires: datetime | None = None) -> str:
        """Add a key and return its secret, which is stored nowhere. A revoked key of that name is replaced.

        Raises:
            InputError: the name is taken or not allowed, or there are ``MAX_KEYS`` keys.
            ConfigurationError: see :meth:`read`.
        """
        secret = PREFIX + secrets.token_urlsafe(_KEY_BYTES)
        try:
            key = NamedKey(
                name=name,
                sha256=digest(secret.encode()).hex(),
                scopes=frozenset(scopes),
                created=datetime.now(UTC).replace(microsecond=0),
                expires=expires,
            )
        except ValidationError:
            raise InputError(
                f"key name: {name[:100]!r}; expected up to 64 letters, digits, dots, dashes and underscores, "
                "beginning with a letter or digit"
            ) from None
        with self._changing() as keys:
            if any(each.name == name and each.state != "revoked" for each in keys):
                raise InputError(
                    f"key name: {name} is taken; expected a new name. Run: sightline keys revoke {name}"
                )
            keys[:] = [each for each in keys if each.name != name]
            if len(keys) >= MAX_KEYS:
                raise InputError(f"{len(keys)} keys; expected at most {MAX_KEYS}")
            keys.append(key)
        return secret

    def revoke(self, name: str) -> None:
        """Refuse the key from now on. Its name stays in the file.

        Raises:
            InputError: there is no such key.
            ConfigurationError: see :meth:`read`.
        """
        with self._changing() as keys:
            for index, key in enumerate(keys):
                if key.name == name:
                    now = datetime.now(UTC).replace(microsecond=0)
                    keys[index] = key.model_copy(update={"revoked": key.revoked or now})
                    return
            raise InputError(f"unknown key: {name[:100]!r}; expected one of `sightline keys list`")

    @contextmanager
    def _changing(self) -> Iterator[list[NamedKey]]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path.with_name(f".{self.path.name}.lock"), timeout=_LOCK_TIMEOUT_S, mode=0o600)
        try:
            with lock:
                keys = list(self.read())
                yield keys
                self._write(keys)
        except Timeout:
            raise InputError(
                f"keys file {self.path}: locked by another command; expected it to end within "
                f"{_LOCK_TIMEOUT_S:g} s"
            ) from None

    def _write(self, keys: Collection[NamedKey]) -> None:
        contents = _Contents(keys=tuple(keys)).model_dump(mode="json")
        for key in contents["keys"]:
            key["scopes"].sort()
        known = self.path.stat() if self.path.exists() else None
        mode = stat.S_IMODE(known.st_mode) if known else 0o600
        descriptor, temporary = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(contents, file, indent=2)
                file.write("\n")
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(mode)
            if hasattr(os, "geteuid") and os.geteuid() == 0:
                # A service under a user of its own can still read what root wrote.
                owner = known or self.path.parent.stat()
                os.chown(temporary, owner.st_uid, owner.st_gid)
            Path(temporary).replace(self.path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


class KeyRing:
    """The keys that a server accepts: those of its settings, which may do everything, and the named ones.

    Every request looks whether the file has changed (one ``stat``, microseconds), so a revoked key is refused
    at once. If the file disappears or is damaged while the server runs, the keys that were read last stay in
    force, and an error is logged. Neither opens the server, and neither locks all clients out.

    Raises:
        ConfigurationError: a key that no header can carry, or a damaged file.
    """

    def __init__(self, own: Collection[SecretStr], file: KeyFile | None) -> None:
        self._own = [_unnamed(number, secret) for number, secret in enumerate(own, 1)]
        self._file = file
        self._named: list[tuple[bytes, NamedKey]] = []
        self._seen = None if file is None else _version(file.path)
        self._is_closed = bool(own) or self._seen is not None
        if file is not None and self._seen is not None:
            self._take(file.read())

    @classmethod
    def from_settings(cls, settings: Settings) -> KeyRing:
        """Return the keys of the settings and of the file they name."""
        return cls(settings.api_keys, KeyFile(settings.keys_file))

    @property
    def is_needed(self) -> bool:
        """Whether requests need a key: once there are keys, always."""
        self._reread()
        return self._is_closed

    def find(self, given: bytes) -> NamedKey | None:
        """Return the key that ``given`` is, also if it is expired or revoked.

        All keys are compared, so that the time tells nothing about them.
        """
        self._reread()
        wanted = digest(given)
        found = None
        for each, key in (*self._own, *self._named):
            if hmac.compare_digest(wanted, each):
                found = key
        return found

    def _reread(self) -> None:
        if self._file is None or (version := _version(self._file.path)) == self._seen:
            return
        self._seen = version
        try:
            if version is None:
                raise ConfigurationError(
                    f"keys file {self._file.path}: missing; expected the file read before"
                )
            self._take(self._file.read())
        except ConfigurationError as error:
            _log.error("%s. The keys read before stay in force", error)
            return
        self._is_closed = True
        _log.info("keys file read: %d keys", len(self._named))

    def _take(self, keys: Collection[NamedKey]) -> None:
        self._named = [(bytes.fromhex(key.sha256), key) for key in keys]


def digest(secret: bytes) -> bytes:
    """Return what is stored of a secret."""
    return hashlib.sha256(secret).digest()


def asks_for_keys(settings: Settings) -> bool:
    """Return whether a server with these settings needs a key for its protected routes."""
    return bool(settings.api_keys) or _version(settings.keys_file) is not None


def _version(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    except OSError:
        return (0, 0, 0)  # there, and reading it says what is wrong
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def _unnamed(number: int, secret: SecretStr) -> tuple[bytes, NamedKey]:
    plain = secret.get_secret_value()
    if not (plain.isascii() and plain.isprintable()) or not plain or " " in plain:
        raise ConfigurationError("an API key must be printable ASCII without spaces")
    hashed = digest(plain.encode("ascii"))
    # No name in the file begins with "#".
    key = NamedKey.model_construct(
        name=f"#{number}",
        sha256=hashed.hex(),
        scopes=frozenset(KeyScope),
        created=datetime.now(UTC),
        expires=None,
        revoked=None,
    )
    return hashed, key
