"""Where spans go and which are kept: the settings of ``tracing``, and OpenTelemetry's variables.

What the file says comes before what a variable says, as everywhere.
https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any
from urllib.parse import unquote, urlsplit

from exporter.config import validators
from exporter.config.document import Node, quoted
from exporter.config.errors import ConfigError
from exporter.config.model import TracingSettings, Values
from exporter.protocol.label_values import Outcome

PATH = "/v1/traces"
_PREFIX = "OTEL_EXPORTER_OTLP_"
_COMPRESSIONS = ("none", "gzip")
_CONTEXTS = ("parent", "link", "ignore")
_LONGEST = 255
"""Characters of a resource attribute."""


def tracing(given: Mapping[str, Node], environ: Mapping[str, str]) -> TracingSettings | None:
    """The settings of the file's ``tracing``, or ``None`` where it has none or all is disabled."""
    node = given.get("tracing")
    if node is None or environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    lacking = next(filter(_is_lacking, ("opentelemetry.proto", "urllib3")), None)
    if lacking is not None:
        raise node.error(
            f"needs the package {lacking}, which is not installed; "
            "run: pip install 'mcp-exporter[tracing]', or remove tracing"
        )
    named = {} if node.kind == "null" else validators.present(node)
    validators.reject_unknown(named, ("endpoint", "headers", "resource", *_READERS), ())
    own = {key: read(named[key]) for key, read in _READERS.items() if key in named}
    if own.get("propagate") and own.get("context", "parent") != "parent":
        raise named["propagate"].error('needs "context: parent"; change one of the two')
    own = {**_from_variables(environ), **own}
    endpoint = _endpoint(node, named, environ)
    return TracingSettings(
        endpoint=endpoint,
        headers=Values(_headers(named, environ)),
        resource=Values(_resource(named, environ)),
        **own,
    )


def _is_lacking(package: str) -> bool:
    try:
        return find_spec(package) is None
    except ModuleNotFoundError:  # not even what it is a part of
        return True


def _endpoint(node: Node, named: Mapping[str, Node], environ: Mapping[str, str]) -> str:
    if "endpoint" in named:
        url = validators.url(named["endpoint"])
        if "@" in urlsplit(url).netloc:
            raise named["endpoint"].error("has a user; write it into headers as Authorization")
        return _with_path(url)
    whole = environ.get(f"{_PREFIX}TRACES_ENDPOINT", "").strip()
    if whole:
        return _url(f"{_PREFIX}TRACES_ENDPOINT", whole)
    base = environ.get(f"{_PREFIX}ENDPOINT", "").strip()
    if not base:
        raise node.error('has no "endpoint"; add where spans go, like "http://127.0.0.1:4318"')
    return _with_path(_url(f"{_PREFIX}ENDPOINT", base))


def _url(variable: str, text: str) -> str:
    try:
        parts = urlsplit(text)
        is_valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        is_valid = is_valid and "@" not in parts.netloc
    except ValueError:
        is_valid = False
    if not is_valid or not re.fullmatch(r"[!-~]+", text):
        raise ConfigError(f'{variable}: not a URL; write it like "http://127.0.0.1:4318"')
    return text


def _with_path(url: str) -> str:
    parts = urlsplit(url)
    path = parts.path.rstrip("/")
    return parts._replace(path=path if path.endswith(PATH) else path + PATH).geturl()


def _headers(named: Mapping[str, Node], environ: Mapping[str, str]) -> dict[str, str]:
    if "headers" in named:
        return validators.headers(named["headers"].mapping())
    for variable in (f"{_PREFIX}TRACES_HEADERS", f"{_PREFIX}HEADERS"):
        if environ.get(variable, "").strip():
            return _pairs(variable, environ[variable])
    return {}


def _resource(named: Mapping[str, Node], environ: Mapping[str, str]) -> dict[str, str]:
    found = _pairs("OTEL_RESOURCE_ATTRIBUTES", environ.get("OTEL_RESOURCE_ATTRIBUTES", ""))
    if service := environ.get("OTEL_SERVICE_NAME", "").strip():
        found["service.name"] = service
    nodes = named["resource"].mapping() if "resource" in named else {}
    for key, node in nodes.items():
        value = node.scalar()
        if not key or max(len(key), len(value)) > _LONGEST:
            raise node.error(f"a name and its value have 1 to {_LONGEST} characters; shorten it")
        found[key] = value
    return found


def _pairs(variable: str, text: str) -> dict[str, str]:
    """``a=1,b=2`` as W3C Baggage has it. Complaints never show a value."""
    found = {}
    for number, item in enumerate(filter(None, map(str.strip, text.split(","))), 1):
        name, sign, value = item.partition("=")
        value = unquote(value.strip())
        if not sign or not name.strip() or not value.isprintable() or not value.isascii():
            problem = f"part {number} is not NAME=VALUE; write it like name=value,other=value"
            raise ConfigError(f"{variable}: {problem}")
        found[unquote(name.strip())] = value
    return found


def _from_variables(environ: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for kind in ("", "TRACES_"):
        variable = f"{_PREFIX}{kind}COMPRESSION"
        if word := environ.get(variable, "").strip():
            if word not in _COMPRESSIONS:
                raise ConfigError(f'{variable}: {quoted(word)} is unknown; write "none" or "gzip"')
            found["compression"] = word
        variable = f"{_PREFIX}{kind}TIMEOUT"
        if number := environ.get(variable, "").strip():
            if not re.fullmatch(r"\d{1,7}", number, re.ASCII) or int(number) == 0:
                raise ConfigError(f"{variable}: must be milliseconds, a whole number from 1")
            found["timeout"] = int(number) / 1000
    return found


def _one_of(words: tuple[str, ...]) -> Callable[[Node], str]:
    def read(node: Node) -> str:
        word = node.scalar()
        if word not in words:
            known = ", ".join(map(quoted, words))
            raise node.error(f"{quoted(word)} is unknown; write one of {known}")
        return word

    return read


def _share(node: Node) -> float:
    text = node.scalar()
    share = float(text) if re.fullmatch(r"\d{1,3}(\.\d{1,9})?", text, re.ASCII) else -1.0
    if not 0 <= share <= 1:
        raise node.error(f"must be a share from 0 to 1, not {quoted(text)}")
    return share


_KEPT = frozenset(outcome.value for outcome in Outcome) - {Outcome.REJECTED}


def _outcomes(node: Node) -> frozenset[str]:
    words = node.items()
    for word in words:
        if word.text() not in _KEPT:
            known = ", ".join(sorted(_KEPT))
            raise word.error(f"{quoted(word.text())} is no outcome of a request; known are {known}")
    return frozenset(word.text() for word in words)


def _count_or_none(node: Node) -> int:
    return 0 if node.scalar() == "0" else validators.count(node)


_READERS: Mapping[str, Callable[[Node], Any]] = {
    "compression": _one_of(_COMPRESSIONS),
    "timeout": validators.positive_duration,
    "sample": _share,
    "always": _outcomes,
    "slower_than": validators.duration,
    "per_second": _count_or_none,
    "context": _one_of(_CONTEXTS),
    "propagate": validators.boolean,
}
