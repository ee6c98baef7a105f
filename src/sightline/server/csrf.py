"""CSRF tokens: signed, dated, and worth nothing without the API key they were issued for."""

from __future__ import annotations

import hashlib
import secrets as randomness
import time
from collections.abc import Sequence

from itsdangerous import BadData, URLSafeTimedSerializer
from pydantic import SecretStr

# "Tokens are HMAC-SHA256 signed and expire after 30 minutes": the geoclip-service contract.
MAX_AGE_S = 30 * 60
# Another process behind the same address may have issued the token, by a clock that is ahead.
MAX_CLOCK_LEAD_S = 60
_SALT = b"sightline.csrf."


class CsrfTokens:
    """Issues tokens and judges them. Nothing is stored: a token is good until it is ``MAX_AGE_S`` old.

    ``secrets`` come newest first: the first signs, each of them is accepted, so that a secret can be replaced
    without refusing tokens under way. Without any, tokens end with this process.
    """

    def __init__(self, secrets: Sequence[SecretStr] = ()) -> None:
        given = [secret.get_secret_value().encode() for secret in secrets]
        # itsdangerous wants the newest last.
        self._secrets = given[::-1] or [randomness.token_bytes(32)]

    def issue(self, key: bytes) -> str:
        """A token for the holder of ``key``; ``b""`` where no key is asked for."""
        token = self._serializer(key).dumps("csrf")
        return token if isinstance(token, str) else token.decode("ascii")

    def accepts(self, token: bytes, key: bytes) -> bool:
        """Whether ``token`` was issued here, for ``key``, and not too long ago. Compared in constant time."""
        try:
            _, issued = self._serializer(key).loads(token, return_timestamp=True)
        except BadData:
            return False
        age_s = int(time.time()) - int(issued.timestamp())  # whole seconds, as in the token
        return -MAX_CLOCK_LEAD_S <= age_s <= MAX_AGE_S

    def _serializer(self, key: bytes) -> URLSafeTimedSerializer:
        """The key's digest is part of the salt, not of the payload: nobody can try out keys on a token."""
        return URLSafeTimedSerializer(
            self._secrets,
            salt=_SALT + hashlib.sha256(key).digest(),
            signer_kwargs={"digest_method": hashlib.sha256, "key_derivation": "hmac"},
        )
