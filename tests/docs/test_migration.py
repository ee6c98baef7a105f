"""The pages for users of replaced services: what is old there works, and what is ours exists."""

from __future__ import annotations

import re
import shlex
from functools import cache
from pathlib import Path

import pytest
import typer
from dotenv import dotenv_values
from starlette.routing import Route

from sightline import operations
from sightline.cli.app import app as command_line
from sightline.cli.models.choosing import chosen
from sightline.server.app import create_app
from sightline.server.contracts import CONTRACTS
from sightline.settings import Settings, described, unused_variables

ROOT = Path(__file__).parents[2]
# Each service's endpoints and variables, as its own documentation has them.
SERVICES: dict[str, tuple[set[str], set[str]]] = {
    "geoclip-service": (
        {"GET /api/health", "GET /api/get-csrf-token", "POST /api/geolocate"},
        {"API_KEY", "CSRF_SECRET", "NEXTJS_DOMAIN", "PORT", "FLASK_ENV"},
    ),
    "image-embed": (
        {"POST /analyze_image/", "POST /analyze_image_upload/", "GET /available_operations/", "GET /docs"},
        {"MODEL_NAME_CLIP"},
    ),
    "clip-classifier": ({"GET /health", "POST /classify", "GET /docs"}, {"PYTHONUNBUFFERED"}),
    "atlas-backend": (
        {
            *("POST /uploadfile/", "POST /analyze/", "POST /gemini/analyze/"),
            *("GET /healthz", "GET /", "GET /docs"),
        },
        {
            *("ALLOWED_ORIGINS", "ALLOWED_HOSTS", "RATE_LIMIT_REQUESTS", "RATE_LIMIT_WINDOW_SECONDS"),
            *("FORCE_HTTPS", "ENABLE_API_DOCS", "GOOGLE_API_KEY", "GEMINI_MODEL"),
        },
    ),
}
HEADS = ("old endpoint", "old variable", "old file or command")
VARIABLE = re.compile(r"`([A-Z][A-Z0-9]*_[A-Z0-9_]+|PORT)(?:=[^`]*)?`")
ENDPOINT = re.compile(r"`((?:GET|POST) /[^` ]*)`")


def page(service: str) -> str:
    return (ROOT / "docs" / f"{service}.md").read_text(encoding="utf-8")


def table(service: str, head: str) -> list[list[str]]:
    """Rows of the table whose first column has this head."""
    (_, after) = page(service).split(f"\n| {head} |", 1)
    lines = after.split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]


@cache
def endpoints() -> frozenset[str]:
    known = operations.catalogue()
    routers = [
        router for contract in CONTRACTS for router in (*contract.routers, *contract.operation_routers(known))
    ]
    routes = [*create_app(Settings(_env_file=None, offline=True)).routes]
    routes += [route for router in routers for route in router.routes]
    return frozenset(
        f"{method} {route.path}" for route in routes if isinstance(route, Route) for method in route.methods
    )


@cache
def variables() -> frozenset[str]:
    return frozenset(name for each in described(Settings(_env_file=None)) for name in each.variables)


@pytest.mark.parametrize("service", SERVICES)
def test_every_old_endpoint_is_answered_at_its_old_path(service: str) -> None:
    rows = table(service, "old endpoint")
    assert {ENDPOINT.search(row[0])[1] for row in rows} == SERVICES[service][0]
    for old, here, also in rows:
        assert ENDPOINT.findall(here) == ENDPOINT.findall(old), "clients change the base URL only"
        assert set(ENDPOINT.findall(f"{old} {here} {also}")) <= endpoints()


@pytest.mark.parametrize("service", SERVICES)
def test_every_old_variable_is_read_or_explained(service: str) -> None:
    rows = table(service, "old variable")
    found = {name for row in rows for name in re.findall(r"^`([A-Z_]+)`", row[0])}
    assert found == SERVICES[service][1]
    for old, here, _ in rows:
        ours = VARIABLE.findall(here)
        assert set(ours) <= variables()
        for name in re.findall(r"^`([A-Z_]+)`", old):
            aliases = next(
                (each.variables for each in described(Settings(_env_file=None)) if name in each.variables), ()
            )
            if ours:
                assert set(ours) <= set(aliases), f"{name} is another name of {ours}"
                assert unused_variables({name: "x"}) == []
            else:
                assert name not in variables()
                assert here == "none"


@pytest.mark.parametrize("service", SERVICES)
def test_every_variable_that_the_page_names_is_known(service: str) -> None:
    named = set(VARIABLE.findall(page(service)))
    ours = {name for name in named if name.startswith("SIGHTLINE_")}
    assert ours <= variables()
    assert named - ours - variables() <= SERVICES[service][1]


@pytest.mark.parametrize("service", SERVICES)
def test_every_endpoint_that_the_page_names_exists(service: str) -> None:
    assert set(ENDPOINT.findall(page(service))) <= endpoints()
    paths = {endpoint.split(" ")[1].rstrip("/") for endpoint in endpoints()}
    named = re.findall(r"`(/[a-z][\w/.-]*)`", page(service))
    groups = {path.rsplit("/", count)[0] for path in paths for count in range(1, path.count("/"))}
    files = {"/etc/sightline/sightline.env", "/openapi.json"}
    assert {path for path in named if path.rstrip("/") not in paths | groups | files} == set()


@pytest.mark.parametrize("service", SERVICES)
def test_every_command_and_file_of_ours_exists(service: str) -> None:
    rows = table(service, "old file or command")
    assert len(rows) >= 5
    ours = " ".join(row[1] for row in rows)
    for path in re.findall(r"\]\(\.\./([^)]+)\)", ours) + re.findall(r"-f (deploy/[\w./]+)", ours):
        assert (ROOT / path).is_file(), path
    for command in re.findall(r"`(sightline [^`]+)`", page(service)):
        _require_command(shlex.split(command)[1:])


def _require_command(words: list[str]) -> None:
    """The subcommands exist, and so do the options behind them."""
    command = typer.main.get_command(command_line)
    command.list_commands(typer.Context(command))  # type: ignore[attr-defined]  # loads those of plug-ins
    while words and (subcommands := getattr(command, "commands", None)) is not None:
        assert words[0] in subcommands, words
        command, words = subcommands[words[0]], words[1:]
    if words[:1] and command.name == "pull":
        chosen(Settings(_env_file=None), words, everything=False, by_purpose=True)  # raises for unknown names
    options = {name for param in command.params for name in (*param.opts, *param.secondary_opts)}
    assert {word for word in words if word.startswith("--")} <= options, words


@pytest.mark.parametrize("service", ["geoclip-service", "atlas-backend"])
def test_the_old_env_file_is_read_whole(service: str, tmp_path: Path) -> None:
    (written,) = re.findall(r"^```ini\n(.*?)^```", page(service), re.MULTILINE | re.DOTALL)
    file = tmp_path / ".env"
    file.write_text(written)
    values = {name: value or "" for name, value in dotenv_values(file).items()}
    assert set(values) == SERVICES[service][1] - {"FLASK_ENV"}
    assert unused_variables(values) == []
    usual = {each.variables: each.value for each in described(Settings(_env_file=None))}
    read = {each.variables: each.value for each in described(Settings(_env_file=file))}
    for name, value in values.items():
        (names,) = (names for names in read if name in names)
        assert read[names] != usual[names] or value == usual[names], f"{name} has an effect"
