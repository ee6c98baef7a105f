"""Lines that machines can parse and nobody can forge, from every logger of the process."""

import io
import json
import logging
import sys
import warnings
from collections.abc import Iterator
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.errors import ConfigurationError
from sightline.server.logs import JsonFormatter, TextFormatter, configure_logging, request_id
from sightline.settings import Settings

TOUCHED = ("", "sightline", "uvicorn", "uvicorn.error", "uvicorn.asgi", "uvicorn.access")
TOUCHED += ("httpx", "httpcore", "httpx2", "httpcore2")


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in TOUCHED]
    before = [(logger, list(logger.handlers), logger.level, logger.propagate) for logger in loggers]
    yield
    logging.captureWarnings(False)
    for logger, handlers, level, propagate in before:
        logger.handlers[:] = handlers
        logger.setLevel(level)
        logger.propagate = propagate


class _Stderr:
    """What went to stderr so far."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self._text = ""

    def getvalue(self) -> str:
        self._text += self._capsys.readouterr().err
        return self._text


@pytest.fixture
def stderr(capsys: pytest.CaptureFixture[str]) -> _Stderr:
    return _Stderr(capsys)


def lines(stream: _Stderr) -> list[dict]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_has_time_level_logger_message_and_extras(stderr: _Stderr) -> None:
    configure_logging(Settings(log_format="json"))
    logging.getLogger("sightline.x").info(
        "hello %s", "you", extra={"fields": {"name": "a", "ms": 1.5}, "n": 3}
    )
    (line,) = lines(stderr)
    assert list(line)[:4] == ["ts", "level", "logger", "message"]
    assert datetime.fromisoformat(line.pop("ts")).utcoffset().total_seconds() == 0
    assert line == {
        "level": "info", "logger": "sightline.x", "message": "hello you", "name": "a", "ms": 1.5, "n": 3,
    }  # fmt: skip


def test_extras_cannot_replace_what_is_the_lines_own(stderr: _Stderr) -> None:
    configure_logging(Settings(log_format="json"))
    logging.getLogger("sightline").warning("true", extra={"fields": {"message": "false", "level": "debug"}})
    (line,) = lines(stderr)
    assert (line["message"], line["level"]) == ("true", "warning")


def test_an_exception_is_a_field(stderr: _Stderr) -> None:
    configure_logging(Settings(log_format="json"))
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logging.getLogger("sightline").exception("it failed")
    (line,) = lines(stderr)
    assert line["exception"].startswith("Traceback")
    assert line["exception"].endswith("ValueError: two\nlines")


def test_the_request_is_named(stderr: _Stderr) -> None:
    configure_logging(Settings(log_format="json"))
    token = request_id.set("abc")
    logging.getLogger("sightline").info("within")
    request_id.reset(token)
    logging.getLogger("sightline").info("without")
    within, without = lines(stderr)
    assert within["request_id"] == "abc"
    assert "request_id" not in without


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1: {2}}, {("a",): 1}, b"\xff", object()])
def test_any_value_makes_a_line_of_json(stderr: _Stderr, value: object) -> None:
    configure_logging(Settings(log_format="json"))
    logging.getLogger("sightline").info("odd", extra={"fields": {"value": value, "ms": 1}})
    (line,) = lines(stderr)
    assert line["message"] == "odd"
    assert "value" in line


def test_a_value_that_contains_itself_makes_a_line(stderr: _Stderr) -> None:
    configure_logging(Settings(log_format="json"))
    value: list = []
    value.append(value)
    logging.getLogger("sightline").info("odd", extra={"fields": {"value": value}})
    assert lines(stderr)[0]["message"] == "odd"


def test_text_is_for_people(stderr: _Stderr) -> None:
    configure_logging(Settings(log_format="text"))
    logging.getLogger("sightline.access").info("GET /x 200", extra={"fields": {"ms": 1.5, "who": "a b"}})
    moment, rest = stderr.getvalue().split(" ", 1)
    assert datetime.fromisoformat(moment)
    assert rest == "INFO    sightline.access GET /x 200 ms=1.5 who='a b'\n"


def test_text_indents_exceptions(stderr: _Stderr) -> None:
    configure_logging(Settings(log_format="text"))
    try:
        raise ValueError("first\n2025-01-01T00:00:00.000Z INFO forged\x1b[2J")
    except ValueError:
        logging.getLogger("sightline").exception("it failed")
    first, *others = stderr.getvalue().splitlines()
    assert first.endswith("it failed")
    assert all(line.startswith("    ") for line in others)
    assert "\x1b" not in stderr.getvalue()


HOSTILE = st.text(st.characters()) | st.sampled_from(
    ["a\r\nb", "\x1b[31m", "\x9b31m", "\u2028", "\u202e", "\x00"]
)


def _record(text: str) -> logging.LogRecord:
    record = logging.LogRecord("sightline", logging.INFO, "x.py", 1, "%s", (text,), None)
    record.fields = {"value": text, text: 1, "nested": [text]}
    return record


@given(HOSTILE)
def test_nothing_breaks_out_of_a_text_line(text: str) -> None:
    line = TextFormatter().format(_record(text))
    assert line.isprintable()
    assert line.encode()


@given(HOSTILE)
def test_nothing_breaks_out_of_a_json_line(text: str) -> None:
    line = JsonFormatter().format(_record(text))
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["message"] == text


@pytest.mark.parametrize(("terminal", "is_json"), [(True, False), (False, True)])
def test_auto_is_text_on_a_terminal(monkeypatch: pytest.MonkeyPatch, terminal: bool, is_json: bool) -> None:
    stream = _Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    configure_logging(Settings(log_format="auto"))
    logging.getLogger("sightline").info("hello")
    assert stream.getvalue().startswith("{") is is_json


def test_uvicorn_goes_through_the_one_handler(stderr: _Stderr) -> None:
    import logging.config

    import uvicorn.config

    logging.config.dictConfig(uvicorn.config.LOGGING_CONFIG)  # what uvicorn does when left alone
    logging.getLogger("uvicorn.access").propagate = True  # and what it does with log_config=None
    configure_logging(Settings(log_format="json"))
    logging.getLogger("uvicorn.error").info("started")
    logging.getLogger("uvicorn").warning("odd")
    logging.getLogger("uvicorn.access").info('127.0.0.1 - "GET /x?token=s3cret HTTP/1.1" 200')
    assert [line["message"] for line in lines(stderr)] == ["started", "odd"]
    assert not logging.getLogger("uvicorn.access").hasHandlers()  # lets uvicorn skip formatting it


def test_configuring_twice_leaves_one_handler(stderr: _Stderr) -> None:
    configure_logging(Settings(log_format="json"))
    configure_logging(Settings(log_format="json"))
    logging.getLogger("sightline").info("once")
    assert len(lines(stderr)) == 1


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        ("debug", ["sightline debug", "sightline info", "else info", "else warning", "httpcore2 warning"]),
        ("INFO", ["sightline info", "else info", "else warning", "httpcore2 warning"]),
        ("warning", ["else warning", "httpcore2 warning"]),
        ("error", []),
    ],
)
def test_debug_is_for_our_own_loggers(stderr: _Stderr, level: str, shown: list[str]) -> None:
    configure_logging(Settings(log_format="json", log_level=level))
    for name, said in (
        ("sightline", ("debug", "info")),
        ("else", ("debug", "info", "warning")),
        ("httpcore2", ("debug", "info", "warning")),
    ):
        for each in said:
            getattr(logging.getLogger(f"{name}.module"), each)(f"{name} {each}")
    assert [line["message"] for line in lines(stderr)] == shown


def test_an_unknown_level_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="debug, info, warning, error"):
        configure_logging(Settings(log_level="loud"))


def test_warnings_are_lines_too(stderr: _Stderr) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        configure_logging(Settings(log_format="json"))
        warnings.warn("old", DeprecationWarning, stacklevel=1)
        logging.captureWarnings(False)
    (line,) = lines(stderr)
    assert line["logger"] == "py.warnings"
    assert "DeprecationWarning: old" in line["message"]
