"""Decoders that end and do not start again: the server says so, and recovers when they do."""

from __future__ import annotations

import os
import signal
import time

import httpx2
import pytest

from sightline.imaging import isolation
from sightline.runtime import analyzer

WAIT_S = 30.0
# A number of its own, so that this test has workers that no other test uses.
WORKERS = 3

pytestmark = pytest.mark.skipif(not isolation.is_supported(), reason="images are decoded in this process")


def until(client: httpx2.Client, status: int) -> dict[str, object]:
    deadline = time.monotonic() + WAIT_S
    while (answer := client.get("/readyz")).status_code != status:
        assert time.monotonic() < deadline, f"/readyz does not answer {status}: {answer.text}"
        time.sleep(0.02)
    found: dict[str, object] = answer.json()
    return found


def end_all() -> None:
    pool = isolation.workers(WORKERS)
    assert pool is not None
    for worker in list(pool._all):
        os.kill(worker._process.pid, signal.SIGKILL)
        worker._process.wait()


def test_decoders_that_end_are_replaced_unnoticed(serve, portrait: bytes) -> None:
    client = serve(decode_workers=WORKERS)
    end_all()
    answer = client.post("/v1/operations/detect_faces", files={"image": portrait}, timeout=60)
    assert answer.status_code == 200
    pool = isolation.workers(WORKERS)
    assert pool is not None
    deadline = time.monotonic() + WAIT_S
    while pool.needs_mending:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert until(client, 200)["decoders"] == "ok"


def test_decoders_that_do_not_start_make_the_server_not_ready(
    serve, portrait: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(analyzer, "MEND_AGAIN_S", 0.5)
    client = serve(decode_workers=WORKERS)
    until(client, 200)
    with monkeypatch.context() as broken:
        broken.setattr(isolation, "_PROGRAM", "raise SystemExit(3)")
        end_all()
        assert until(client, 503)["decoders"] != "ok"
        refused = client.post("/v1/operations/detect_faces", files={"image": portrait}, timeout=60)
        assert refused.json()["code"] == "decoding_ended"
    assert until(client, 200)["decoders"] == "ok"
    answer = client.post("/v1/operations/detect_faces", files={"image": portrait}, timeout=60)
    assert answer.status_code == 200
