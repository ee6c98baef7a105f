"""The files of deploy/ are accepted by the tools that read them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from sightline.settings import Settings, described, unused_variables

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILES = [DEPLOY / "Dockerfile", DEPLOY / "Dockerfile.cuda", DEPLOY / "huggingface/Dockerfile"]
# compose.yaml reads these itself.
CONTAINER_VARIABLES = {
    "SIGHTLINE_PUBLISHED_PORT",
    "SIGHTLINE_MEMORY",
    "SIGHTLINE_METRICS_KEY",
    "GRAFANA_PASSWORD",
}


def tool(name: str) -> str:
    """Path of a program, beside Python or on the path; its tests are skipped without it."""
    found = shutil.which(name, path=os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])))
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def variables(text: str) -> dict[str, str]:
    """Assignments of an .env file, the commented ones included."""
    return dict(re.findall(r"^#?([A-Z][A-Z0-9_]+)=(.*)$", text, re.MULTILINE))


def compose(*names: str) -> dict[str, Any]:
    """Services of compose files, merged the way Compose does for the keys that matter here."""
    services: dict[str, Any] = {}
    for name in names:
        for service, entry in yaml.safe_load((DEPLOY / name).read_text())["services"].items():
            known = services.setdefault(service, {})
            known.update(
                entry | {"environment": {**known.get("environment", {}), **entry.get("environment", {})}}
            )
    return services


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.parent.name + "/" + path.name)
def test_hadolint_accepts_the_dockerfile(path: Path) -> None:
    done = subprocess.run([tool("hadolint"), str(path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.parent.name + "/" + path.name)
def test_the_image_runs_as_an_ordinary_user_and_copies_only_what_the_context_has(path: Path) -> None:
    text = path.read_text()
    users = re.findall(r"^USER (\S+)", text, re.MULTILINE)
    assert users
    assert users[-1].split(":")[0].isdigit(), "Kubernetes checks runAsNonRoot by number"
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE):
        *sources, _ = [word for word in line.split() if not word.startswith("--")]
        assert set(sources) <= allowed
        assert all((ROOT / source).exists() for source in sources)


def test_every_variable_of_the_example_is_a_setting() -> None:
    written = variables((DEPLOY / ".env.example").read_text())
    known = {name for each in described(Settings(_env_file=None)) for name in each.variables}
    assert set(written) - known <= CONTAINER_VARIABLES


def test_the_example_names_every_variable_of_the_replaced_services() -> None:
    old = {
        *("API_KEY", "CSRF_SECRET", "NEXTJS_DOMAIN", "PORT", "FLASK_ENV", "MODEL_NAME_CLIP"),
        *(
            "ALLOWED_ORIGINS",
            "ALLOWED_HOSTS",
            "RATE_LIMIT_REQUESTS",
            "RATE_LIMIT_WINDOW_SECONDS",
            "FORCE_HTTPS",
        ),
        *("ENABLE_API_DOCS", "GOOGLE_API_KEY", "GEMINI_MODEL"),
    }
    assert old <= set(re.findall(r"[A-Z][A-Z_]+", (DEPLOY / ".env.example").read_text()))


@pytest.mark.parametrize(
    "names",
    [
        ("compose.yaml",),
        ("compose.yaml", "compose.redis.yaml"),
        ("compose.yaml", "compose.monitoring.yaml"),
    ],
)
def test_compose_gives_the_server_only_settings_and_files_that_exist(names: tuple[str, ...]) -> None:
    services = compose(*names)
    server = services["sightline"]
    assert not unused_variables(server["environment"])
    assert server["read_only"] is True
    assert server["cap_drop"] == ["ALL"]
    assert (DEPLOY / server["build"]["context"] / server["build"]["dockerfile"]).is_file()
    for service in services.values():
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), "nothing is published beyond this machine by default"
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert not source.startswith(".") or (DEPLOY / source).is_file()


def test_the_manifests_are_valid_and_have_three_probes() -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    documents = list(yaml.safe_load_all((DEPLOY / "kubernetes/sightline.yaml").read_text()))
    for document in documents:
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
    server = next(each for each in documents if each["kind"] == "StatefulSet")["spec"]["template"]["spec"]
    (container,) = server["containers"]
    assert {"livenessProbe", "readinessProbe", "startupProbe"} <= set(container)
    assert not unused_variables({each["name"]: each["value"] for each in container["env"]})
    # Lame duck, grace period and the rest of the shutdown.
    usual = Settings(_env_file=None)
    assert server["terminationGracePeriodSeconds"] >= usual.lame_duck_s + usual.shutdown_grace_s + 3


def test_the_unit_is_isolated() -> None:
    done = subprocess.run(
        [
            *(tool("systemd-analyze"), "security", "--offline=yes", "--threshold=20", "--no-pager"),
            DEPLOY / "systemd/sightline.service",
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    # The exit status says whether the exposure is above the threshold, which counts in tenths.
    assert done.returncode == 0, done.stdout[-200:] + done.stderr


def test_the_unit_sets_only_settings() -> None:
    text = (DEPLOY / "systemd/sightline.service").read_text()
    written = dict(re.findall(r"^Environment=(\w+)=(.*)$", text, re.MULTILINE))
    assert not unused_variables(written)


def test_shellcheck_accepts_the_installer() -> None:
    done = subprocess.run(
        [tool("shellcheck"), DEPLOY / "systemd/install.sh"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout


def test_the_installer_refuses_an_old_python(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.2"\nexit 1\n')
    old.chmod(0o755)
    done = subprocess.run(
        [DEPLOY / "systemd/install.sh"],
        env={**os.environ, "PYTHON": str(old), "DESTDIR": str(tmp_path / "root")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "3.9.2" in done.stderr
    assert not (tmp_path / "root").exists()


def test_the_space_listens_where_its_front_matter_says() -> None:
    front = yaml.safe_load((DEPLOY / "huggingface/README.md").read_text().split("---")[1])
    assert front["sdk"] == "docker"
    text = (DEPLOY / "huggingface/Dockerfile").read_text()
    assert f"SIGHTLINE_PORT={front['app_port']}" in text
    assert f"EXPOSE {front['app_port']}" in text


def test_the_dashboard_is_the_one_that_grafana_provisions() -> None:
    dashboard = json.loads((DEPLOY / "monitoring/grafana/sightline.json").read_text())
    assert dashboard["uid"] == "sightline"
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells), "no panel covers another"
    assert max(x for x, _ in cells) < 24
