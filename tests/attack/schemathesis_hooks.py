"""Hooks of schemathesis: pictures among the generated files, tasks that exist, and a check of refusals."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import strategies as st
from PIL import Image

from sightline.server.contracts import CONTRACTS
from sightline.server.middleware.scopes import is_below
from sightline.server.problems import write_problem

# A library that the server of ``test_generated_requests`` has.
LIBRARY = "photos"
PROBLEM_PREFIXES = [
    prefix for each in CONTRACTS if each.write_error is write_problem for prefix in each.prefixes
]


def _file(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.radial_gradient("L").resize((48, 40)).convert("RGB").save(buffer, kind)
    return buffer.getvalue()


# Half of the files are pictures, so that requests get past the decoder.
_PICTURES = st.sampled_from([_file(kind) for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")])
_FILES = st.one_of(_PICTURES, st.binary(max_size=300))
schemathesis.openapi.format("binary", _FILES)
schemathesis.openapi.media_type("image/*", _FILES, aliases=["image/jpeg"])

_TASKS = (
    [{"operation_id": "a", "type": "detect_bounding_box", "params": {"target": "prominent_face"}}],
    [{"operation_id": "a", "type": "embed_clip_vit_b_32"}, {"operation_id": "b", "type": "unknown"}],
    [{"id": "a", "operation": "safe_search"}, {"id": "b", "operation": "detect_faces"}],
    [{"operation": "classify_zero_shot", "params": {"labels": ["a", "b"]}}],
)


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    """Every other text field for tasks holds some."""
    if isinstance(body, dict):
        for name in ("tasks", "tasks_json"):
            if isinstance(body.get(name), str) and len(body[name]) % 2 == 0:
                return body | {name: json.dumps(_TASKS[len(body[name]) % len(_TASKS)])}
    return body


@schemathesis.hook
def map_path_parameters(context: Any, path_parameters: Any) -> Any:
    """Every other name is one that exists, so that requests get past the look-up."""
    if not isinstance(path_parameters, dict):
        return path_parameters
    known: dict[str, Any] = {"name": LIBRARY, "item_id": 1, "collection_id": 7}
    return {
        name: known.get(name, value) if len(str(value)) % 2 else value
        for name, value in path_parameters.items()
    }


@schemathesis.check
def no_task_fails_by_a_fault_of_the_server(ctx: Any, response: Any, case: Any) -> None:
    """A task that fails is an entry of a response with 200."""
    codes = (b'"code":"internal_error"', b'"code":"inference_failed"')
    assert not any(code in response.content for code in codes)


@schemathesis.check
def refusals_have_the_form_of_their_contract(ctx: Any, response: Any, case: Any) -> None:
    """Refusals are in their contract's form, and have no trace or path of the machine in them."""
    if response.status_code < 400:
        return
    body = response.json()
    if is_below(case.path, PROBLEM_PREFIXES):
        assert body["status"] == response.status_code
        assert body["type"] == f"/v1/problems/{body['code']}"
        assert isinstance(body["detail"], str)
    elif response.status_code != 503:  # probes answer in their own form
        assert isinstance(body["detail"], str)
    text = response.text
    assert not any(leak in text for leak in ("Traceback", "site-packages", str(Path.home())))
    assert response.headers["x-content-type-options"] == ["nosniff"]
    assert response.headers["x-request-id"]
