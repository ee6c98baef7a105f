"""Requests that schemathesis generates from the server's own document, to every route.

No response is a 5xx, none has a status or a type of content that the document lacks, and every refusal has
the form of its contract.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("schemathesis")

HERE = Path(__file__).parent
LIBRARY = "photos"  # the hooks know it by this name
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "missing_required_header",
    "unsupported_method",
    "no_task_fails_by_a_fault_of_the_server",
    "refusals_have_the_form_of_their_contract",
)
CASES, LONG_CASES = 3, 200
SLOW_TO_COVER = "^/v1/(operations/|analyze|preview)"


CRASHING = """
from sightline.operations import Operation, Params, Result, TimingGroup


class Crashing(Operation[Params, Result]):
    name = "crashing"
    description = "Fails in a way that nobody has thought of."
    needs = ()
    targets = ()
    default_target = None
    needs_picture = False
    Params = Params
    Result = Result
    example = {}
    timing_group = TimingGroup.CLASSIFICATION

    async def run(self, scene, params, models):
        raise RuntimeError("a secret of the code")


OPERATIONS = (Crashing(),)
"""


CRASHING_PATH = "/v1/operations/crashing"


@pytest.fixture(scope="module")
def server(
    start: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory, small_files: dict[str, bytes]
) -> Any:
    """A server with a library of photos, and with one operation too many, the control."""
    folder = tmp_path_factory.mktemp("plugins")
    (folder / "operations").mkdir()
    (folder / "operations" / "crashing.py").write_text(CRASHING)
    server = start(SIGHTLINE_PLUGINS_DIR=str(folder))
    files = [("image", small_files[name]) for name in ("jpeg", "png", "webp")]
    assert server.client.post(f"/v1/libraries/{LIBRARY}/items", files=files).status_code == 201
    return server


def schemathesis(server: Any, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(str(Path(sys.executable).with_name("schemathesis")), "--no-color", "run"),
            *(f"{server.url}/openapi.json", "--checks", ",".join(CHECKS)),
            *("--continue-on-failure", "--suppress-health-check", "all", "--warnings", "off"),
            *("--request-timeout", "60", "--generation-database", "none", *options),
        ],
        env={**os.environ, "SCHEMATHESIS_HOOKS": "schemathesis_hooks", "PYTHONPATH": str(HERE)},
        cwd=server.folder,
        capture_output=True,
        text=True,
    )


def _run(server: Any, *options: str) -> None:
    done = schemathesis(server, "--exclude-path", CRASHING_PATH, *options)
    # The curl commands in it can have thousands of characters each.
    assert done.returncode == 0, re.sub(r"(.{400}).*", r"\1…", done.stdout)[-20_000:] + done.stderr[-2000:]
    assert "Traceback" not in server.log
    assert server.client.get("/readyz").status_code == 200


def test_generated_requests_to_every_route(server: Any, is_long: bool) -> None:
    """The same requests in every short run."""
    if is_long:
        _run(server, "--phases", "examples,fuzzing", "-n", str(LONG_CASES))
    else:
        _run(server, "--phases", "examples,fuzzing", "-n", str(CASES), "--seed", "1")


def test_each_limit_of_the_document_is_tried(server: Any, is_long: bool) -> None:
    """Values at, above and of other types than the document allows, and methods that it does not have."""
    _run(server, "--phases", "coverage", *(() if is_long else ("--exclude-path-regex", SLOW_TO_COVER)))


def test_a_control_that_crashes_is_caught(server: Any) -> None:
    done = schemathesis(server, "--phases", "fuzzing", "-n", "1", "--include-path", CRASHING_PATH)
    assert done.returncode == 1
    assert "no_task_fails_by_a_fault_of_the_server" in done.stdout
    assert "a secret of the code" not in done.stdout


@pytest.mark.parametrize(
    ("path", "method"), [("/v1/models", "delete"), ("/classify", "get"), ("/livez", "post"), ("/docs", "put")]
)
def test_other_methods_are_405_and_name_the_right_ones(server: Any, path: str, method: str) -> None:
    refused = server.client.request(method.upper(), path)
    assert refused.status_code == 405
    assert refused.headers["allow"]


def test_every_route_documents_what_the_middleware_refuses(server: Any) -> None:
    """The refusals that a rehearsal without keys and limits cannot provoke."""
    document = server.client.get("/openapi.json").json()
    probes = {"/livez", "/readyz", "/healthz", "/health", "/api/health"}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            statuses = set(operation["responses"])
            assert {"408", "431", "500", "503"} <= statuses, (method, path)
            if path not in probes:
                assert {"400", "401", "403", "429"} <= statuses, (method, path)
            if method == "post":
                assert {"413", "415", "504", "507"} <= statuses, (method, path)
            media_type = "application/problem+json" if path.startswith("/v1/") else "application/json"
            for status in ("431", "500"):
                assert list(operation["responses"][status]["content"]) == [media_type], (method, path)
    assert "HTTPValidationError" not in json.dumps(document), "no answer has FastAPI's form"
