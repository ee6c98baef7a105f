"""Request bodies in all their forms, read into images and tasks. Nothing is decoded or fetched here.

``POST /v1/analyze`` takes multipart files, JSON with URLs or base64, or one raw image; query parameters name
an operation where a task list would be clumsy, and one that comes more than once is a list.
"""

from __future__ import annotations

import base64
import binascii
import heapq
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from starlette.datastructures import QueryParams, UploadFile
from starlette.requests import Request

from sightline.errors import ImageTooLarge, InvalidRequest, UnsupportedContent
from sightline.runtime.analyzer import Task
from sightline.server.forms import read_form
from sightline.server.json_bodies import parse_json, read_json
from sightline.settings import Settings

MAX_ID_CHARS = 200
# Unknown names that an error shows: enough to see what is wrong, and no echo of a large request.
MAX_NAMES_SHOWN = 10
_UNUSUAL = "-_ \t\r\n"
_AS_STANDARD = str.maketrans("-_", "+/", "\t\r\n")
# What has a meaning of its own in the query; everything else there is a parameter of ``operation``.
QUERY_WORDS = frozenset({"operation", "crops", "truncated"})


@dataclass(frozen=True, slots=True)
class ImageSource:
    """One image as it came: bytes or a URL. ``label`` says which to the caller, e.g. ``upload:photo.jpg``."""

    label: str
    data: bytes | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True)
class AnalyzeBody:
    """What one request asks: images (none for text-only tasks), tasks (None: the defaults), crops wanted, and
    whether truncated images are looked at as far as they go."""

    images: tuple[ImageSource, ...]
    tasks: tuple[Task, ...] | None
    crops: bool
    fill_truncated: bool = False


async def read_analyze(request: Request, settings: Settings, operation: str | None = None) -> AnalyzeBody:
    """Read a ``/v1/analyze`` body of any accepted form; ``operation`` is one that the path names.

    Raises:
        UnsupportedContent: a content type that is none of the forms.
        InvalidRequest: malformed, ambiguous, or more images or tasks than allowed.
        ImageTooLarge: a base64 image over the limit, judged before it is decoded.
    """
    return _with_query(await _body(request, settings), request, settings, operation)


async def read_images(request: Request, settings: Settings) -> tuple[ImageSource, ...]:
    """Read the images of a body of any form that :func:`read_analyze` accepts, without tasks.

    Raises:
        UnsupportedContent, InvalidRequest, ImageTooLarge: as :func:`read_analyze`.
    """
    body = await _body(request, settings)
    if body.tasks is not None or body.crops:
        raise InvalidRequest("tasks, operation and crops have no meaning here; expected images only")
    return body.images


def images_of(entries: Any, settings: Settings) -> tuple[ImageSource, ...]:
    """Read a JSON list of images, as ``images`` of :func:`read_analyze`.

    Raises:
        InvalidRequest, ImageTooLarge: as :func:`read_analyze`.
    """
    return _from_json({"images": entries}, settings).images


async def _body(request: Request, settings: Settings) -> AnalyzeBody:
    kind = media_type(request)
    if kind == "multipart/form-data":
        body = await _from_form(request, settings)
    elif kind == "application/json":
        body = await read_json(request, lambda value: _from_json(value, settings))
    elif kind.startswith("image/") or kind == "application/octet-stream":
        body = AnalyzeBody((ImageSource("body", data=await request.body()),), None, crops=False)
    elif not kind and not await request.body():
        body = AnalyzeBody((), None, crops=False)
    else:
        raise UnsupportedContent(
            f"content type {kind[:100] or 'none'!r} is not read here; send multipart/form-data with files "
            "named 'image', application/json, or one raw image as image/*"
        )
    return body


def media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _from_form(request: Request, settings: Settings) -> AnalyzeBody:
    images: list[ImageSource] = []
    fields: dict[str, str] = {}
    async with read_form(request, settings.request_max_images) as form:
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                images.append(await _uploaded(name, value))
            elif name == "url":
                images.append(_at_url(value, settings))
            elif name in ("tasks", "operation", "crops"):
                fields[name] = value
            elif name in ("image", "images"):
                raise InvalidRequest(
                    f"the part {name!r} has neither a filename nor an image's Content-Type; send it as a file"
                )
            else:
                raise InvalidRequest(
                    f"form field {name[:50]!r} is not known; fields are image, url, tasks, operation, crops"
                )
    if len(images) > settings.request_max_images:
        raise InvalidRequest(f"{len(images)} images; one request takes {settings.request_max_images}")
    tasks = read_tasks(parse_json(fields["tasks"]), settings) if "tasks" in fields else None
    if "operation" in fields:
        if tasks is not None:
            raise InvalidRequest("name tasks or an operation, not both")
        tasks = (Task(fields["operation"], fields["operation"]),)
    return AnalyzeBody(tuple(images), tasks, crops=_flag(fields.get("crops", "false"), "crops"))


async def _uploaded(name: str, file: UploadFile) -> ImageSource:
    if name not in ("image", "images"):
        raise InvalidRequest(f"file field {name[:50]!r} is not known; name the files 'image'")
    return ImageSource(f"upload:{file.filename or 'unnamed'}", data=await file.read())


def _from_json(body: Any, settings: Settings) -> AnalyzeBody:
    if not isinstance(body, dict):
        raise InvalidRequest("the JSON must be an object with 'url', 'base64' or 'images', and 'tasks'")
    refuse_unknown(body, {"images", "url", "base64", "tasks", "crops"}, "the request")
    entries = body.get("images", [])
    if not isinstance(entries, list):
        raise InvalidRequest("'images' must be a list of objects with 'url' or 'base64'")
    single = {key: body[key] for key in ("url", "base64") if key in body}
    if single:
        entries = [*entries, single]
    crops = body.get("crops", False)
    if not isinstance(crops, bool):
        raise InvalidRequest("'crops' must be true or false")
    tasks = read_tasks(body["tasks"], settings) if "tasks" in body else None
    if len(entries) > settings.request_max_images:
        raise InvalidRequest(f"{len(entries)} images; one request takes {settings.request_max_images}")
    return AnalyzeBody(tuple(_image_entry(entry, settings) for entry in entries), tasks, crops)


def _image_entry(entry: Any, settings: Settings) -> ImageSource:
    if not isinstance(entry, dict) or len(entry) != 1 or not isinstance(next(iter(entry.values())), str):
        raise InvalidRequest("each image must be an object with exactly one of 'url' and 'base64', a string")
    refuse_unknown(entry, {"url", "base64"}, "an image")
    if "url" in entry:
        return _at_url(entry["url"], settings)
    return ImageSource("base64", data=decode_base64(entry["base64"], settings.image_max_bytes))


def _at_url(url: str, settings: Settings) -> ImageSource:
    """An image to fetch, or one that is in its URL."""
    if is_data_uri(url):
        return ImageSource("url", data=decode_base64(url, settings.image_max_bytes))
    return ImageSource("url", url=url)


def is_data_uri(text: str) -> bool:
    return text[:5].lower() == "data:"


def decode_base64(text: str, max_bytes: int) -> bytes:
    """Base64 with or without a ``data:`` prefix; its declared type is ignored, content decides.

    Line ends, the URL-safe alphabet and missing padding are accepted: libraries write base64 in lines, and
    web tokens without padding. A space inside is not: a form that was not encoded has them for each "+".

    Raises:
        InvalidRequest: not base64.
        ImageTooLarge: it would decode to more than ``max_bytes``; judged by length before decoding.
    """
    if is_data_uri(text):
        head, comma, text = text.partition(",")
        if not comma or not head.rstrip().lower().endswith(";base64"):
            raise InvalidRequest("a data URI must look like data:image/jpeg;base64,…")
    # Looked for first: most texts have none, and rewriting takes longer than decoding.
    if any(char in text for char in _UNUSUAL):
        text = text.strip().translate(_AS_STANDARD)
    if len(text) // 4 * 3 > max_bytes + 3:
        raise ImageTooLarge(f"the base64 image decodes to more than {max_bytes} bytes")
    if not text.endswith("="):
        text += "=" * (-len(text) % 4)
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest("the image is not valid base64") from None


def read_tasks(value: Any, settings: Settings) -> tuple[Task, ...]:
    """A task list: objects ``{operation, id?, params?}``, or just operation names.

    Raises:
        InvalidRequest: not such a list, duplicate ids, or too many tasks.
    """
    if not isinstance(value, list):
        raise InvalidRequest("'tasks' must be a list of objects {id, operation, params}")
    if len(value) > settings.request_max_tasks:
        raise InvalidRequest(f"{len(value)} tasks; one request takes {settings.request_max_tasks}")
    tasks = tuple(_task(entry, number) for number, entry in enumerate(value))
    seen: set[str] = set()
    for task in tasks:
        if task.id in seen:
            raise InvalidRequest(f"two tasks have the id {task.id!r}; give each an id of its own")
        seen.add(task.id)
    return tasks


def _task(entry: Any, number: int) -> Task:
    if isinstance(entry, str):
        entry = {"operation": entry}
    if not isinstance(entry, dict) or not isinstance(entry.get("operation"), str):
        raise InvalidRequest(f"tasks[{number}] must be an object with 'operation', a string")
    refuse_unknown(entry, {"id", "operation", "params"}, f"tasks[{number}]")
    identity, params = entry.get("id", entry["operation"]), entry.get("params") or {}
    if not isinstance(identity, str) or not 0 < len(identity) <= MAX_ID_CHARS:
        raise InvalidRequest(f"tasks[{number}].id must be a string of 1 to {MAX_ID_CHARS} characters")
    if not isinstance(params, dict):
        raise InvalidRequest(f"tasks[{number}].params must be an object")
    return Task(identity, entry["operation"], params)


def refuse_unknown(given: Mapping[str, Any], known: set[str], where: str) -> None:
    """Raises InvalidRequest naming what in ``given`` is not ``known``."""
    unknown = given.keys() - known
    if unknown:
        shown = heapq.nsmallest(MAX_NAMES_SHOWN, (str(name)[:50] for name in unknown))
        more = f" and {len(unknown) - len(shown)} more" if len(unknown) > len(shown) else ""
        raise InvalidRequest(
            f"{where} has unknown fields {', '.join(shown)}{more}; known: {', '.join(sorted(known))}"
        )


def _with_query(
    body: AnalyzeBody, request: Request, settings: Settings, operation: str | None
) -> AnalyzeBody:
    """Apply ``?operation=…&crops=…&truncated=…``; other query parameters belong to the operation."""
    query = request.query_params
    crops = _flag(query["crops"], "crops") if "crops" in query else body.crops
    fill_truncated = read_truncated(request)
    params = _parameters(query)
    operation = operation or query.get("operation")
    if operation is None:
        if params:
            raise InvalidRequest(f"query parameter {next(iter(params))[:50]!r} needs ?operation= beside it")
        return AnalyzeBody(body.images, body.tasks, crops, fill_truncated)
    if body.tasks is not None:
        raise InvalidRequest("name tasks in the body or an operation in the address, not both")
    (task,) = read_tasks([{"operation": operation, "params": params}], settings)
    return AnalyzeBody(body.images, (replace(task, written=True),), crops, fill_truncated)


def read_truncated(request: Request) -> bool:
    """Whether ``?truncated=fill`` is in the address.

    Raises:
        InvalidRequest: it has another value.
    """
    value = request.query_params.get("truncated", "error")
    if value not in ("error", "fill"):
        raise InvalidRequest(f"'truncated' is {value[:50]!r}; expected error or fill")
    return value == "fill"


def _parameters(query: QueryParams) -> dict[str, str | list[str]]:
    """Those of the operation. One that comes more than once is a list: OpenAPI and clients write them so."""
    given: dict[str, list[str]] = {}
    for name, value in query.multi_items():
        if name not in QUERY_WORDS:
            given.setdefault(name, []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in given.items()}


def _flag(text: str, name: str) -> bool:
    if text.lower() in ("true", "1", "yes"):
        return True
    if text.lower() in ("false", "0", "no", ""):
        return False
    raise InvalidRequest(f"{name!r} must be true or false")
