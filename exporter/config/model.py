"""What the exporter is told, as frozen dataclasses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from exporter.config.client_keys import Transport
from exporter.config.limits import DEFAULT_TIMEOUT, Bounds, Timeout
from exporter.config.upstream_tls import UpstreamTls

HIDDEN = "<secret>"
"""Stands for what is not shown."""


class Values(Mapping[str, str]):
    """Names and secret values: a frozen, hashable mapping whose repr shows the names alone."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, str] | Iterable[tuple[str, str]] = ()) -> None:
        self._values = dict(values)

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return hash(frozenset(self._values.items()))

    def __repr__(self) -> str:
        return repr(dict.fromkeys(self._values, HIDDEN))


@dataclass(frozen=True, slots=True)
class ProbeSettings:
    """How a server's health is found. Times are in seconds."""

    enabled: bool = True
    interval: float = 30.0
    timeout: float = 5.0
    list_interval: float = 300.0
    passive: bool = True


@dataclass(frozen=True, slots=True)
class Limits(Bounds):
    """What the exporter bounds: numbers, sizes in bytes, times in seconds. `observed_bytes` is what
    is kept of one message for reading."""

    servers: int = 1000
    request_bytes: int = 4 * 1024 * 1024
    observed_bytes: int = 8 * 1024 * 1024
    header_bytes: int = 64 * 1024
    connections: int = 1000
    read_timeout: float = 30.0
    write_timeout: float = 60.0
    keep_alive: float = 75.0
    tools_per_server: int = 500
    tools_total: int = 2000
    clients: int = 50


@dataclass(frozen=True, slots=True, repr=False)
class Server:
    """One configured server: `command` for stdio, `url` otherwise. Times are in seconds;
    a `timeout` or `idle_timeout` of 0 means none."""

    name: str
    transport: Transport
    command: str | None = None
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=Values)
    cwd: str | None = None
    url: str | None = None
    headers: Mapping[str, str] = field(default_factory=Values)
    proxy: str | None = None
    """The URL of an HTTP proxy, or ``direct``; ``None``: what the environment says."""
    tls: UpstreamTls | None = None
    propagate: bool | None = None
    """Whether it is told of the exporter's spans; ``None``: what ``tracing`` says."""
    timeout: Timeout = DEFAULT_TIMEOUT
    idle_timeout: float = 1800.0
    probe: ProbeSettings = ProbeSettings()
    secrets: frozenset[str] = field(default=frozenset(), compare=False)
    """The values that came from variables and files, wherever they stand in the others."""
    masked_args: tuple[str, ...] = field(default=(), compare=False)
    """``args`` with each such value hidden, however short it is."""

    def __repr__(self) -> str:
        """Without the values that may be secrets: arguments, environment, headers, and the
        user information and query of the URL."""
        shown = {name: getattr(self, name) for name in self.__slots__}
        shown["args"] = f"<{len(self.args)}>"
        shown["secrets"] = f"<{len(self.secrets)}>"
        shown["masked_args"] = f"<{len(self.masked_args)}>"
        shown["env"] = Values(self.env)
        shown["headers"] = Values(self.headers)
        shown["url"] = self.url and masked_url(self.url)
        shown["proxy"] = self.proxy and masked_proxy(self.proxy)
        return f"Server({', '.join(f'{name}={value!r}' for name, value in shown.items())})"


@dataclass(frozen=True, slots=True)
class TracingSettings:
    """Where spans go and which are kept. Times are in seconds; a `slower_than` or `per_second` of 0
    means that there is none."""

    endpoint: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=Values)
    compression: str = "none"
    timeout: float = 10.0
    sample: float = 1.0
    always: frozenset[str] = frozenset(
        {"tool_error", "protocol_error", "timeout", "upstream_error"}
    )
    slower_than: float = 0.0
    per_second: int = 1000
    context: str = "parent"
    propagate: bool = False
    resource: Mapping[str, str] = field(default_factory=Values)
    secrets: frozenset[str] = field(default=frozenset(), compare=False, repr=False)
    """The values that came from variables and files, wherever they stand in the others."""


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration; `servers` is in the order of the file. Without `tracing`, no spans
    are made."""

    servers: Mapping[str, Server]
    limits: Limits = Limits()
    defaults: Server = Server(name="", transport="stdio")
    """What a server is where it says nothing else: its times and how it is probed."""
    tracing: TracingSettings | None = None


def masked_url(url: str) -> str:
    """The URL without what may be secret: user information, query and fragment."""
    parts = urlsplit(url)
    query = f"?{HIDDEN}" if parts.query else ""
    user = f"{HIDDEN}@" if "@" in parts.netloc else ""
    return f"{parts.scheme}://{user}{parts.netloc.rpartition('@')[2]}{parts.path}{query}"


def masked_proxy(proxy: str) -> str:
    """A proxy without the user's name and password."""
    return masked_url(proxy) if "://" in proxy else proxy
