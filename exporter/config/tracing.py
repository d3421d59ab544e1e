"""Where spans go and which are kept: the settings of ``tracing``, and OpenTelemetry's variables.

What the file says comes before what a variable says, as everywhere.
https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from importlib.util import find_spec
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from exporter.config import validators
from exporter.config.document import Node, quoted
from exporter.config.errors import ConfigError
from exporter.config.model import TracingSettings, Values
from exporter.config.variables import Variables
from exporter.protocol.label_values import Outcome
from exporter.protocol.printable import printable

PATH = "/v1/traces"
_PREFIX = "OTEL_EXPORTER_OTLP_"
_DISABLED = "OTEL_SDK_DISABLED"
_SPOKEN = "http/protobuf"
_LIKE = "http://127.0.0.1:4318"
_COMPRESSIONS = ("none", "gzip")
_CONTEXTS = ("parent", "link", "ignore")
_LONGEST = 255
"""Characters of a resource attribute."""

_OWN_HEADERS = frozenset({"content-type", "content-encoding"})
_SET_HERE = "is set by the exporter itself; remove it"


class _Variable(NamedTuple):
    """A variable of OpenTelemetry's that says something."""

    name: str
    text: str

    def error(self, problem: str) -> ConfigError:
        return ConfigError(printable(f"{self.name}: {problem}"))


def tracing(given: Node | None, variables: Variables) -> TracingSettings | None:
    """The settings of the file's ``tracing``, or ``None`` where it has none or all is disabled."""
    environ, secrets = variables.environ, set[str]()
    if given is None or _is_disabled(environ):
        return None
    node = replace(given, expand=replace(variables, secrets=secrets).expand)
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
    for key, understand in _VARIABLE_READERS.items():
        variable = None if key in own else _either(environ, key.upper())
        if variable is not None:
            own[key] = understand(variable)
    endpoint = _endpoint(node, named, environ)
    return TracingSettings(
        endpoint=endpoint,
        headers=Values(_headers(named, environ)),
        resource=Values(_resource(named, environ)),
        secrets=frozenset(secrets),
        **own,
    )


def _variable(environ: Mapping[str, str], name: str) -> _Variable | None:
    text = environ.get(name, "").strip()
    return _Variable(name, text) if text else None


def _either(environ: Mapping[str, str], kind: str) -> _Variable | None:
    """The variable that counts: that of traces, else that of everything."""
    return _variable(environ, f"{_PREFIX}TRACES_{kind}") or _variable(environ, f"{_PREFIX}{kind}")


def _is_disabled(environ: Mapping[str, str]) -> bool:
    variable = _variable(environ, _DISABLED)
    if variable is None:
        return False
    word = variable.text.lower()
    if word not in ("true", "false"):  # by the specification it would count as false, unnoticed
        raise variable.error(f"must be true or false, not {quoted(variable.text)}")
    return word == "true"


def _is_lacking(package: str) -> bool:
    try:
        return find_spec(package) is None
    except ModuleNotFoundError:  # not even what it is a part of
        return True


def _endpoint(node: Node, named: Mapping[str, Node], environ: Mapping[str, str]) -> str:
    if "endpoint" in named:
        url = validators.url(named["endpoint"], _LIKE)
        if "@" in urlsplit(url).netloc:
            raise named["endpoint"].error("has a user; write it into headers as Authorization")
        return _with_path(url)
    variable = _either(environ, "ENDPOINT")
    if variable is None:
        raise node.error(f'has no "endpoint"; add where spans go, like "{_LIKE}"')
    protocol = _either(environ, "PROTOCOL")
    if protocol is not None and protocol.text != _SPOKEN:
        raise protocol.error(
            f'only "{_SPOKEN}" is spoken; write that and the endpoint for it, or write the '
            'endpoint into "tracing"'
        )
    url = _url(variable)
    return url if "TRACES" in variable.name else _with_path(url)


def _url(variable: _Variable) -> str:
    try:
        parts = urlsplit(validators.parse_url(variable.text, _LIKE))
    except ConfigError as problem:
        raise variable.error(str(problem)) from None
    if "@" in parts.netloc:
        raise variable.error(f"has a user; write it into {_PREFIX}HEADERS as Authorization")
    return parts.geturl()


def _with_path(url: str) -> str:
    parts = urlsplit(url)
    path = parts.path.rstrip("/")
    return parts._replace(path=path if path.endswith(PATH) else path + PATH).geturl()


def _headers(named: Mapping[str, Node], environ: Mapping[str, str]) -> dict[str, str]:
    if "headers" in named:
        nodes = named["headers"].mapping()
        for name, node in nodes.items():
            if name.lower() in _OWN_HEADERS:
                raise node.error(_SET_HERE)
        return validators.headers(nodes)
    variable = _either(environ, "HEADERS")
    return {} if variable is None else _headers_of(variable)


def _headers_of(variable: _Variable) -> dict[str, str]:
    found: dict[str, str] = {}
    seen: set[str] = set()
    for number, name, value in _pairs(variable):
        if name.lower() in _OWN_HEADERS:
            raise variable.error(f"part {number}: {_SET_HERE}")
        try:
            validators.check_header_name(name, seen)
            found[name] = validators.header_value(value)
        except ConfigError as problem:
            raise variable.error(f"part {number}: {problem}") from None
    return found


def _resource(named: Mapping[str, Node], environ: Mapping[str, str]) -> dict[str, str]:
    variable = _variable(environ, "OTEL_RESOURCE_ATTRIBUTES")
    found = {} if variable is None else _resource_of(variable)
    service = _variable(environ, "OTEL_SERVICE_NAME")
    if service is not None:
        if not _is_attribute("service.name", service.text):
            raise service.error(f"must be 1 to {_LONGEST} printable characters; mend it")
        found["service.name"] = service.text
    nodes = named["resource"].mapping() if "resource" in named else {}
    for key, node in nodes.items():
        value = node.scalar()
        if not _is_attribute(key, value):
            raise node.error(_NO_ATTRIBUTE)
        found[key] = value
    return found


def _resource_of(variable: _Variable) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, name, value in _pairs(variable):
        if not _is_attribute(name, value):
            raise variable.error(f"part {number}: {_NO_ATTRIBUTE}")
        found[name] = value
    return found


_NO_ATTRIBUTE = (
    f"a name of 1 to {_LONGEST} printable characters and a value of no more are needed; mend it"
)


def _is_attribute(name: str, value: str) -> bool:
    # A variable that is no UTF-8 cannot be written into a message: it is not printable either.
    texts = (name, value)
    return name != "" and all(len(text) <= _LONGEST and text.isprintable() for text in texts)


def _pairs(variable: _Variable) -> Iterator[tuple[int, str, str]]:
    """The parts of ``a=1,b=2``, as W3C Baggage has it. Complaints never show a value."""
    for number, item in enumerate(filter(None, map(str.strip, variable.text.split(","))), 1):
        name, sign, value = item.partition("=")
        try:
            name, value = (unquote(text.strip(), errors="strict") for text in (name, value))
        except UnicodeDecodeError:
            raise variable.error(f"part {number}: has a %XX that is no UTF-8; mend it") from None
        if not sign or not name:
            problem = f"part {number} is not NAME=VALUE; write it like name=value,other=value"
            raise variable.error(problem)
        yield number, name, value


def _compression(variable: _Variable) -> str:
    if variable.text not in _COMPRESSIONS:
        raise variable.error(f'{quoted(variable.text)} is unknown; write "none" or "gzip"')
    return variable.text


def _timeout(variable: _Variable) -> float:
    if not re.fullmatch(r"\d{1,7}", variable.text, re.ASCII) or int(variable.text) == 0:
        raise variable.error("must be milliseconds, a whole number from 1 to 9999999")
    return int(variable.text) / 1000


_VARIABLE_READERS: Mapping[str, Callable[[_Variable], str | float]] = {
    "compression": _compression,
    "timeout": _timeout,
}


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
