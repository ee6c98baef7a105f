"""Tokens are good for half an hour, for one key, under any live secret, and for nothing else."""

from __future__ import annotations

import base64
import hashlib
import hmac
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from itsdangerous import URLSafeTimedSerializer
from pydantic import SecretStr

from sightline.server.csrf import CsrfTokens

KEY, OTHER_KEY = b"the-key", b"another-key"
OLD, NEW = SecretStr("old-secret"), SecretStr("new-secret")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    clock = SimpleNamespace(now=1_800_000_000.0)
    clock.time = lambda: clock.now
    monkeypatch.setattr("itsdangerous.timed.time", clock)
    monkeypatch.setattr("sightline.server.csrf.time", clock)
    return clock


def token(tokens: CsrfTokens, key: bytes = KEY) -> bytes:
    return tokens.issue(key).encode("ascii")


@pytest.mark.parametrize("key", [KEY, b""])
def test_what_was_issued_is_accepted_more_than_once(key: bytes) -> None:
    tokens = CsrfTokens([NEW])
    issued = token(tokens, key)
    assert tokens.accepts(issued, key)
    assert tokens.accepts(issued, key)


@pytest.mark.parametrize(
    ("age_s", "good"),
    [
        (0, True),
        (1799, True),
        (1800, True),
        (1801, False),
        (1e6, False),
        (-5, True),
        (-60, True),
        (-61, False),
    ],
)
def test_it_is_good_for_thirty_minutes_and_by_a_clock_a_minute_ahead(
    clock: SimpleNamespace, age_s: float, good: bool
) -> None:
    tokens = CsrfTokens([NEW])
    issued = token(tokens)
    clock.now += age_s
    assert tokens.accepts(issued, KEY) is good


def test_it_is_bound_to_its_key() -> None:
    tokens = CsrfTokens([NEW])
    assert not tokens.accepts(token(tokens), OTHER_KEY)
    assert not tokens.accepts(token(tokens), b"")
    assert not tokens.accepts(token(tokens, b""), KEY)


def test_secrets_rotate() -> None:
    before, during, after = CsrfTokens([OLD]), CsrfTokens([NEW, OLD]), CsrfTokens([NEW])
    old, new = token(before), token(during)
    assert during.accepts(old, KEY), "an old secret is accepted while it is listed"
    assert after.accepts(new, KEY), "the first secret signs"
    assert not before.accepts(new, KEY)
    assert not after.accepts(old, KEY), "a removed secret is refused"


def test_without_a_secret_each_process_has_its_own() -> None:
    first, second = CsrfTokens(), CsrfTokens()
    assert first.accepts(token(first), KEY)
    assert not second.accepts(token(first), KEY)


def test_a_token_of_another_service_with_the_same_secret_is_refused() -> None:
    foreign = URLSafeTimedSerializer(NEW.get_secret_value(), salt="csrf").dumps("csrf")
    assert not CsrfTokens([NEW]).accepts(foreign.encode(), KEY)


def test_every_changed_character_is_noticed() -> None:
    tokens = CsrfTokens([NEW])
    issued = token(tokens)
    for position, character in enumerate(issued[:-1]):
        changed = bytearray(issued)
        changed[position] = ord("A") if character != ord("A") else ord("B")
        assert not tokens.accepts(bytes(changed), KEY), position


@given(st.one_of(st.binary(max_size=300), st.text(alphabet="A.eyJ0", max_size=60).map(str.encode)))
def test_nothing_made_up_is_accepted_and_nothing_fails(made_up: bytes) -> None:
    assert not CsrfTokens([NEW]).accepts(made_up, KEY)


def test_the_signature_is_hmac_sha256_and_the_payload_says_nothing_of_the_key() -> None:
    payload, stamp, signature = token(CsrfTokens([NEW])).split(b".")
    assert base64.urlsafe_b64decode(payload + b"==") == b'"csrf"'
    salt = b"sightline.csrf." + hashlib.sha256(KEY).digest()
    derived = hmac.digest(b"new-secret", salt, "sha256")
    expected = hmac.digest(derived, payload + b"." + stamp, "sha256")
    assert base64.urlsafe_b64decode(signature + b"=") == expected
