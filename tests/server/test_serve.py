"""The server as a process: starting, refusing to start, and stopping without dropping anybody."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import psutil
import pytest
from PIL import Image

SIGHTLINE = str(Path(sys.executable).with_name("sightline"))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def environment(models_dir, **changes):
    return {
        **os.environ,
        "SIGHTLINE_MODELS_DIR": str(models_dir),
        "SIGHTLINE_OFFLINE": "1",
        "SIGHTLINE_ALLOW_RANDOM_WEIGHTS": "1",
        "SIGHTLINE_PRELOAD": "mtcnn,clip-vit-b-32",
        **changes,
    }


class Process:
    def __init__(self, env):
        self.port = free_port()
        self.process = subprocess.Popen(
            [SIGHTLINE, "serve", "--port", str(self.port)], env=env, stderr=subprocess.PIPE, text=True
        )
        self.client = httpx2.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=20, trust_env=False)

    def wait_for(self, path, status, within_s=30.0):
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.process.stderr.read()
            try:
                if self.client.get(path).status_code == status:
                    return
            except httpx2.TransportError:
                pass
            time.sleep(0.05)
        raise AssertionError(f"{path} never answered {status}")

    def wait_for_connections(self, count, within_s=30.0):
        """Wait until so many connections are open, the one that asks included."""
        deadline = time.monotonic() + within_s
        while f"sightline_http_connections {count}.0" not in self.client.get("/metrics").text:
            assert time.monotonic() < deadline, "not so many connections"
            time.sleep(0.02)

    def close(self):
        self.client.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stderr.close()


@pytest.fixture
def started(models_dir):
    processes = []

    def start(**changes):
        processes.append(Process(environment(models_dir, **changes)))
        return processes[-1]

    yield start
    for process in processes:
        process.close()


def test_it_becomes_ready_when_the_preloaded_models_are(started):
    server = started()
    server.wait_for("/livez", 200)
    server.wait_for("/readyz", 200)
    body = server.client.get("/readyz").json()
    assert body["models"]["mtcnn"] == "ready"
    assert body["models"]["clip-vit-l-14"] == "missing"


def test_it_is_not_ready_while_a_preloaded_model_is_missing(started):
    server = started(SIGHTLINE_PRELOAD="clip-vit-l-14")
    server.wait_for("/livez", 200)
    assert server.client.get("/readyz").status_code == 503


def test_terminated_it_is_unready_at_once_serves_on_and_exits_with_zero(started):
    server = started(SIGHTLINE_LAME_DUCK_S="1.5")
    server.wait_for("/readyz", 200)
    server.process.send_signal(signal.SIGTERM)
    server.wait_for("/readyz", 503, within_s=1.0)
    assert server.client.get("/livez").status_code == 200
    assert server.process.wait(timeout=10) == 0


def test_requests_under_way_are_answered(started, portrait):
    server = started(SIGHTLINE_LAME_DUCK_S="0.5")
    server.wait_for("/readyz", 200)
    files = [("image", ("a.jpg", portrait, "image/jpeg"))] * 8
    statuses = []

    def ask():
        url = f"http://127.0.0.1:{server.port}/v1/analyze"
        statuses.append(httpx2.post(url, files=files, timeout=30, trust_env=False).status_code)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    server.wait_for_connections(1 + len(threads))
    server.process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join()
    assert server.process.wait(timeout=25) == 0
    assert statuses == [200] * 4


def test_interrupted_it_skips_the_lame_duck(started):
    server = started(SIGHTLINE_LAME_DUCK_S="60")
    server.wait_for("/livez", 200)
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(timeout=10) == 0


def test_second_signal_ends_the_lame_duck(started):
    server = started(SIGHTLINE_LAME_DUCK_S="60")
    server.wait_for("/livez", 200)
    server.process.send_signal(signal.SIGTERM)
    server.wait_for("/readyz", 503)
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(timeout=10) == 0


STUCK = """
import asyncio
import time

from sightline.operations import Answer, Operation, Params, Result, TimingGroup


class Done(Result):
    seconds: float


class Stuck(Operation[Params, Done]):
    name = "stuck"
    description = "Keeps a thread for two minutes, which nothing can end."
    needs = ()
    targets = ()
    default_target = None
    Params = Params
    Result = Done
    example = {}
    timing_group = TimingGroup.CLASSIFICATION

    async def run(self, scene, params, models):
        await asyncio.to_thread(time.sleep, 120)
        return Answer(Done(seconds=120), None, None)


OPERATIONS = (Stuck(),)
"""


@pytest.fixture
def stuck(started, tmp_path, portrait):
    """A server with two requests that do not end: a thread that is stuck, and an upload."""
    (tmp_path / "operations").mkdir()
    (tmp_path / "operations" / "stuck.py").write_text(STUCK)
    answers = {}

    def start(**changes):
        server = started(SIGHTLINE_PRELOAD="", SIGHTLINE_PLUGINS_DIR=str(tmp_path), **changes)
        server.wait_for("/livez", 200)

        def upload():
            yield portrait[:100]
            server.process.wait(60)

        def ask(path, content):
            url = f"http://127.0.0.1:{server.port}{path}"
            headers = {"content-type": "image/jpeg"}
            answers[path] = httpx2.post(url, content=content, headers=headers, timeout=60, trust_env=False)

        threads = [
            threading.Thread(target=ask, args=("/v1/operations/stuck", portrait)),
            threading.Thread(target=ask, args=("/v1/analyze", upload())),
        ]
        for thread in threads:
            thread.start()
        server.wait_for_connections(3)
        time.sleep(0.5)  # until their heads have come as well
        server.threads = threads
        return server

    start.answers = answers
    return start


def cut(server, answers):
    """Whether both requests were told that they are cut."""
    for thread in server.threads:
        thread.join(30)
    for answer in answers.values():
        assert answer.status_code == 503
        assert answer.json()["code"] == "shutting_down"
        assert answer.json()["request_id"] == answer.headers["x-request-id"]
        assert answer.headers["retry-after"] == "1"
        assert answer.headers["x-content-type-options"] == "nosniff"
    return len(answers) == 2


def test_what_is_not_finished_in_time_is_503_and_no_thread_keeps_the_process(stuck):
    server = stuck(SIGHTLINE_LAME_DUCK_S="0.2", SIGHTLINE_SHUTDOWN_GRACE_S="0.5")
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(timeout=30) == 0  # the thread would take two minutes
    assert cut(server, stuck.answers)
    log = server.process.stderr.read()
    assert "Traceback" not in log
    access = [json.loads(line) for line in log.splitlines() if '"sightline.access"' in line]
    routes = {line["route"] for line in access if line["status"] == 503}
    assert routes == {"/v1/operations/stuck", "/v1/analyze"}, access


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_at_once(stuck, second):
    server = stuck(SIGHTLINE_LAME_DUCK_S="600", SIGHTLINE_SHUTDOWN_GRACE_S="600")
    server.process.send_signal(signal.SIGTERM)
    server.wait_for("/readyz", 503)
    server.process.send_signal(second)
    assert server.process.wait(timeout=30) == 0
    assert cut(server, stuck.answers)


def test_public_address_without_a_key_is_refused(models_dir):
    done = subprocess.run(
        [SIGHTLINE, "serve", "--host", "0.0.0.0"],
        env=environment(models_dir),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 2
    assert "SIGHTLINE_API_KEYS" in done.stderr
    assert "Traceback" not in done.stderr


def test_unknown_preload_is_refused(models_dir):
    done = subprocess.run(
        [SIGHTLINE, "serve"],
        env=environment(models_dir, SIGHTLINE_PRELOAD="clup"),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 2
    assert "mtcnn" in done.stderr


def test_a_forwarded_address_is_believed_from_trusted_proxies_only(started):
    for trusted, second in (("", 429), ("127.0.0.0/8", 403)):
        server = started(
            SIGHTLINE_PRELOAD="", SIGHTLINE_GEOLOCATE_LIMITS="1/minute", SIGHTLINE_TRUSTED_PROXIES=trusted
        )
        server.wait_for("/livez", 200)
        codes = [
            server.client.post("/api/geolocate", headers={"X-Forwarded-For": address}).status_code
            for address in ("198.51.100.1", "198.51.100.2")
        ]
        assert codes == [403, second]


ANALYZE = "/v1/analyze?operation=embed_clip"
PNG, JPEG = {"content-type": "image/png"}, {"content-type": "image/jpeg"}


def as_png(side):
    buffer = io.BytesIO()
    Image.new("RGB", (side, side)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def decode_workers(server):
    children = psutil.Process(server.process.pid).children()
    return [child for child in children if any("decode_worker" in word for word in child.cmdline())]


def cpu_s(worker):
    return sum(worker.cpu_times()[:2])


def worker_in_the_middle_of(server, ask):
    """Start a request for a slow image; return its worker, stopped while it decodes."""
    server.client.post(ANALYZE, content=as_png(64), headers=PNG)
    before = {worker: cpu_s(worker) for worker in decode_workers(server)}
    ask.start()
    while True:
        assert ask.is_alive()
        for worker, used_s in before.items():
            if cpu_s(worker) > used_s + 0.04:
                worker.suspend()
                return worker
        time.sleep(0.002)


def test_a_crash_of_a_decoder_costs_its_image_and_no_other(started, portrait):
    server = started(SIGHTLINE_QUEUE_ITEMS="200", SIGHTLINE_LAME_DUCK_S="0")
    server.wait_for("/readyz", 200)
    slow, crashed = as_png(7000), []
    ask = threading.Thread(
        target=lambda: crashed.append(server.client.post(ANALYZE, content=slow, headers=PNG))
    )
    worker = worker_in_the_middle_of(server, ask)

    def good(_):
        return server.client.post(ANALYZE, content=portrait, headers=JPEG).status_code

    with ThreadPoolExecutor(99) as clients:
        answers = clients.map(good, range(99))
        worker.send_signal(signal.SIGSEGV)
        worker.resume()
        assert list(answers) == [200] * 99
    ask.join()
    assert crashed[0].status_code == 422
    assert crashed[0].json()["code"] == "decoding_ended"
    assert server.client.post(ANALYZE, content=slow, headers=PNG).status_code == 200


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_no_decode_worker_outlives_the_server(started, portrait, end):
    server = started(SIGHTLINE_LAME_DUCK_S="0")
    server.wait_for("/readyz", 200)
    server.client.post(ANALYZE, content=portrait, headers=JPEG)
    workers = decode_workers(server)
    assert workers
    server.process.send_signal(end)
    server.process.wait(timeout=20)
    assert psutil.wait_procs(workers, timeout=20)[1] == []
