"""Named keys: their file, and servers that read it."""

from __future__ import annotations

import json
import logging
import os
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest

from sightline.errors import ConfigurationError, InputError
from sightline.server.exposure import refuse_open_public_address
from sightline.server.keys import KeyFile, KeyScope, digest
from sightline.settings import Settings

EVERYTHING = tuple(KeyScope)


@pytest.fixture
def file(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "config" / "keys.json")


@pytest.fixture
def ask(serve, file: KeyFile):
    """A running server with the file, and the status and code that a key gets."""
    client: httpx2.Client = serve(keys_file=file.path)

    def asking(
        key: str | None = None, path: str = "/v1/operations", method: str = "GET"
    ) -> tuple[int, str | None]:
        answer = client.request(method, path, headers={} if key is None else {"X-API-Key": key})
        code = answer.json().get("code") if answer.status_code >= 400 else None
        return answer.status_code, code

    return asking


# -- the file ----------------------------------------------------------------------------------------------


def test_the_secret_is_stored_nowhere(file: KeyFile) -> None:
    secret = file.create("web", EVERYTHING)
    assert len(secret) >= 43, "256 bits in base64"
    written = file.path.read_text()
    assert secret not in written
    assert digest(secret.encode()).hex() in written
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600


def test_two_keys_differ(file: KeyFile) -> None:
    assert file.create("a", EVERYTHING) != file.create("b", EVERYTHING)


def test_a_name_is_taken_until_its_key_is_revoked(file: KeyFile) -> None:
    file.create("web", EVERYTHING)
    with pytest.raises(InputError):
        file.create("web", EVERYTHING)
    file.revoke("web")
    file.create("web", [KeyScope.METRICS])
    (key,) = file.read()
    assert (key.state, key.scopes) == ("active", {KeyScope.METRICS})


@pytest.mark.parametrize("name", ["", " ", "-x", "#1", "a b", "a/b", "a" * 65, "é", "a\n"])
def test_a_name_that_is_unsafe_in_logs_is_refused(file: KeyFile, name: str) -> None:
    with pytest.raises(InputError):
        file.create(name, EVERYTHING)
    assert not file.read()


def test_revoking_twice_keeps_the_first_moment_and_unknown_names_are_refused(file: KeyFile) -> None:
    file.create("web", EVERYTHING)
    file.revoke("web")
    before = file.read()
    file.revoke("web")
    assert file.read() == before
    with pytest.raises(InputError):
        file.revoke("other")


def test_commands_at_the_same_time_lose_no_key(file: KeyFile) -> None:
    names = [f"key-{number}" for number in range(12)]
    with ThreadPoolExecutor(6) as threads:
        list(threads.map(lambda name: KeyFile(file.path).create(name, EVERYTHING), names))
    assert {key.name for key in file.read()} == set(names)


def test_a_change_keeps_the_permissions_that_the_owner_gave(file: KeyFile) -> None:
    file.create("web", EVERYTHING)
    file.path.chmod(0o640)
    file.create("other", EVERYTHING)
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o640


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
def test_a_file_that_root_writes_belongs_to_the_owner_of_its_folder(file: KeyFile) -> None:
    file.path.parent.mkdir()
    os.chown(file.path.parent, 12345, 12345)
    for name in ("first", "second"):
        file.create(name, EVERYTHING)
        assert file.path.stat().st_uid == 12345


DAMAGED = [
    b"",
    b"{",
    b"\xff\xfe",
    b"[]",
    b'{"version": 2, "keys": []}',
    b'{"version": 1, "keys": [{"name": "a"}]}',
    b'{"version": 1, "keys": "a"}',
    b'{"version": 1, "keys": [], "more": 1}',
    b" " * 2_000_000,
]


@pytest.mark.parametrize("data", DAMAGED)
def test_a_damaged_file_is_an_error_and_is_not_overwritten(file: KeyFile, data: bytes) -> None:
    file.path.parent.mkdir()
    file.path.write_bytes(data)
    with pytest.raises(ConfigurationError):
        file.read()
    with pytest.raises(ConfigurationError):
        file.create("web", EVERYTHING)
    assert file.path.read_bytes() == data


def test_two_keys_of_one_name_are_damage(file: KeyFile) -> None:
    file.create("web", EVERYTHING)
    contents = json.loads(file.path.read_text())
    contents["keys"] *= 2
    file.path.write_text(json.dumps(contents))
    with pytest.raises(ConfigurationError):
        file.read()


# -- servers -----------------------------------------------------------------------------------------------


def test_a_key_is_accepted_and_revoked_without_a_restart(file: KeyFile, ask) -> None:
    assert ask() == (200, None), "no file, no key needed"
    secret = file.create("web", EVERYTHING)
    assert ask() == (401, "unauthorized")
    assert ask("sightline_wrong") == (401, "unauthorized")
    assert ask(secret) == (200, None)
    other = file.create("other", EVERYTHING)
    assert ask(other) == (200, None)
    file.revoke("web")
    assert ask(secret) == (401, "key_revoked")
    assert ask(other) == (200, None)
    file.revoke("other")
    assert ask() == (401, "unauthorized"), "no key left is not no key needed"
    assert ask(path="/livez") == (200, None)


def test_an_expired_key_is_refused(file: KeyFile, ask) -> None:
    past = file.create("past", EVERYTHING, datetime.now(UTC) - timedelta(seconds=1))
    future = file.create("future", EVERYTHING, datetime.now(UTC) + timedelta(hours=1))
    assert ask(past) == (401, "key_expired")
    assert ask(future) == (200, None)


SCOPES = [
    (KeyScope.ANALYZE, "GET", "/v1/operations"),
    (KeyScope.ANALYZE, "GET", "/v1/models"),
    (KeyScope.ANALYZE, "GET", "/available_operations/"),
    (KeyScope.COLLECTIONS, "GET", "/v1/collections"),
    (KeyScope.METRICS, "GET", "/metrics"),
    (KeyScope.ADMIN, "GET", "/v1/info"),
    (KeyScope.ADMIN, "POST", "/v1/models/none/load"),
]


@pytest.mark.parametrize(("needed", "method", "path"), SCOPES)
def test_a_key_is_good_for_the_routes_of_its_scopes(
    file: KeyFile, ask, needed: KeyScope, method: str, path: str
) -> None:
    fitting = file.create("fitting", [needed])
    others = file.create("others", set(KeyScope) - {needed})
    assert ask(fitting, path, method)[0] not in (401, 403)
    status, code = ask(others, path, method)
    assert status == 403
    assert code == ("scope_missing" if path.startswith("/v1") else None)


def test_keys_of_the_settings_go_on_to_work_and_may_do_everything(serve, file: KeyFile) -> None:
    named = file.create("web", [KeyScope.ANALYZE])
    client: httpx2.Client = serve(keys_file=file.path, api_keys=("old-key",))
    for needed, method, path in SCOPES:
        answer = client.request(method, path, headers={"Authorization": "Bearer old-key"})
        assert answer.status_code not in (401, 403), needed
    assert client.get("/v1/operations", headers={"X-API-Key": named}).status_code == 200


@pytest.mark.parametrize("damage", [b"{", None])
def test_damage_to_the_file_while_serving_changes_nothing_and_is_logged(
    file: KeyFile, ask, damage: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    secret = file.create("web", EVERYTHING)
    assert ask(secret) == (200, None)
    if damage is None:
        file.path.unlink()
    else:
        file.path.write_bytes(damage)
    with caplog.at_level(logging.ERROR):
        assert ask(secret) == (200, None)
        assert ask() == (401, "unauthorized")
    errors = [record for record in caplog.records if record.name == "sightline.server.keys"]
    assert len(errors) == 1, "once, not with every request"


def test_a_server_does_not_start_with_a_damaged_file(serve, file: KeyFile) -> None:
    file.path.parent.mkdir()
    file.path.write_bytes(b"{")
    with pytest.raises(ConfigurationError):
        serve(keys_file=file.path)


def test_the_log_names_the_key_and_does_not_have_it(
    file: KeyFile, ask, caplog: pytest.LogCaptureFixture
) -> None:
    secret = file.create("web", [KeyScope.METRICS])
    with caplog.at_level(logging.INFO, "sightline.access"):
        ask(secret, "/metrics")
        ask(secret, "/v1/info")
        while len(caplog.records) < 2:  # a line is written after the client has its answer
            time.sleep(0.01)
    lines = [record.fields for record in caplog.records if record.name == "sightline.access"]  # type: ignore[attr-defined]
    assert [(line["status"], line["key"]) for line in lines] == [(200, "web"), (403, "web")]
    assert secret not in str(lines)


def test_each_key_has_its_own_rate(serve, file: KeyFile) -> None:
    first, second = file.create("first", EVERYTHING), file.create("second", EVERYTHING)
    client: httpx2.Client = serve(keys_file=file.path, key_rate_limits=("/v1=2/minute",))
    for secret in (first, second):
        got = [client.get("/v1/operations", headers={"X-API-Key": secret}).status_code for _ in range(3)]
        assert got == [200, 200, 429]


def test_named_keys_allow_a_public_address(file: KeyFile) -> None:
    settings = Settings(host="0.0.0.0", keys_file=file.path)
    with pytest.raises(ConfigurationError):
        refuse_open_public_address(settings)
    file.create("web", EVERYTHING)
    refuse_open_public_address(settings)


def test_each_key_is_a_caller_of_its_own_in_the_lanes(serve, tmp_path, portrait: bytes) -> None:
    """What a key holds in a lane is counted by its name; without a key all are one caller."""
    keys = KeyFile(tmp_path / "keys.json")
    secrets = [keys.create(name, [KeyScope.ANALYZE]) for name in ("one", "two")]
    plugins = tmp_path / "plugins" / "operations"
    plugins.mkdir(parents=True)
    (plugins / "who.py").write_text(WHO)
    client = serve(keys_file=keys.path, plugins_dir=tmp_path / "plugins")
    answers = [
        client.post("/v1/operations/who", files={"image": portrait}, headers={"X-API-Key": secret}).json()
        for secret in (*secrets, secrets[0])
    ]
    assert [each["images"][0]["results"]["who"]["data"]["caller"] for each in answers] == [
        "one",
        "two",
        "one",
    ]


WHO = """
from sightline.operations import Answer, Operation, Params, Result, TimingGroup
from sightline.runtime.fairness import CALLER

class Who(Result):
    caller: str

class WhoOperation(Operation):
    name = "who"
    description = "Says who asks."
    needs = ()
    Params = Params
    Result = Who
    example = {}
    timing_group = TimingGroup.DETECTION

    async def run(self, scene, params, models):
        return Answer(Who(caller=CALLER.get()))

OPERATIONS = (WhoOperation(),)
"""
