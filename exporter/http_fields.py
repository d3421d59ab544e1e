"""Which HTTP headers go on, and which belong to one connection only (RFC 9110, section 7.6.1)."""

from __future__ import annotations

import base64
from urllib.parse import unquote, urlsplit

from exporter.config import Server
from exporter.request import Headers

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
NOT_UP = HOP_BY_HOP | {
    b"host",
    b"content-length",
    b"expect",
    b"accept-encoding",
    b"http2-settings",
}
_READABLE = frozenset({b"gzip", b"deflate", b"identity"})
_USUAL = frozenset({b"keep-alive", b"close"})


def readable(accepted: bytes) -> bytes:
    """Of the codings that the client accepts, those that can be read in passing."""
    tokens = [token.strip() for token in accepted.split(b",")]
    known = [token for token in tokens if token.partition(b";")[0].strip().lower() in _READABLE]
    return b", ".join(known) or b"identity"


def named_hops(headers: Headers) -> frozenset[bytes]:
    """The headers that ``Connection`` names: they belong to one connection as well."""
    named: frozenset[bytes] = frozenset()
    for name, value in headers:
        if name.lower() == b"connection" and value.lower() not in _USUAL:
            named |= {token.strip().lower() for token in value.split(b",")}
    return named


def onward(headers: Headers) -> Headers:
    """The headers of a reply that go on to the client."""
    hops = HOP_BY_HOP | named_hops(headers)
    return [field for field in headers if field[0].lower() not in hops]


def configured(server: Server) -> Headers:
    """The headers that the configuration sends to a server, with the URL's user as Basic auth."""
    headers = [(name.encode(), value.encode("latin-1")) for name, value in server.headers.items()]
    parts = urlsplit(server.url or "")
    if parts.username is not None and all(n.lower() != b"authorization" for n, _ in headers):
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers.append((b"Authorization", b"Basic " + base64.b64encode(user.encode())))
    return headers
