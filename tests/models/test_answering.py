"""Both ways to a vision-language model, each through its real SDK to a stand-in of its service."""

from __future__ import annotations

import io
import json
import logging
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import SecretStr

from sightline.capabilities.question import ANSWER, Question
from sightline.errors import (
    AnswerInvalid,
    InvalidImage,
    KeyRefused,
    ModelUnavailable,
    Overloaded,
    ProviderFailed,
    ProviderTimeout,
    QuotaExceeded,
)
from sightline.extras import how_to_add
from sightline.imaging import ImageLimits, View, open_picture
from sightline.models import ModelDefinition, Runs, gemini, openai_compatible
from sightline.models.answering import (
    DEFAULT_RETRY_AFTER_S,
    LONGEST_RETRY_AFTER_S,
    retry_after_s,
    uninstalled,
)
from sightline.settings import Settings
from sightline.types import PixelBox, Provenance

KEY = "sk-secret-0123456789abcdef"
DEFINITIONS = {"gemini": gemini.MODELS[0], "openai-compatible": openai_compatible.MODELS[0]}
SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {"species": {"type": "string"}, "count": {"type": "integer", "minimum": 0}},
        "required": ["species", "count"],
    }
)
GOOD = '{"species": "fallow deer", "count": 2}'


def picture_view(data: bytes, box: PixelBox | None = None) -> View:
    return View(open_picture(data, ImageLimits.from_settings(Settings())), box)


def with_metadata(width: int, height: int, kind: str = "JPEG") -> bytes:
    """A photograph of noise that says where and by whom it was taken."""
    pixels = np.random.default_rng(3).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    image = Image.fromarray(pixels).resize((width, height))
    exif = Image.Exif()
    exif[0x010F] = "SecretCamera"
    exif[0x8298] = "SecretOwner"
    exif.get_ifd(0x8825)[2] = (51.0, 28.0, 40.0)
    buffer = io.BytesIO()
    image.save(buffer, kind, exif=exif)
    assert b"SecretOwner" in buffer.getvalue()
    return buffer.getvalue()


# -- what comes back ---------------------------------------------------------------------------------------


async def test_words_come_back_as_they_are(dialect: Any, cup: bytes) -> None:
    dialect.service.says("A cup of coffee.\n")
    reply = await dialect.ask(Question("What is this?", (picture_view(cup),)))
    assert reply.text == "A cup of coffee.\n"
    assert reply.structured is None
    assert not reply.truncated
    assert reply.model.endswith("-of-the-test")
    assert (reply.input_tokens, reply.output_tokens) in ((11, 5), (21, 7))
    (received,) = dialect.service.received
    assert received.text == "What is this?"


async def test_half_a_character_is_no_harm(dialect: Any, cup: bytes) -> None:
    """A service that cuts its text between two halves of an emoji escapes the first alone."""
    dialect.service.answers(json.dumps(dialect.service._written("a deer \ud83e")).encode())
    reply = await dialect.ask(Question("What is it?", (picture_view(cup),)))
    assert reply.text == "a deer ?"


async def test_the_question_goes_to_the_model_of_the_settings(dialect: Any, cup: bytes) -> None:
    dialect.service.says("yes")
    await dialect.ask(Question("?", (picture_view(cup),)), gemini_model="gemini-x", vlm_model="qwen-y")
    (received,) = dialect.service.received
    if dialect.definition.name == "gemini":
        assert received.path == "/v1beta/models/gemini-x:generateContent"
        assert received.headers["x-goog-api-key"] == KEY
    else:
        assert received.path == "/v1/chat/completions"
        assert received.body["model"] == "qwen-y"
        assert received.headers["authorization"] == f"Bearer {KEY}"


async def test_several_images_go_in_their_order(dialect: Any) -> None:
    dialect.service.says("ok")
    views = []
    for width in (40, 60, 80):
        buffer = io.BytesIO()
        Image.new("RGB", (width, 20)).save(buffer, "PNG")
        views.append(picture_view(buffer.getvalue()))
    await dialect.ask(Question("?", tuple(views)))
    assert [image.width for image in dialect.service.received[0].images] == [40, 60, 80]


async def test_a_question_needs_no_image(dialect: Any) -> None:
    dialect.service.says("42")
    assert (await dialect.ask(Question("What is 6 times 7?"))).text == "42"


async def test_json_that_fits_the_schema_is_data(dialect: Any, cup: bytes) -> None:
    dialect.service.says(GOOD)
    reply = await dialect.ask(Question("Count.", (picture_view(cup),), SCHEMA))
    assert reply.structured == {"species": "fallow deer", "count": 2}
    (received,) = dialect.service.received
    if dialect.definition.name == "gemini":
        assert received.body["generationConfig"]["responseMimeType"] == "application/json"
        assert received.body["generationConfig"]["responseJsonSchema"] == json.loads(SCHEMA)
    else:
        assert received.body["response_format"]["type"] == "json_schema"
        assert received.body["response_format"]["json_schema"]["schema"] == json.loads(SCHEMA)


async def test_without_a_schema_none_is_sent(dialect: Any) -> None:
    dialect.service.says("free")
    await dialect.ask(Question("?"))
    (received,) = dialect.service.received
    assert "response_format" not in received.body
    assert "responseJsonSchema" not in received.body.get("generationConfig", {})


@pytest.mark.parametrize("fence", ["```json\n{}\n```", "```\n{}\n```", "  {}  \n"])
async def test_a_fence_around_json_is_no_mistake(dialect: Any, fence: str) -> None:
    dialect.service.says(fence.replace("{}", GOOD))
    reply = await dialect.ask(Question("?", schema_json=SCHEMA))
    assert reply.structured["count"] == 2
    assert len(dialect.service.received) == 1


@pytest.mark.parametrize(
    "written",
    [
        '<think>\nA deer? {"x": 1}\n</think>\n\n{}',
        "The user wants JSON.\n</think>\n\n{}",
        "<THINKING>hm</THINKING>{}",
        "```json {}```",
        "Here is the JSON:\n\n```json\n{}\n```\n\nAnything else?",
        "```text\nno JSON\n```\n```json\n{}\n```",
        "{}\n\nThis object has both.",
        "Sure! {}",
        "From {x} and [y]: {}",
        "\ufeff{}",
        "{}{}",
        'First {"species": "deer"}, or rather {}',
    ],
)
async def test_json_is_found_among_thoughts_fences_and_words(dialect: Any, written: str) -> None:
    dialect.service.says(written.replace("{}", GOOD))
    reply = await dialect.ask(Question("?", schema_json=SCHEMA))
    assert reply.structured == {"species": "fallow deer", "count": 2}
    assert len(dialect.service.received) == 1


@pytest.mark.parametrize(
    "bad", ['{"found": {"a": 1}, "more', 'Here: {"found": {"a": 1}, "more": [', '{"found": NaN} {"a": 1}']
)
async def test_nothing_is_taken_out_of_json_that_is_cut_off(dialect: Any, bad: str) -> None:
    dialect.service.says(bad, bad)
    with pytest.raises(AnswerInvalid):
        await dialect.ask(Question("?", schema_json='{"type": "object"}'))


async def test_thoughts_are_no_answer(dialect: Any) -> None:
    dialect.service.says("<think>Two deer?</think>\n\nTwo deer.", "<think>Two deer or")
    assert (await dialect.ask(Question("?"))).text == "Two deer."
    with pytest.raises(ProviderFailed, match="empty answer"):
        await dialect.ask(Question("?"))


async def test_tags_inside_an_answer_stay(dialect: Any) -> None:
    dialect.service.says("Models write <think> and </think> around thoughts. ")
    assert (await dialect.ask(Question("?"))).text == "Models write <think> and </think> around thoughts. "


async def test_a_server_that_says_when_is_busy(dialect: Any) -> None:
    dialect.service.answers({"error": {"code": 503, "message": "Loading model"}}, 503, Retry_After="9")
    with pytest.raises(Overloaded, match="Loading model") as busy:
        await dialect.ask(Question("?"))
    assert busy.value.retry_after_s == 9


@pytest.mark.parametrize(
    "bad",
    ["Two fallow deer.", '{"species": "deer"', '{"species": "deer", "count": -1}', "[]", '{"count": NaN}'],
)
async def test_after_a_misfit_it_is_asked_once_more(dialect: Any, bad: str) -> None:
    dialect.service.says(bad, GOOD)
    reply = await dialect.ask(Question("Count.", schema_json=SCHEMA))
    assert reply.structured == {"species": "fallow deer", "count": 2}
    assert reply.input_tokens in (22, 42), "both attempts cost"
    first, second = dialect.service.received
    assert "could not be used" not in first.text
    assert "could not be used" in second.text
    assert second.text.startswith("Count.")
    assert '"required"' in second.text


@pytest.mark.parametrize("bad", ["no JSON", '{"species": 3, "count": 1}'])
async def test_two_misfits_are_an_error(dialect: Any, bad: str) -> None:
    dialect.service.says(bad, bad, GOOD)
    with pytest.raises(AnswerInvalid, match="twice without fitting the schema"):
        await dialect.ask(Question("Count.", schema_json=SCHEMA))
    assert len(dialect.service.received) == 2


async def test_a_misfit_is_told_where(dialect: Any) -> None:
    dialect.service.says('{"species": 3, "count": 1}', '{"species": 3, "count": 1}')
    with pytest.raises(AnswerInvalid, match=r"\$\.species: 3 is not of type 'string'"):
        await dialect.ask(Question("Count.", schema_json=SCHEMA))


# -- what leaves this machine ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
async def test_metadata_stays_here(dialect: Any, kind: str) -> None:
    dialect.service.says("ok")
    await dialect.ask(Question("?", (picture_view(with_metadata(320, 240, kind)),)))
    (received,) = dialect.service.received
    (sent,) = received.image_files
    (image,) = received.images
    assert image.format == "JPEG"
    assert image.size == (320, 240)
    assert not image.getexif()
    assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
    assert b"Secret" not in sent


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((4000, 3000), (1536, 1152)),
        ((1536, 100), (1536, 100)),
        ((1537, 1537), (1536, 1536)),
        ((64, 8), (64, 8)),
    ],
)
async def test_images_are_reduced_and_never_enlarged(
    dialect: Any, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    dialect.service.says("ok")
    await dialect.ask(Question("?", (picture_view(with_metadata(*size)),)))
    assert dialect.service.received[0].images[0].size == expected


async def test_the_size_is_a_setting(dialect: Any) -> None:
    dialect.service.says("ok")
    await dialect.ask(Question("?", (picture_view(with_metadata(800, 400)),)), ask_image_max_side=100)
    assert dialect.service.received[0].images[0].size == (100, 50)


async def test_a_strip_keeps_a_pixel(dialect: Any) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (8000, 2), (255, 0, 0)).save(buffer, "PNG")
    dialect.service.says("ok")
    await dialect.ask(Question("?", (picture_view(buffer.getvalue()),)))
    assert dialect.service.received[0].images[0].size == (1536, 1)


async def test_only_the_region_is_sent(dialect: Any, portrait: bytes) -> None:
    dialect.service.says("a face")
    view = picture_view(portrait, PixelBox(200, 60, 280, 160))
    await dialect.ask(Question("?", (view,)))
    (image,) = dialect.service.received[0].images
    assert image.size == (80, 100)
    sent = np.asarray(image).astype(float)
    assert np.abs(sent - view.pixels()).mean() < 4


async def test_pictures_are_sent_upright(dialect: Any) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.new("RGB", (90, 30)).save(buffer, "JPEG", exif=exif)
    dialect.service.says("ok")
    await dialect.ask(Question("?", (picture_view(buffer.getvalue()),)))
    assert dialect.service.received[0].images[0].size == (30, 90)


async def test_a_damaged_image_is_never_sent(dialect: Any, cup: bytes) -> None:
    with pytest.raises(InvalidImage):
        await dialect.ask(Question("?", (picture_view(cup[: len(cup) // 2]),)))
    assert dialect.service.received == []


# -- what can go wrong there -------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_key_names_its_setting(dialect: Any, status: int) -> None:
    dialect.service.answers({"error": {"code": status, "message": f"Incorrect key {KEY[:6]}***"}}, status)
    with pytest.raises(KeyRefused, match=r"does not accept the key .*check SIGHTLINE_\w+_API_KEY") as refused:
        await dialect.ask(Question("?"))
    assert KEY[:6] not in str(refused.value)
    assert len(dialect.service.received) == 1


async def test_a_quota_says_when_to_come_back(dialect: Any) -> None:
    dialect.service.answers({"error": {"code": 429, "message": "slow"}}, 429, Retry_After="17")
    with pytest.raises(QuotaExceeded, match="quota") as quota:
        await dialect.ask(Question("?"))
    assert isinstance(quota.value, Overloaded)
    assert quota.value.retry_after_s == 17
    assert len(dialect.service.received) == 1, "asking again at once would use up more of it"


async def test_a_quota_without_a_time_gets_one(dialect: Any) -> None:
    dialect.service.answers({"error": {"code": 429, "message": "slow"}}, 429)
    with pytest.raises(QuotaExceeded) as quota:
        await dialect.ask(Question("?"))
    assert quota.value.retry_after_s == DEFAULT_RETRY_AFTER_S


@pytest.mark.parametrize("status", [500, 502, 503])
async def test_a_failure_there_is_told_and_not_repeated(dialect: Any, status: int) -> None:
    dialect.service.answers({"error": {"code": status, "message": "needs\nmore memory"}}, status)
    with pytest.raises(ProviderFailed, match=rf"failed .HTTP {status}.") as failure:
        await dialect.ask(Question("?"))
    assert type(failure.value) is ProviderFailed
    assert str(failure.value).endswith("needs more memory")
    assert len(dialect.service.received) == 1


async def test_a_refused_question_quotes_why_but_never_the_key(dialect: Any) -> None:
    message = f"schema too complex,\n sent with {KEY} " + "x" * 1000
    dialect.service.answers({"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}}, 400)
    with pytest.raises(
        ProviderFailed, match=r"does not take this question .HTTP 400.: schema too"
    ) as failure:
        await dialect.ask(Question("?"))
    assert KEY not in str(failure.value)
    assert len(str(failure.value)) < 500
    assert "\n" not in str(failure.value)


async def test_an_unknown_model_names_its_setting(dialect: Any) -> None:
    dialect.service.answers({"error": {"code": 404, "message": "no such model"}}, 404)
    with pytest.raises(ProviderFailed, match=r"has no model '.*check SIGHTLINE_\w+_MODEL"):
        await dialect.ask(Question("?"))


@pytest.mark.parametrize(
    "body",
    [b"<html>gateway</html>", b"", b"[]", b"null", b'"text"', b"{}", b'{"choices": [], "candidates": []}',
     b'{"choices": 3, "candidates": 3}', b'{"choices": [null], "candidates": [null]}',
     b'{"choices": [{}], "candidates": [{}]}', b"\xff\xfe\x00"],
)  # fmt: skip
async def test_garbage_is_called_so(dialect: Any, body: bytes) -> None:
    dialect.service.answers(body)
    with pytest.raises(ProviderFailed, match=r"no answer of its API|empty answer"):
        await dialect.ask(Question("?"))


@pytest.mark.parametrize("status", [400, 500])
async def test_garbage_with_a_status_is_told_by_the_status(dialect: Any, status: int) -> None:
    dialect.service.answers(b"<html>no</html>", status)
    with pytest.raises(ProviderFailed, match=str(status)):
        await dialect.ask(Question("?"))


async def test_silence_ends_at_the_time_of_the_settings(dialect: Any) -> None:
    dialect.service.hangs()
    with pytest.raises(ProviderTimeout, match=r"did not answer within 0\.2 s"):
        await dialect.ask(Question("?"), ask_timeout_s=0.2)


async def test_silence_ends_with_the_request(dialect: Any) -> None:
    dialect.service.hangs()
    with pytest.raises(ProviderTimeout, match=r"did not answer within 0\.2 s"):
        await dialect.ask(Question("?"), timeout_s=0.2)


async def test_the_second_attempt_shares_the_time_of_the_first(dialect: Any) -> None:
    dialect.service.says("no JSON")
    dialect.service.hangs()
    with pytest.raises(ProviderTimeout):
        await dialect.ask(Question("?", schema_json=SCHEMA), ask_timeout_s=0.5)


async def test_nobody_there_is_told_without_an_address(dialect: Any) -> None:
    nowhere = "http://127.0.0.1:9"
    with pytest.raises(ProviderFailed, match="could not be reached") as failure:
        await dialect.ask(Question("?"), gemini_base_url=nowhere, vlm_base_url=nowhere)
    assert "127.0.0.1" not in str(failure.value)


async def test_the_key_is_in_no_log_and_no_error(dialect: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    errors = []
    dialect.service.says("fine")
    await dialect.ask(Question("?"))
    for status in (400, 401, 403, 404, 429, 500):
        dialect.service.answers({"error": {"code": status, "message": f"you sent {KEY}"}}, status)
        with pytest.raises((ProviderFailed, QuotaExceeded)) as failure:
            await dialect.ask(Question("?"))
        errors.append(failure.value)
        assert failure.value.__suppress_context__, "what the SDK raised may quote the request"
    assert len(caplog.records) > 10
    assert KEY not in caplog.text
    assert not any(KEY in str(error) or KEY in repr(error) for error in errors)


# -- standing on settings ----------------------------------------------------------------------------------


@pytest.mark.parametrize("definition", DEFINITIONS.values(), ids=DEFINITIONS)
def test_nothing_is_asked_before_it_is_configured(definition: ModelDefinition) -> None:
    assert definition.connect is not None
    missing = definition.lacking(Settings())
    assert missing is not None
    assert missing.startswith("set SIGHTLINE_")
    with pytest.raises(ModelUnavailable, match="is not configured: set SIGHTLINE_"):
        definition.connect(Settings())


@pytest.mark.parametrize("definition", DEFINITIONS.values(), ids=DEFINITIONS)
def test_its_card_says_where_it_runs(definition: ModelDefinition) -> None:
    assert definition.card.runs is Runs.ELSEWHERE
    assert definition.card.capabilities == {ANSWER}
    assert definition.card.artifacts == ()


async def test_identity_follows_the_model_and_knows_no_key(dialect: Any) -> None:
    connect = dialect.definition.connect
    assert connect is not None
    identities = set()
    for changes in ({}, {"gemini_model": "b", "vlm_model": "b"}, {"ask_image_max_side": 99}):
        connection = connect(dialect.settings(**changes))
        assert connection.provenance is Provenance.REMOTE
        assert KEY not in connection.identity
        identities.add(connection.identity)
        await connection.model.close()
    assert len(identities) == 3


@pytest.mark.parametrize(("name", "package"), [("gemini", "google.genai"), ("openai-compatible", "openai")])
def test_the_missing_extra_is_said(name: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, package, None)
    definition = DEFINITIONS[name]
    settings = Settings(gemini_api_key=SecretStr(KEY), vlm_base_url="http://127.0.0.1:9", vlm_model="m")
    assert definition.connect is not None
    assert definition.lacking(settings) == how_to_add("ask"), "or lists would call it configured"
    with pytest.raises(ModelUnavailable, match="is not configured: run make extras"):
        definition.connect(settings)


def test_a_package_is_missed_with_all_above_it() -> None:
    assert uninstalled("no_such_package.genai") == how_to_add("ask")
    assert uninstalled("json.no_such_module") == how_to_add("ask")
    assert uninstalled("json.decoder") is None


def test_models_are_listed_without_loading_an_sdk() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from sightline import models; models.catalogue(); "
        "print([name for name in ('openai', 'google.genai') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# -- when to come back -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "expected"),
    [(None, None), ("5", 5), ("0", 1), ("-3", 1), ("2.2", 3), ("999999", LONGEST_RETRY_AFTER_S),
     ("soon", None), ("nan", None), ("inf", None), ("", None),
     ("Wed, 21 Oct 2015 07:28:00 GMT", 1), ("Wed, 21 Oct 2015 07:28:00", None)],
)  # fmt: skip
def test_retry_after_is_read(written: str | None, expected: int | None) -> None:
    assert retry_after_s(written) == expected


def test_retry_after_may_be_a_date() -> None:
    moment = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    assert retry_after_s(moment) in range(95, 102)
