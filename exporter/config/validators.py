"""Keys and single values of the configuration, each checked, each complaint with its mend."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import TypeVar
from urllib.parse import urlsplit

from exporter.config.document import Node, quoted
from exporter.config.errors import ConfigError
from exporter.protocol.label_values import OTHER

_T = TypeVar("_T")

MAX_NAME = 128
_LONGEST_KEY = 40

_FRAMING_HEADERS = frozenset(
    {"connection", "content-length", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
)
_MILLISECONDS = {
    "y": 31_536_000_000,
    "w": 604_800_000,
    "d": 86_400_000,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1000,
    "ms": 1,
}
_DURATION = re.compile("".join(rf"(?:(?P<{u}>\d{{1,9}}){u})?" for u in _MILLISECONDS), re.ASCII)
_SIZES = {"": 1, "B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


def parse_duration(text: str) -> float:
    """Seconds of a Prometheus duration: "30s", "1h30m", "250ms", "1d", "0".

    Raises ConfigError, saying how to write it."""
    if text == "0":
        return 0.0
    if re.fullmatch(r"\d+(\.\d+)?", text, re.ASCII):
        raise ConfigError(f"{quoted(text)} has no unit; write {quoted(text[:12] + 's')}")
    match = _DURATION.fullmatch(text)
    if match is None or not text:
        raise ConfigError(f'{quoted(text)} is not a duration; write it like "30s", "5m" or "1h30m"')
    counts = match.groupdict("0")
    return sum(int(counts[unit]) * size for unit, size in _MILLISECONDS.items()) / 1000


def format_duration(seconds: float) -> str:
    """The duration as ``parse_duration`` reads it, in days and less: "1h30m", "250ms", "0"."""
    left = round(seconds * 1000)
    parts = []
    for unit in ("d", "h", "m", "s", "ms"):
        count, left = divmod(left, _MILLISECONDS[unit])
        parts += [f"{count}{unit}"] if count else []
    return "".join(parts) or "0"


def duration(node: Node) -> float:
    text = node.scalar()
    try:
        return parse_duration(text)
    except ConfigError as problem:
        raise node.error(str(problem)) from None


def positive_duration(node: Node) -> float:
    seconds = duration(node)
    if seconds == 0:
        raise node.error('must be more than 0; write it like "30s"')
    return seconds


def request_timeout(node: Node) -> float:
    """A duration, or a client's bare number. Cline and Roo Code count seconds, up to 3600; Claude
    Code, Gemini CLI and Kiro count milliseconds. A few milliseconds read as seconds do no harm:
    the client itself gives up first."""
    if node.kind != "a number":
        return duration(node)
    number = node.scalar()
    if not re.fullmatch(r"\d{1,12}", number, re.ASCII):
        raise node.error('must be a duration; write it like "30s"')
    return float(number) if int(number) <= 3600 else int(number) / 1000


def boolean(node: Node) -> bool:
    word = node.scalar().lower()
    if word not in ("true", "yes", "on", "false", "no", "off"):
        raise node.error(f"must be true or false, not {quoted(word)}")
    return word in ("true", "yes", "on")


def count(node: Node) -> int:
    number = node.scalar()
    if not re.fullmatch(r"\d{1,9}", number, re.ASCII) or int(number) == 0:
        raise node.error(f"must be a whole number from 1, not {quoted(number)}")
    return int(number)


def size_in_bytes(node: Node) -> int:
    size = node.scalar()
    match = re.fullmatch(r"(\d{1,12}) ?(|B|KiB|MiB|GiB)", size, re.ASCII)
    if match is None or int(match[1]) == 0:
        raise node.error(
            f'{quoted(size)} is not a size; write bytes, or it like "512KiB" or "4MiB"'
        )
    return int(match[1]) * _SIZES[match[2]]


def filled(node: Node) -> str:
    text = node.text()
    if not text.strip():
        raise node.error("is empty; fill it in, or remove it")
    return text


def url(node: Node, like: str = "https://host:8000/mcp") -> str:
    """The URL of a server, or of another place that is written ``like`` this."""
    text = filled(node)
    try:
        return parse_url(text, like)
    except ConfigError as problem:
        raise node.error(str(problem)) from None


def parse_url(text: str, like: str) -> str:
    """``text``, which is a URL. Raises ConfigError, which says how to write it, but not the URL."""
    try:
        parts = urlsplit(text)
        valid = bool(parts.hostname) and parts.port != 0 and re.fullmatch(r"[!-~]+", text)
    except ValueError:  # a port or an IPv6 address that cannot be
        valid = False
    else:
        if parts.scheme.lower() not in ("http", "https"):
            raise ConfigError(f'{_scheme(text)}; start it with "http://" or "https://"')
    if not valid:
        raise ConfigError(f'not a URL; write it like "{like}", other characters as %XX')
    if "#" in text:
        raise ConfigError('a fragment is never sent; remove "#" and what follows')
    return text


def proxy(node: Node) -> str:
    """The URL of an HTTP proxy, or ``direct`` for none."""
    text = filled(node)
    if text == "direct":
        return text
    mend = 'write it like "http://proxy.example.com:3128", or "direct" for none'
    try:
        parts = urlsplit(text)
        is_right = parts.scheme == "http" and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_right = False
    if not is_right or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise node.error(f"is not the URL of an HTTP proxy; {mend}")
    return text


def _scheme(url: str) -> str:
    # What does not look like a scheme may be a secret that went to the wrong place.
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]{0,15})://", url)
    return f"cannot reach a {quoted(match[1])} URL" if match else "has no scheme"


def headers(nodes: Mapping[str, Node]) -> dict[str, str]:
    values: dict[str, str] = {}
    seen: set[str] = set()
    for name, node in nodes.items():
        text = node.text()
        try:
            check_header_name(name, seen)
            values[name] = header_value(text)
        except ConfigError as problem:
            raise node.error(str(problem)) from None
    return values


def check_header_name(name: str, seen: set[str]) -> None:
    """Add a name to those ``seen``. Raises ConfigError for one that is, or that cannot be sent."""
    if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name):
        raise ConfigError("not a header name; use letters, digits and hyphens")
    if name.lower() in _FRAMING_HEADERS:
        raise ConfigError("is set by the exporter itself; remove it")
    if name.lower() in seen:
        raise ConfigError("written twice, headers ignore case; keep one")
    seen.add(name.lower())


def header_value(text: str) -> str:
    """The value as it is sent. Raises ConfigError for one that cannot be."""
    value = text.strip(" \t")
    if "\r" in value or "\n" in value:
        raise ConfigError("has a line break; keep the value on one line")
    if not re.fullmatch(r"[\t -~]*", value):
        raise ConfigError("has a character that a header cannot carry; use printable ASCII")
    return value


def check_name(name: str, node: Node) -> None:
    """A name is part of a URL, a label value, and what people read."""
    if not name or len(name) > MAX_NAME:
        raise node.error(f"a server's name must have 1 to {MAX_NAME} characters; rename it")
    if not name.isprintable():
        raise node.error("a server's name cannot have control characters; rename it")
    segments = name.split("/")
    if not all(segments) or "." in segments or ".." in segments:
        raise node.error(
            'a server\'s name cannot start or end with "/", or have an empty, "." or ".." part; '
            "rename it"
        )
    if name == OTHER or segments[0] == ".well-known":
        raise node.error("a server cannot have this reserved name; rename it")


def present(node: Node) -> dict[str, Node]:
    """The children that say something: a key with nothing after it counts as left out."""
    return {key: child for key, child in node.mapping().items() if child.kind != "null"}


def optional(given: Mapping[str, Node], key: str, reader: Callable[[Node], _T], default: _T) -> _T:
    return reader(given[key]) if key in given and given[key].kind != "null" else default


def only_one(given: Mapping[str, Node], keys: Iterable[str]) -> Node | None:
    found = [given[key] for key in keys if key in given]
    if len(found) > 1:
        raise found[1].error(f"says the same as {quoted(last(found[0]))}; keep one of the two")
    return found[0] if found else None


def reject_unknown(
    given: Mapping[str, Node], known: Iterable[str], tolerated: Iterable[str]
) -> None:
    allowed = {*known, *tolerated}
    for key, node in given.items():
        if key not in allowed and not key.startswith("x-"):
            close = get_close_matches(key[:_LONGEST_KEY], sorted(allowed), 1)
            mend = f"did you mean {quoted(close[0])}?" if close else "remove it; known are "
            listed = "" if close else ", ".join(known)
            raise node.error(f"unknown key; {mend}{listed}")


def reject_filled(given: Mapping[str, Node], keys: Iterable[str], problem: str) -> None:
    for key in keys:
        if key in given and given[key].raw.value:
            raise given[key].error(problem)


def last(node: Node) -> str:
    return node.path.rpartition(".")[2]
