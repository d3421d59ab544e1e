"""What browsers ask before a page may call, and must be told before it may read (CORS).

Only pages whose ``Origin`` is allowed come this far. What a server answers keeps the headers that
it has: whether a page may read that is for the server to say.
"""

from __future__ import annotations

from exporter.transport.http.head import Headers
from exporter.transport.http.request import Request

_READABLE = b"Mcp-Session-Id, WWW-Authenticate, Retry-After"
_VARY = (b"Vary", b"Origin, Access-Control-Request-Headers")


def is_preflight(request: Request) -> bool:
    """Whether a browser asks what it may send. It sends no token with that, and no body."""
    return request.method == b"OPTIONS" and (
        request.header(b"access-control-request-method") is not None
    )


def response_headers(request: Request) -> Headers:
    """What lets a page read the exporter's own responses."""
    origin = request.header(b"origin")
    if origin is None:
        return []
    return [
        (b"Access-Control-Allow-Origin", origin),
        (b"Access-Control-Expose-Headers", _READABLE),
        (b"Vary", b"Origin"),
    ]


def answer_preflight(request: Request) -> None:
    """Tell a browser what it may send: nothing here depends on the server."""
    wanted = request.header(b"access-control-request-headers")
    fields = [
        (b"Access-Control-Allow-Origin", request.header(b"origin") or b"null"),
        (b"Access-Control-Allow-Methods", b"POST, GET, DELETE"),
        (b"Access-Control-Allow-Headers", wanted or b"Authorization"),
        (b"Access-Control-Max-Age", b"600"),
        _VARY,
    ]
    request.respond(204, b"", b"", fields)
