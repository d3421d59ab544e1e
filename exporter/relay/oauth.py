"""OAuth through the relay: the exporter's own URL where the server names its own.

A client checks that the protected-resource metadata (RFC 9728) speaks of the very URL that it
talks to. Only what names the configured server is rewritten: metadata that speaks of another
resource must look as wrong to the client as it is.
"""

from __future__ import annotations

import re
from urllib.parse import quote, urljoin, urlsplit

import msgspec

from exporter.protocol.jsonrpc import UNREADABLE
from exporter.transport.http.request import Request

WELL_KNOWN = "/.well-known/oauth-protected-resource"

_AS_IT_IS = "/%:@!$&'()*+,;=~"
"""Characters of a path that are left as the client wrote them."""

_ANNOUNCED = re.compile(
    rb"""
    (?<![\w-]) (?P<name> resource_metadata) [ \t]* = [ \t]*
        (?: "(?P<quoted> (?: [^"\\] | \\. )* )" | (?P<bare> [^\s",]+ ) )
    | " (?: [^"\\] | \\. )* "
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""Where a challenge says that the metadata is. What is quoted elsewhere is no such place."""

_ESCAPE = re.compile(rb"\\(.)")
_MESSAGE = re.compile(r"/message/[0-9a-f]{32}$")


class OwnUrl:
    """The exporter's own address as its clients know it."""

    def __init__(self, external_url: str | None, is_tls: bool = False) -> None:
        self._base = external_url.rstrip("/") if external_url else None
        self._scheme = "https" if is_tls else "http"

    def of(self, request: Request) -> str:
        """Return the URL of the server that the client used, or whose metadata it asks for.

        Clients compare it with theirs (RFC 9728, section 3.3), so it is written as they wrote it.
        """
        path = request.path.decode("latin-1").removeprefix(WELL_KNOWN)
        return self._origin(request) + quote(_MESSAGE.sub("/sse", path), safe=_AS_IT_IS)

    def metadata_of(self, request: Request) -> str:
        """Return where the server's metadata is for this client (RFC 9728, section 3.1)."""
        parts = urlsplit(self.of(request))
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
        return _ANNOUNCED.sub(lambda match: self._rewritten(match, own_metadata_url), value)

    def _rewritten(self, match: re.Match[bytes], own: bytes) -> bytes:
        quoted, bare = match["quoted"], match["bare"]
        if match["name"] is None:
            return match[0]
        place = bare if quoted is None else _ESCAPE.sub(rb"\1", quoted)
        announced = _joined(self._url, place.decode("latin-1"))
        if origin_of(announced) != origin_of(self._url):
            return match[0]
        self._announced = announced
        return b'%b="%b"' % (match["name"], own)

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
        except UNREADABLE:
            return body
        if not self._is_meant(resource):
            return body
        members["resource"] = msgspec.Raw(msgspec.json.encode(own_url))
        return msgspec.json.encode(members)

    def _is_meant(self, resource: str) -> bool:
        if origin_of(resource) != origin_of(self._url):
            return False
        prefix = urlsplit(resource).path.rstrip("/")
        path = urlsplit(self._url).path.rstrip("/")
        return path == prefix or path.startswith(prefix + "/")


def _joined(base: str, place: str) -> str:
    try:
        return urljoin(base, place)
    except ValueError:
        return ""


def origin_of(url: str) -> tuple[str, str, int | None]:
    """Return the scheme, host and port of a URL; empty where it is none."""
    try:
        parts = urlsplit(url)
        default = {"http": 80, "https": 443}.get(parts.scheme)
        return parts.scheme, (parts.hostname or "").lower(), parts.port or default
    except ValueError:
        return "", "", None
