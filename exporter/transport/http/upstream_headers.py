"""Which headers of a request go on to a server, and which the configuration adds."""

from __future__ import annotations

import base64
from urllib.parse import unquote, urlsplit

from exporter.config.model import Server
from exporter.transport.http.head import HOP_BY_HOP, Headers

NOT_UP = HOP_BY_HOP | {
    b"host",
    b"content-length",
    b"expect",
    b"accept-encoding",
    b"http2-settings",
}
_READABLE = frozenset({b"gzip", b"deflate", b"identity"})


def readable(accepted: bytes) -> bytes:
    """Of the codings that the client accepts, those that can be read in passing."""
    tokens = [token.strip() for token in accepted.split(b",")]
    known = [token for token in tokens if token.partition(b";")[0].strip().lower() in _READABLE]
    return b", ".join(known) or b"identity"


def configured(server: Server) -> Headers:
    """The headers that the configuration sends to a server, with the URL's user as Basic auth."""
    headers = [(name.encode(), value.encode("latin-1")) for name, value in server.headers.items()]
    parts = urlsplit(server.url or "")
    if parts.username is not None and all(n.lower() != b"authorization" for n, _ in headers):
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers.append((b"Authorization", b"Basic " + base64.b64encode(user.encode())))
    return headers
