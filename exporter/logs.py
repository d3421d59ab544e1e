"""Logging: one line an event, for people (``text``) or machines (``json``)."""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime

_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

_CONTROL = re.compile(r"[\x00-\x08\n-\x1f\x7f-\x9f\u2028\u2029]")
"""What a server could write to its stderr to forge a line, or to move a terminal's cursor."""


def configure(level: str, style: str) -> None:
    """Send the log to standard error. ``style`` is ``text`` or ``json``."""
    target = logging.StreamHandler()
    target.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[target], force=True)
    logging.getLogger("asyncio").setLevel(logging.WARNING)


class TextFormatter(logging.Formatter):
    """``time LEVEL message key=value …``."""

    def format(self, record: logging.LogRecord) -> str:
        """The record on one line, however many its message has."""
        values = "".join(f" {key}={_plain(value)}" for key, value in _extras(record).items())
        text = f"{_time(record)} {record.levelname:<7} {record.getMessage()}{values}"
        return _CONTROL.sub(lambda sign: repr(sign[0])[1:-1], text + _trace(self, record))


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as an object: time, level, message, and what belongs to the event."""
        event = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "message": record.getMessage() + _trace(self, record),
            "logger": record.name,
            **_extras(record),
        }
        return json.dumps(event, default=str)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def _extras(record: logging.LogRecord) -> dict[str, object]:
    return {key: value for key, value in vars(record).items() if key not in _PLAIN}


def _plain(value: object) -> str:
    text = str(value)
    return json.dumps(text) if not text or " " in text or '"' in text else text


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    return "\n" + formatter.formatException(record.exc_info) if record.exc_info else ""
