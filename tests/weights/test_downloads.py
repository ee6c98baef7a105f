from __future__ import annotations

import random
import time
from email.utils import formatdate

import pytest

from sightline.errors import (
    ConfigurationError,
    DigestMismatch,
    OfflineRefused,
    SourceMissing,
    SourceUnreachable,
    WeightsError,
)
from sightline.weights.downloads import Downloads, Expected
from sightline.weights.sources import HubFile, UrlFile, silent

DATA = random.Random(1).randbytes(300_000)
FILE = HubFile("org/repo", "onnx/model.onnx", "abc123")


@pytest.fixture
def place(hub):
    return hub.put("onnx/model.onnx", DATA, revision="abc123")


@pytest.fixture
def downloads(hub, hasty):
    with Downloads(hub_endpoint=hub.url, hub_token="hf_secret", offline=False, patience=hasty) as session:
        yield session


@pytest.fixture
def fetch(downloads, tmp_path):
    def run(source=FILE, expected=Expected(), report=silent, session=downloads):  # noqa: B008
        return session.fetch(source, tmp_path / "file", expected, "model.onnx", report)

    return run


def test_a_file_arrives_with_its_digest_and_progress(fetch, hub, place, tmp_path, sha256):
    told = []
    assert fetch(report=lambda *args: told.append(args)) == sha256(DATA)
    assert (tmp_path / "file").read_bytes() == DATA
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert told[0] == ("model.onnx", 0, len(DATA))
    assert told[-1] == ("model.onnx", len(DATA), len(DATA))
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    assert hub.seen[0].headers["accept-encoding"] == "identity"


def test_odd_characters_in_a_hub_path_are_quoted(fetch, hub, sha256):
    hub.files["/org/repo/resolve/refs%2Fpr%2F1/a%20b%23c.bin"] = b"odd"
    assert fetch(HubFile("org/repo", "a b#c.bin", "refs/pr/1")) == sha256(b"odd")


def test_an_empty_file_is_a_file(fetch, hub, tmp_path):
    hub.put("empty", b"")
    fetch(HubFile("org/repo", "empty"))
    assert (tmp_path / "file").read_bytes() == b""


def test_the_token_goes_to_the_hub_only(fetch, hub, place, start_hub, sha256):
    storage = start_hub()
    storage.files["/blob"] = DATA
    moved = "/org/renamed/resolve/abc123/onnx/model.onnx"
    hub.redirects = {place: moved, moved: f"{storage.url}/blob"}
    assert fetch() == sha256(DATA)
    assert [request.headers.get("authorization") for request in hub.seen] == ["Bearer hf_secret"] * 2
    assert "authorization" not in storage.seen[0].headers


def test_the_token_is_not_sent_for_a_url_even_at_the_hub(fetch, hub):
    hub.files["/file"] = DATA
    fetch(UrlFile(f"{hub.url}/file"))
    assert "authorization" not in hub.seen[0].headers


def test_a_broken_transfer_continues_where_it_was(fetch, hub, place, fault, sha256):
    hub.faults[place] = fault(drops=1, drop_at=100_000)
    assert fetch() == sha256(DATA)
    first, second = hub.seen
    assert second.headers["range"] == "bytes=100000-"
    assert second.headers["if-range"].startswith('"')
    assert (second.status, first.sent + second.sent) == (206, len(DATA))


def test_every_new_byte_renews_the_patience(fetch, hub, place, fault, sha256):
    hub.faults[place] = fault(drops=1, drop_at=1000)
    places = iter(range(20_000, 300_000, 20_000))

    def report(label, done, total):
        if hub.faults[place].drops == 0 and (drop_at := next(places, None)):
            hub.faults[place].drops, hub.faults[place].drop_at = 1, drop_at

    assert fetch(report=report) == sha256(DATA)
    assert len(hub.seen) > 3


def test_a_second_session_continues_the_first_ones_file(fetch, hub, place, fault, hasty, sha256):
    hub.faults[place] = fault(drops=99, drop_at=200_000)
    with pytest.raises(SourceUnreachable, match="breaks off"):
        fetch()
    hub.seen.clear()
    with Downloads(hub_endpoint=hub.url, hub_token=None, offline=False, patience=hasty) as session:
        hub.faults.clear()
        assert fetch(session=session) == sha256(DATA)
    assert [request.sent for request in hub.seen] == [100_000]


def test_a_file_that_changed_in_between_starts_again(fetch, hub, place, fault, sha256):
    hub.faults[place] = fault(drops=99, drop_at=200_000)
    with pytest.raises(SourceUnreachable):
        fetch()
    hub.faults.clear()
    hub.files[place] = DATA[::-1]
    assert fetch() == sha256(DATA[::-1])


def test_a_pinned_file_resumed_into_a_changed_one_starts_again(fetch, hub, place, fault, sha256):
    """Without a strong validator the server may append the end of another file; the digest notices."""
    hub.faults[place] = fault(drops=99, drop_at=200_000, weak=True)
    hub.files[place] = DATA[::-1]
    with pytest.raises(SourceUnreachable):
        fetch(expected=Expected(sha256(DATA)))
    hub.files[place] = DATA
    hub.faults.clear()
    hub.seen.clear()
    assert fetch(expected=Expected(sha256(DATA))) == sha256(DATA)
    assert [request.status for request in hub.seen] == [206, 200]


def test_without_validator_or_digest_nothing_is_resumed(fetch, hub, place, fault, sha256):
    hub.faults[place] = fault(drops=1, drop_at=200_000, weak=True)
    assert fetch() == sha256(DATA)
    assert "range" not in hub.seen[1].headers


def test_a_server_without_ranges_starts_again(fetch, hub, place, fault, sha256):
    hub.faults[place] = fault(drops=1, drop_at=200_000, no_ranges=True)
    assert fetch() == sha256(DATA)
    assert [request.status for request in hub.seen] == [200, 200]


def test_a_wrong_range_is_not_believed(fetch, hub, place, fault, sha256):
    hub.faults[place] = fault(drops=1, drop_at=200_000, shifted_range=True)
    assert fetch() == sha256(DATA)
    assert [request.status for request in hub.seen] == [200, 206, 200]


def test_a_complete_part_needs_no_request(fetch, hub, place, tmp_path, sha256, monkeypatch):
    """The process died between the last byte and the rename."""
    monkeypatch.setattr("pathlib.Path.replace", _fails_for_finished_files(tmp_path / "file"))
    with pytest.raises(OSError, match="died"):
        fetch()
    monkeypatch.undo()
    hub.seen.clear()
    assert fetch() == sha256(DATA)
    assert hub.seen == []


def _fails_for_finished_files(target):
    from pathlib import Path

    replace = Path.replace

    def wrapped(self, other):
        if other == target:
            raise OSError("died")
        return replace(self, other)

    return wrapped


def test_a_part_beyond_the_end_starts_again(fetch, hub, place, tmp_path, sha256):
    (tmp_path / "file.part").write_bytes(DATA + b"more")
    assert fetch(expected=Expected(sha256(DATA))) == sha256(DATA)
    assert [request.status for request in hub.seen] == [416, 200]


@pytest.mark.parametrize("notes", [b"", b"{", b"[]", b'{"validator": 1, "total": "x", "announced": 3}'])
def test_unreadable_notes_are_no_notes(fetch, hub, place, tmp_path, sha256, notes):
    (tmp_path / "file.part").write_bytes(b"rubbish")
    (tmp_path / "file.part.json").write_bytes(notes)
    assert fetch() == sha256(DATA)
    assert "range" not in hub.seen[0].headers


def test_a_chunked_answer_that_breaks_off_is_not_taken_for_whole(fetch, hub, place, fault, sha256):
    hub.faults[place] = fault(drops=1, drop_at=200_000, chunked=True)
    assert fetch() == sha256(DATA)
    assert len(hub.seen) == 2


@pytest.mark.parametrize("expected", [Expected("0" * 64), Expected("0" * 64, len(DATA)), Expected(None, 17)])
def test_wrong_bytes_are_thrown_away(fetch, hub, place, tmp_path, expected):
    with pytest.raises(DigestMismatch, match="instead of"):
        fetch(expected=expected)
    assert list(tmp_path.iterdir()) == []
    assert len(hub.seen) == 1


def test_the_digest_decides_where_it_is_known(fetch, place, sha256):
    assert fetch(expected=Expected(sha256(DATA), size_bytes=17)) == sha256(DATA)


def test_the_hubs_announced_digest_is_checked(fetch, hub, place, start_hub, tmp_path):
    storage = start_hub()
    storage.files["/blob"] = DATA
    hub.redirects[place] = f"{storage.url}/blob"
    hub.linked[place] = "1" * 64
    with pytest.raises(DigestMismatch):
        fetch()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("status", "error", "message"),
    [
        (404, SourceMissing, r"no such file \(404\)"),
        (410, SourceMissing, r"no such file \(410\)"),
        (401, SourceMissing, r"access refused \(401\): accept the licence .* set SIGHTLINE_HUB_TOKEN"),
        (403, SourceMissing, "access refused"),
        (429, SourceUnreachable, "answered 429"),
        (503, SourceUnreachable, "answered 503"),
    ],
)
def test_statuses(fetch, hub, place, fault, status, error, message):
    hub.faults[place] = fault(status=status)
    with pytest.raises(error, match=message):
        fetch()
    assert len(hub.seen) == (1 if error is SourceMissing else 3)


def test_a_passing_503_is_retried(fetch, hub, place, fault, sha256, monkeypatch):
    hub.faults[place] = fault(status=503)
    monkeypatch.setattr("sightline.weights.downloads.time.sleep", lambda _: hub.faults.clear())
    assert fetch() == sha256(DATA)


def test_a_compressed_answer_is_refused(fetch, hub, place, fault):
    hub.faults[place] = fault(gzip=True)
    with pytest.raises(SourceUnreachable, match="compressed"):
        fetch()


def test_a_server_that_hangs_is_given_up(fetch, hub, place, fault):
    hub.faults[place] = fault(hang=True)
    began = time.monotonic()
    with pytest.raises(SourceUnreachable, match="did not answer"):
        fetch()
    assert time.monotonic() - began < 4


def test_an_unreachable_hub_answers_in_seconds_and_only_once(closed_port, tmp_path):
    """With the real patience: this is what a user without a network waits for."""
    with Downloads(hub_endpoint=closed_port, hub_token=None, offline=False) as session:
        took_s = []
        for _ in range(2):
            began = time.monotonic()
            with pytest.raises(SourceUnreachable, match="did not answer"):
                session.fetch(FILE, tmp_path / "file", Expected(), "x", silent)
            took_s.append(time.monotonic() - began)
    assert took_s[0] < 6
    assert took_s[1] < 0.2, "the first attempt pauses 0.4 s before it gives up"


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://x:y/", "/loop"])
def test_redirects_to_nowhere(fetch, hub, place, target):
    hub.redirects = {place: target, "/loop": "/loop"}
    with pytest.raises(SourceMissing, match="redirects"):
        fetch()
    assert len(hub.seen) <= 6


def test_a_full_disk_is_told_before_the_download(fetch, hub, place, monkeypatch, tmp_path):
    class Usage:
        free = 64 * 1024 * 1024 + 1000

    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage)
    with pytest.raises(WeightsError, match=r"0\.3 MB needed, 0\.0 MB free"):
        fetch()
    assert sum(path.stat().st_size for path in tmp_path.glob("*.part")) == 0
    hub.seen.clear()
    with pytest.raises(WeightsError, match="not enough disk space"):
        fetch(expected=Expected(None, len(DATA)))
    assert hub.seen == []


def test_offline_opens_no_socket(hub, tmp_path, no_sockets):
    with (
        Downloads(hub_endpoint=hub.url, hub_token=None, offline=True) as session,
        pytest.raises(OfflineRefused),
    ):
        session.fetch(FILE, tmp_path / "file", Expected(), "x", silent)
    assert no_sockets == []


@pytest.mark.parametrize("endpoint", ["huggingface.co", "file:///x", "", "http://x:y"])
def test_an_endpoint_that_is_no_url_is_a_configuration_error(endpoint):
    with pytest.raises(ConfigurationError):
        Downloads(hub_endpoint=endpoint, hub_token=None, offline=False)


def test_messages_hold_no_credentials(tmp_path, closed_port, hasty):
    endpoint = closed_port.replace("//", "//user:hunter2@")
    session = Downloads(hub_endpoint=endpoint, hub_token="hf_secret", offline=False, patience=hasty)
    with session, pytest.raises(SourceUnreachable) as caught:
        session.fetch(FILE, tmp_path / "file", Expected(), "x", silent)
    assert "hunter2" not in str(caught.value)
    assert "hf_secret" not in str(caught.value)


PAGE = b"\n<!DOCTYPE html>\n<html><body>Sign in</body></html>"


@pytest.mark.parametrize("content_type", ["text/html; charset=utf-8", "application/octet-stream"])
def test_a_web_page_is_not_a_file(fetch, hub, place, fault, tmp_path, content_type):
    hub.files[place] = PAGE
    hub.faults[place] = fault(headers={"Content-Type": content_type})
    with pytest.raises(SourceMissing, match="web page instead of the file") as raised:
        fetch()
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "file").exists()
    hub.files[place], hub.faults = DATA, {}
    fetch()


def test_a_redirect_to_a_login_page_is_one_line(fetch, hub, place, start_hub):
    other = start_hub()
    other.files["/account/login?next=/model"] = PAGE
    hub.redirects[place] = f"{other.url}/account/login?next=/model"
    with pytest.raises(SourceMissing, match="may ask for a login"):
        fetch()
    assert "authorization" not in other.seen[0].headers


def test_xml_that_is_a_file_is_fetched(fetch, hub, place, sha256):
    hub.files[place] = b"<taxonomy/>"
    assert fetch() == sha256(b"<taxonomy/>")


@pytest.mark.parametrize("status", [401, 403])
def test_a_gated_file_says_how_to_get_it(fetch, hub, place, fault, status):
    hub.faults[place] = fault(status=status, headers={"X-Error-Code": "GatedRepo"})
    with pytest.raises(SourceMissing, match=rf"\({status}\).*licence.*SIGHTLINE_HUB_TOKEN"):
        fetch()
    assert len(hub.seen) == 1


@pytest.mark.parametrize("code", ["RepoNotFound", "EntryNotFound", "RevisionNotFound"])
def test_what_the_hub_does_not_have_is_not_called_gated(fetch, hub, place, fault, code):
    hub.faults[place] = fault(status=401, headers={"X-Error-Code": code})
    with pytest.raises(SourceMissing, match="no such file"):
        fetch()


@pytest.mark.parametrize("status", [429, 503])
def test_a_pause_that_the_server_asks_for_is_made(fetch, hub, place, fault, sha256, monkeypatch, status):
    pauses = []
    monkeypatch.setattr("time.sleep", pauses.append)
    hub.faults[place] = fault(status=status, times=2, headers={"Retry-After": "7"})
    assert fetch() == sha256(DATA)
    assert pauses == [7.0, 7.0]


def test_a_pause_may_be_asked_for_as_a_date(fetch, hub, place, fault, sha256, monkeypatch):
    pauses = []
    monkeypatch.setattr("time.sleep", pauses.append)
    when = formatdate(time.time() + 30, usegmt=True)
    hub.faults[place] = fault(status=429, times=1, headers={"Retry-After": when})
    assert fetch() == sha256(DATA)
    assert 0 < pauses[0] <= 30


def test_a_longer_pause_is_said_and_not_made(fetch, hub, place, fault, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail("it waited"))
    hub.faults[place] = fault(status=429, headers={"Retry-After": "3600"})
    with pytest.raises(SourceUnreachable, match=r"429 and asks to wait 3,600 s"):
        fetch()
    assert len(hub.seen) == 1


def test_a_pause_that_cannot_be_read_is_our_own(fetch, hub, place, fault, sha256, monkeypatch):
    pauses = []
    monkeypatch.setattr("time.sleep", pauses.append)
    hub.faults[place] = fault(status=429, times=1, headers={"Retry-After": "soon"})
    assert fetch() == sha256(DATA)
    assert pauses == [0.01]


def test_another_file_is_noticed_before_it_is_downloaded(fetch, hub, place, start_hub, sha256, tmp_path):
    storage = start_hub()
    storage.files["/blob"] = DATA
    hub.redirects[place], hub.linked[place] = f"{storage.url}/blob", "0" * 64
    with pytest.raises(DigestMismatch, match="the hub has another file"):
        fetch(expected=Expected(sha256(DATA)))
    assert list(tmp_path.iterdir()) == []


def test_other_hosts_have_a_mirror(fetch, hub, hasty, start_hub, sha256):
    mirror = start_hub()
    mirror.files["/m/files.example:8443/a/b%20c.bin?download=1"] = DATA
    with Downloads(
        hub_endpoint=hub.url, hub_token="hf_secret", offline=False, mirror=f"{mirror.url}/m/", patience=hasty
    ) as session:
        digest = fetch(UrlFile("https://files.example:8443/a/b%20c.bin?download=1"), session=session)
    assert digest == sha256(DATA)
    assert "authorization" not in mirror.seen[0].headers
    assert hub.seen == []


def test_the_hub_has_no_other_mirror(fetch, hub, place, hasty, closed_port, sha256):
    with Downloads(
        hub_endpoint=hub.url, hub_token=None, offline=False, mirror=closed_port, patience=hasty
    ) as session:
        assert fetch(session=session) == sha256(DATA)


@pytest.mark.parametrize("mirror", ["http://mirror.example", "ftp://127.0.0.1", "mirror.example", "http://"])
def test_a_mirror_that_could_be_listened_to_is_refused(mirror):
    with pytest.raises(ConfigurationError):
        Downloads(hub_endpoint="https://hub.example", hub_token=None, offline=False, mirror=mirror)


@pytest.mark.parametrize("mirror", ["https://mirror.example/x", "http://localhost:8081", "http://[::1]:80"])
def test_a_mirror_on_this_machine_may_use_http(mirror):
    Downloads(hub_endpoint="https://hub.example", hub_token=None, offline=False, mirror=mirror)
