"""A real Prometheus scrapes a real server and evaluates every alert rule and every query of the dashboard."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import yaml

from sightline.settings import Settings

DEPLOY = Path(__file__).parents[2] / "deploy"
MONITORING = DEPLOY / "monitoring"
KEY = "a-key-for-monitoring"


class Prometheus:
    def __init__(self, url: str) -> None:
        self.url = url

    def api(self, path: str, **query: str) -> Any:
        address = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(address, timeout=10) as response:
            answer = json.load(response)
        assert answer["status"] == "success"
        return answer["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        result: list[dict[str, Any]] = self.api("query", query=expression)["result"]
        return result


@pytest.fixture(scope="module")
def prometheus(
    models_dir: Path,
    server_at: Callable[[Settings], AbstractContextManager[str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Prometheus]:
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not installed; on Debian: apt-get install prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    settings = Settings(_env_file=None, models_dir=models_dir, offline=True, api_keys=KEY, rehearse=True)
    with server_at(settings) as server:
        config = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
        config["global"] |= {"scrape_interval": "1s", "evaluation_interval": "1s"}
        (job,) = config["scrape_configs"]
        job["static_configs"] = [{"targets": [server.removeprefix("http://")]}]
        job["authorization"]["credentials_file"] = str(folder / "key")
        (folder / "key").write_text(KEY)
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        shutil.copy(MONITORING / "alerts.yml", folder)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        process = subprocess.Popen(
            [
                program,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={address}",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            found = Prometheus(f"http://{address}")
            _until(lambda: found.query("sightline_build_info"))
            yield found
        finally:
            process.terminate()
            process.wait(30)


def _until(holds: Callable[[], object]) -> None:
    """Wait until ``holds`` is true; pytest's own timeout ends a wait that never is."""
    while True:
        try:
            if holds():
                return
        except OSError:
            pass
        time.sleep(0.2)


def test_it_scrapes_the_server_with_its_key(prometheus: Prometheus) -> None:
    (target,) = prometheus.api("targets")["activeTargets"]
    assert target["health"] == "up", target["lastError"]


def test_every_alert_rule_is_evaluated_and_none_fires_on_a_healthy_server(prometheus: Prometheus) -> None:
    written = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"][0]["rules"]

    def rules() -> list[dict[str, Any]]:
        (group,) = prometheus.api("rules")["groups"]
        found: list[dict[str, Any]] = group["rules"]
        return found

    _until(lambda: all(rule["health"] != "unknown" for rule in rules()))
    assert [rule["name"] for rule in rules()] == [rule["alert"] for rule in written]
    for rule in rules():
        assert rule["health"] == "ok", rule.get("lastError")
        assert rule["state"] == "inactive", rule["name"]


def test_every_query_of_the_dashboard_is_understood(prometheus: Prometheus) -> None:
    dashboard = json.loads((MONITORING / "grafana/sightline.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            expression = target["expr"].replace("$instance", ".*").replace("$__rate_interval", "1m")
            prometheus.query(expression)


def test_rules_and_dashboard_use_only_metrics_that_the_server_has(prometheus: Prometheus) -> None:
    text = (MONITORING / "alerts.yml").read_text() + (MONITORING / "grafana/sightline.json").read_text()
    used = set(re.findall(r"\b(?:sightline|process)_\w+", text)) - {"sightline_key"}
    _until(lambda: prometheus.query("sightline_http_requests_total"))
    known = set(prometheus.api("label/__name__/values"))
    known |= {name.rpartition("_")[0] for name in known}  # advice in an alert names a histogram as a whole
    assert used - known == set()
