"""Takes secrets out of what is shown: the configured ones, and whatever looks like one."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from urllib.parse import parse_qsl, unquote, urlsplit

from exporter.config.model import Server

HIDDEN = "<secret>"

SHORTEST = 4
"""A configured value with fewer characters is not looked for: it would be found everywhere."""

_KEY_LENGTH = 16

_ORDINARY = frozenset(
    {
        "debug", "development", "disabled", "enabled", "error", "false", "http", "https", "info",
        "json", "local", "localhost", "none", "null", "production", "stdio", "test", "text",
        "true", "utf-8", "warn", "warning",
    }
)  # fmt: skip
"""Values of settings that are no secrets; masked, they would make the rest unreadable."""

# Every repetition is bounded: the texts that are searched come from servers.
_SENSITIVE = (
    r"(?:api[_-]?key|auth(?:orization)?|cookie|credentials?|passw\w{0,8}|secret\w{0,8}"
    r"|session[_-]?id|token)"
)
_SENSITIVE_NAME = re.compile(rf"(?i){_SENSITIVE}$")
_SHAPES = (
    # What must be there for the pattern to match: looking for that is quick.
    # What follows "bearer" in prose is a word; a token has capitals or digits in it.
    ("bearer", r"(\bbearer\s{1,8})(?!\w+=\")(?=\S*(?-i:[A-Z0-9]))[\w.~+/=-]{8,}"),
    ("basic", r"(\bbasic\s{1,8})(?!\w+=\")(?=\S*(?-i:[A-Z0-9]))[\w.~+/=-]{8,}"),
    ("=", rf"([?&][\w-]{{0,40}}{_SENSITIVE}=)[^&\s\"'<>#;,]+"),
    ('"', rf'("[\w-]{{0,40}}{_SENSITIVE}"\s{{0,8}}:\s{{0,8}}")[^"\\]+'),
    ("@", r"(\bhttps?://)[^/\s@\"'<>]+(?=@)"),
)
_PATTERNS = tuple((sign, re.compile(pattern, re.IGNORECASE)) for sign, pattern in _SHAPES)


class Redactor:
    """Hides the secrets of one server in a text."""

    def __init__(self, server: Server) -> None:
        found = {value for value in _secrets(server) if _is_worth_hiding(value)}
        # The longest first: one secret may be a part of another.
        values = "|".join(re.escape(value) for value in sorted(found, key=len, reverse=True))
        self._values = re.compile(values) if values else None

    def __call__(self, text: str) -> str:
        """The text without secrets."""
        if self._values is not None:
            text = self._values.sub(HIDDEN, text)
        folded = text.lower()
        for sign, pattern in _PATTERNS:
            if sign in folded:
                text = pattern.sub(rf"\1{HIDDEN}", text)
        return text


@functools.lru_cache(maxsize=1024)
def is_sensitive(name: str) -> bool:
    """Whether a header, a variable or a flag of this name holds a secret."""
    return _SENSITIVE_NAME.search(name) is not None


def _is_worth_hiding(value: str) -> bool:
    return len(value) >= SHORTEST and value.lower() not in _ORDINARY


def _secrets(server: Server) -> Iterator[str]:
    for value in server.headers.values():
        yield value
        yield value.partition(" ")[2].strip()  # "Bearer …" without the scheme
    yield from server.env.values()
    yield from _secrets_of_url(server.url or "")
    yield from _secrets_of_arguments(server.args)


def _secrets_of_url(url: str) -> Iterator[str]:
    parts = urlsplit(url)
    for text in (parts.username, parts.password):
        if text:
            yield text
            yield unquote(text)
    yield parts.query
    for _, value in parse_qsl(parts.query):
        yield value
    for segment in parts.path.split("/"):
        if len(segment) >= _KEY_LENGTH and not segment.isalpha() and not segment.isdigit():
            yield segment  # some services put the key into the path


def _secrets_of_arguments(arguments: tuple[str, ...]) -> Iterator[str]:
    before = ""
    for argument in arguments:
        name, _, value = argument.partition("=")
        if value and is_sensitive(name):
            yield value
        elif is_sensitive(before) and before.startswith("-"):
            yield argument
        header, colon, content = argument.partition(":")
        if colon and is_sensitive(header):
            yield content.strip()
            yield content.strip().partition(" ")[2]
        if "://" in argument:
            yield from _secrets_of_url(argument)
        before = argument
