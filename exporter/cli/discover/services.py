"""Which Services of Kubernetes are MCP servers, and how they are called: pure.

What a Service says of itself is its owner's word. It can name a port of its own, a path and a
transport; never another host, a command, a header or a secret.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_OURS = "mcp-exporter/"
_KAGENT = "kagent.dev/mcp-service"
_APP_PROTOCOLS = {"agentgateway.dev/mcp": "http", "agentgateway.dev/mcp-sse": "sse"}
_APP_PATH = "agentgateway.dev/mcp-path"
_TRANSPORTS = {"http": "http", "streamable_http": "http", "streamable-http": "http", "sse": "sse"}
_PATHS = {"http": "/mcp", "sse": "/sse"}
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")  # RFC 1123
_NAME = re.compile(r"[A-Za-z0-9]([-._A-Za-z0-9]{0,61}[A-Za-z0-9])?")
# Of RFC 3986 without `$`, which would begin a variable of the configuration.
_PATH = re.compile(r"/[-A-Za-z0-9._~!&'()*+,;=:@%/]{0,511}")


class ServiceError(Exception):
    """It says that it is an MCP server, but not in a way that can be followed."""


@dataclass(frozen=True, slots=True)
class DiscoveredServer:
    """One MCP server."""

    name: str
    url: str
    transport: str

    @property
    def settings(self) -> dict[str, str]:
        """As the configuration has it."""
        return {"url": self.url} | ({"type": "sse"} if self.transport == "sse" else {})


@dataclass(frozen=True, slots=True)
class _Said:
    """What the owner wrote down, before any of it is believed."""

    transport: str | None = None
    path: str | None = None
    port: str | None = None


def read(service: Mapping[str, Any], domain: str) -> DiscoveredServer | None:
    """The server behind a Service; ``None`` for one that is none. Raises ``ServiceError``."""
    metadata, spec = service.get("metadata") or {}, service.get("spec") or {}
    labels, notes = metadata.get("labels") or {}, metadata.get("annotations") or {}
    said = _said(labels, notes, spec)
    if said is None:
        return None
    if spec.get("type") == "ExternalName":
        raise ServiceError("an ExternalName leads out of the cluster")
    transport = _TRANSPORTS.get((said.transport or "http").lower())
    if transport is None:
        raise ServiceError("its transport is neither http nor sse")
    space, own = metadata.get("namespace", ""), metadata.get("name", "")
    if not (_LABEL.fullmatch(space) and _LABEL.fullmatch(own)):
        raise ServiceError("its name is none of Kubernetes")
    name = notes.get(_OURS + "name", own)
    if not _NAME.fullmatch(name):
        raise ServiceError("its annotation mcp-exporter/name is no name")
    path = said.path or _PATHS[transport]
    if not _PATH.fullmatch(path):
        raise ServiceError("its path is none, such as /mcp")
    host = f"{own}.{space}.svc.{domain}:{_port(said.port, spec)}"
    return DiscoveredServer(f"{space}/{name}", f"http://{host}{path}", transport)


def _said(
    labels: Mapping[str, str], notes: Mapping[str, str], spec: Mapping[str, Any]
) -> _Said | None:
    """In the order of how plainly it is said."""
    if _OURS + "scrape" in notes:
        is_wanted = notes[_OURS + "scrape"].lower() == "true"
        said = (notes.get(_OURS + key) for key in ("transport", "path", "port"))
        return _Said(*said) if is_wanted else None
    if labels.get(_KAGENT) == "true":
        return _Said(*(notes.get(f"{_KAGENT}-{key}") for key in ("protocol", "path", "port")))
    for port in spec.get("ports") or ():
        transport = _APP_PROTOCOLS.get(port.get("appProtocol") or "")
        if transport is not None:
            return _Said(transport, notes.get(_APP_PATH), str(port.get("port")))
    return None


def _port(wanted: str | None, spec: Mapping[str, Any]) -> int:
    """One of the Service's own, by number or name. Raises ``ServiceError``."""
    ports = [port for port in spec.get("ports") or () if port.get("protocol", "TCP") == "TCP"]
    if wanted is None and len(ports) > 1:
        marked = [port for port in ports if port.get("appProtocol") in _APP_PROTOCOLS]
        ports = marked or [port for port in ports if port.get("name") == "mcp"]
    elif wanted is not None:
        ports = [port for port in ports if wanted in (str(port.get("port")), port.get("name"))]
    if len(ports) != 1:
        raise ServiceError("which of its ports is not said, or it has no such port")
    number: int = ports[0]["port"]
    return number
