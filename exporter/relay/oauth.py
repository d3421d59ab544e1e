"""OAuth through the relay: the exporter's own URL where the server names its own.

A client checks that the protected-resource metadata (RFC 9728) speaks of the very URL that it
talks to. Only what names the configured server is rewritten: metadata that speaks of another
resource must look as wrong to the client as it is.
"""

from __future__ import annotations

import re
from urllib.parse import quote, urljoin, urlsplit

import msgspec

from exporter.transport.http.request import Request

WELL_KNOWN = "/.well-known/oauth-protected-resource"

_ANNOUNCED = re.compile(rb'(resource_metadata=")([^"]*)(")', re.IGNORECASE)


class OwnUrl:
    """The exporter's own address as its clients know it."""

    def __init__(self, external_url: str | None, is_tls: bool = False) -> None:
        self._base = external_url.rstrip("/") if external_url else None
        self._scheme = "https" if is_tls else "http"

    def of(self, request: Request, server: str) -> str:
        """Where the server is for this client."""
        return f"{self._origin(request)}/{quote(server)}/mcp"

    def metadata_of(self, request: Request, server: str) -> str:
        """Where the server's metadata is for this client (RFC 9728, section 3.1)."""
        parts = urlsplit(self.of(request, server))
        return f"{parts.scheme}://{parts.netloc}{WELL_KNOWN}{parts.path}"

    def _origin(self, request: Request) -> str:
        if self._base is not None:
            return self._base
        return f"{self._scheme}://{(request.header(b'host') or b'').decode('latin-1')}"


class ProtectedResource:
    """What one server says about itself as an OAuth resource, and where."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._announced: str | None = None

    def rewrite_challenge(self, value: bytes, own_metadata_url: bytes) -> bytes:
        """Point a ``WWW-Authenticate`` to the exporter, and remember where it pointed.

        An address on another origin is left alone: the client can go there itself.
        """
        match = _ANNOUNCED.search(value)
        if match is None:
            return value
        announced = urljoin(self._url, match[2].decode("latin-1"))
        if _origin(announced) != _origin(self._url):
            return value
        self._announced = announced
        return value[: match.start(2)] + own_metadata_url + value[match.end(2) :]

    def targets(self) -> list[bytes]:
        """Where the metadata may be, best first: announced, beside the path, at the root."""
        if self._announced is not None:
            parts = urlsplit(self._announced)
            query = f"?{parts.query}" if parts.query else ""
            return [f"{parts.path or '/'}{query}".encode()]
        path = urlsplit(self._url).path.rstrip("/")
        found = [f"{WELL_KNOWN}{path}".encode()]
        return [*found, WELL_KNOWN.encode()] if path else found

    def rewrite_metadata(self, body: bytes, own_url: str) -> bytes:
        """Replace ``resource`` where it means the configured server; the rest keeps its bytes."""
        try:
            members = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
            resource = msgspec.json.decode(members.get("resource", b"null"), type=str)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return body
        if not self._is_meant(resource):
            return body
        members["resource"] = msgspec.Raw(msgspec.json.encode(own_url))
        return msgspec.json.encode(members)

    def _is_meant(self, resource: str) -> bool:
        if _origin(resource) != _origin(self._url):
            return False
        prefix = urlsplit(resource).path.rstrip("/")
        path = urlsplit(self._url).path.rstrip("/")
        return path == prefix or path.startswith(prefix + "/")


def _origin(url: str) -> tuple[str, str, int | None]:
    try:
        parts = urlsplit(url)
        default = {"http": 80, "https": 443}.get(parts.scheme)
        return parts.scheme, (parts.hostname or "").lower(), parts.port or default
    except ValueError:
        return "", "", None
