"""Logging: one line an event, for people (``text``) or machines (``json``)."""

from __future__ import annotations

import io
import json
import logging
import sys
from datetime import UTC, datetime
from typing import TextIO

from exporter.protocol.printable import printable

_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def configure(level: str, style: str) -> None:
    """Send the log to standard error. ``style`` is ``text`` or ``json``."""
    target = _Handler(_unbuffered())
    target.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[target], force=True)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    # It writes whole addresses, which may have a key in them: also where a reply is odd.
    logging.getLogger("urllib3").setLevel(logging.CRITICAL + 1)


def _unbuffered() -> TextIO:
    """Standard error without a buffer: what a full disk did not take would fail the exit, too."""
    try:
        raw = io.FileIO(sys.stderr.fileno(), "w", closefd=False)
    except io.UnsupportedOperation:
        return sys.stderr
    return io.TextIOWrapper(raw, "utf-8", "backslashreplace", write_through=True)  # as python -u


class _Handler(logging.StreamHandler[TextIO]):
    """Says nothing where nothing can be written: that, too, would go to standard error."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  logging's own name
        """A line could not be written."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


class TextFormatter(logging.Formatter):
    """``time LEVEL message key=value …``."""

    def format(self, record: logging.LogRecord) -> str:
        """The record on one line, however many its message has."""
        values = "".join(f" {key}={_plain(value)}" for key, value in _extras(record).items())
        text = f"{_time(record)} {record.levelname:<7} {record.getMessage()}{values}"
        # What a server writes must neither forge a line nor steer or deceive a terminal.
        return printable(text + _trace(self, record), kept="\t")


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
