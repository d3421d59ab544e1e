"""Takes secrets out of what is shown: the configured ones, and whatever looks like one."""

from __future__ import annotations

import functools
import json
import re
from base64 import b64encode
from collections.abc import Iterator
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

from exporter.config.model import HIDDEN, Server, TracingSettings, masked_url

SHORTEST = 4
"""A configured value with fewer characters is not looked for: it would be found everywhere."""

_KEY_LENGTH = 16
_SHORTEST_ENCODED = 6

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
_SENSITIVE_ARGUMENT = re.compile(rf"(?i)(?:{_SENSITIVE}|key|pat|pwd|pass|dsn)$")
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
    """Hides the secrets of one server, or of the collector of spans, in a text."""

    def __init__(self, owner: Server | TracingSettings) -> None:
        values = {value for value in _secrets(owner) if _is_worth_hiding(value)}
        forms = {form for value in values for form in _forms(value)}
        # The longest first: one secret may be a part of another.
        self._forms = sorted(forms, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """The text without secrets."""
        # To look for each is quicker than one pattern of all, which tries them at every place.
        found = [form for form in self._forms if form in text]
        if found:
            text = re.sub("|".join(map(re.escape, found)), HIDDEN, text)
        folded = text.lower()
        for sign, pattern in _PATTERNS:
            if sign in folded:
                text = pattern.sub(rf"\1{HIDDEN}", text)
        return text


def shown_endpoint(tracing: TracingSettings) -> str:
    """Where spans go, without what of it may be a secret."""
    return Redactor(tracing)(masked_url(tracing.endpoint))


@functools.lru_cache(maxsize=1024)
def is_sensitive(name: str) -> bool:
    """Whether a header, a variable or a flag of this name holds a secret."""
    return _SENSITIVE_NAME.search(name) is not None


def _is_worth_hiding(value: str) -> bool:
    return len(value) >= SHORTEST and value.lower() not in _ORDINARY


def _forms(value: str) -> Iterator[str]:
    """How a secret may be written: itself, its lines, in JSON, in a URL, in base64."""
    for text in {value, *(line.strip() for line in value.splitlines())}:
        if not _is_worth_hiding(text):
            continue
        yield text
        for form in (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]):
            yield form
            yield form.replace("/", "\\/")
        for form in (quote(text, safe="", errors="replace"), quote_plus(text, errors="replace")):
            yield form
            yield re.sub("%..", lambda match: match[0].lower(), form)
        yield quote(text, errors="replace")
    yield from _base64_forms(value.encode(errors="replace"))


def _base64_forms(data: bytes) -> Iterator[str]:
    """In base64, alone or inside a longer text: of that, what the secret alone decides."""
    if len(data) < _SHORTEST_ENCODED:
        return
    whole = b64encode(data).decode()
    found = {whole, whole.rstrip("=")}
    for offset, undecided in enumerate((0, 2, 3)):
        text = b64encode(bytes(offset) + data).decode().rstrip("=")
        is_whole = (offset + len(data)) % 3 == 0
        found.add(text[undecided : len(text) if is_whole else -1])
    for form in found:
        yield form
        yield form.replace("+", "-").replace("/", "_")


def _secrets(owner: Server | TracingSettings) -> Iterator[str]:
    yield from owner.secrets
    for value in owner.headers.values():
        yield value
        yield value.partition(" ")[2].strip()  # "Bearer …" without the scheme
    if isinstance(owner, TracingSettings):
        yield from _secrets_of_url(owner.endpoint)
        return
    yield from owner.env.values()
    yield from _secrets_of_url(owner.url or "")
    yield from _secrets_of_url(owner.proxy or "")
    yield from _secrets_of_arguments(owner.args)


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
        if value and _SENSITIVE_ARGUMENT.search(name):
            yield value
        elif _SENSITIVE_ARGUMENT.search(before) and before.startswith("-"):
            yield argument
        header, colon, content = argument.partition(":")
        if colon and _SENSITIVE_ARGUMENT.search(header):
            yield content.strip()
            yield content.strip().partition(" ")[2]
        if "://" in argument:
            yield from _secrets_of_url(argument)
        before = argument
