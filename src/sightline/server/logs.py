"""Logging of the server: one handler on stderr, JSON lines or text, every logger through it.

A line has a time, a level, a logger, a message, the id of the request it was written for, and whatever came
as extra fields. No value can break out of its line: control characters are escaped in both formats.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from sightline.errors import ConfigurationError
from sightline.settings import Settings

request_id: ContextVar[str | None] = ContextVar("sightline_request_id", default=None)
"""The id of the request the running task works for; it is on every line logged meanwhile."""

LEVELS: Mapping[str, int] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
# HTTP libraries log whole URLs, and headers at debug: signed URLs and tokens would end up in the log.
_CAPPED = ("httpx", "httpcore", "httpx2", "httpcore2")
_UVICORN = ("uvicorn", "uvicorn.error", "uvicorn.asgi")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "fields", "taskName"}
# Uvicorn's second copy of a message, with terminal codes in it.
_STANDARD |= {"color_message"}


def configure_logging(settings: Settings) -> None:
    """Send every log line of this process to stderr in the configured format, and nowhere else.

    Run uvicorn with ``log_config=None``, or it would put its own handlers back. Its access log is silenced:
    ``RequestLog`` writes a better line. Only Sightline's loggers go below info; others' debug output has
    secrets in it.

    Raises:
        ConfigurationError: an unknown log level.
    """
    level = LEVELS.get(settings.log_level.lower())
    if level is None:
        raise ConfigurationError(f"SIGHTLINE_LOG_LEVEL must be one of {', '.join(LEVELS)}")
    as_text = settings.log_format == "text" or (settings.log_format == "auto" and sys.stderr.isatty())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(TextFormatter() if as_text else JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.INFO))
    logging.getLogger("sightline").setLevel(level)
    for name in _UVICORN:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.NOTSET)
    access = logging.getLogger("uvicorn.access")
    access.handlers.clear()
    access.propagate = False
    for name in _CAPPED:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    logging.captureWarnings(True)


class JsonFormatter(logging.Formatter):
    """One JSON object per line, ASCII only: ts, level, logger, message, extra fields, exception."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "ts": _timestamp(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if trace := _trace(self, record):
            entry["exception"] = trace
        for key, value in _extras(record).items():
            entry.setdefault(str(key), value)
        try:
            return json.dumps(entry, allow_nan=False, default=str)
        except (TypeError, ValueError):  # NaN, a key that is no string, a value that contains itself
            return json.dumps({key: str(value) for key, value in entry.items()})


class TextFormatter(logging.Formatter):
    """``time LEVEL logger message key=value …`` for people; an exception follows on indented lines."""

    def format(self, record: logging.LogRecord) -> str:
        parts = [_timestamp(record), f"{record.levelname:<7}", record.name, escaped(record.getMessage())]
        parts += [f"{escaped(str(key))}={_text(value)}" for key, value in _extras(record).items()]
        lines = [" ".join(parts)]
        # The indent keeps a forged line in an exception's message from looking like one of ours.
        lines += [f"    {escaped(line)}" for line in _trace(self, record).splitlines()]
        return "\n".join(lines)


def escaped(text: str) -> str:
    """``text`` with everything that could move a cursor, start a line or hide itself written as an escape."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text
    )


def _text(value: Any) -> str:
    text = escaped(value if isinstance(value, str) else str(value))
    return repr(text) if " " in text and isinstance(value, str) else text


def _timestamp(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    """What came in ``extra``. A dict under "fields" is spread: its keys need not avoid logging's own."""
    extras = {key: value for key, value in vars(record).items() if key not in _STANDARD}
    fields = getattr(record, "fields", None)
    if isinstance(fields, Mapping):
        extras.update(fields)
    identity = request_id.get()
    if identity is not None:
        extras.setdefault("request_id", identity)
    return extras


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    trace = formatter.formatException(record.exc_info) if record.exc_info else record.exc_text or ""
    if record.stack_info:
        trace = f"{trace}\n{record.stack_info}".strip()
    return trace
