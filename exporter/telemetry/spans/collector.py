"""A collector at the other end of a connection: what it says is bounded, and followed nowhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic
from traceback import clear_frames
from typing import Any
from urllib.parse import unquote, urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from exporter.config.model import TracingSettings
from exporter.config.redact import Redactor
from exporter.config.upstream_tls import client_context
from exporter.telemetry.spans.sender import CollectorLostError, CollectorReply, gzipped

_LONGEST_REPLY = 64 * 1024
_PIECE = 8 * 1024


class HttpCollector:
    """Speaks OTLP over HTTP, one request at a time."""

    def __init__(
        self,
        settings: TracingSettings,
        agent: str,
        rejected: Callable[[bytes], int],
        proxy: str | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._proxy = proxy
        self._pool: urllib3.PoolManager | None = None
        self._url = settings.endpoint
        self._is_compressed = settings.compression == "gzip"
        self._headers = _headers(settings, agent)
        self._rejected = rejected
        self._redact = Redactor(settings)
        self._clock = clock

    def post(self, body: bytes, timeout: float) -> CollectorReply:
        """Send one request, within ``timeout`` seconds. Raises ``CollectorLostError``."""
        try:
            return self._post(body, timeout)
        except (HTTPError, OSError, ValueError) as error:  # the last: of a proxy
            reason = _reason(error)
            _let_go(error)
        raise CollectorLostError(self._redact(reason))

    def _post(self, body: bytes, timeout: float) -> CollectorReply:
        until = self._clock() + timeout
        if self._pool is None:  # here, for what is wrong with a proxy is the collector's loss
            self._pool = _pool(self._proxy, self._url)
        response = self._pool.request(
            "POST",
            self._url,
            body=gzipped(body) if self._is_compressed else body,
            headers=self._headers,
            timeout=urllib3.Timeout(total=timeout),
            redirect=False,
            preload_content=False,
            decode_content=False,
        )
        return self._reply(response, until)

    def _reply(self, response: urllib3.BaseHTTPResponse, until: float) -> CollectorReply:
        text = self._text(response, until)
        is_taken = 200 <= response.status < 300
        return CollectorReply(
            response.status,
            _seconds(response.headers.get("Retry-After", "")),
            self._rejected(text) if is_taken and text is not None else 0,
        )

    def _text(self, response: urllib3.BaseHTTPResponse, until: float) -> bytes | None:
        """The body; ``None`` where it is too long or too slow to be an answer to spans."""
        text = b""
        while piece := response.read1(_PIECE):
            text += piece
            if len(text) > _LONGEST_REPLY or self._clock() > until:
                response.close()
                return None
        response.release_conn()
        return text


def _pool(proxy: str | None, url: str) -> urllib3.PoolManager:
    trust = client_context() if url.startswith("https:") else None
    settings: Any = {"num_pools": 1, "maxsize": 1, "retries": False, "ssl_context": trust}
    if proxy is None:
        return urllib3.PoolManager(**settings)
    user = urlsplit(proxy).netloc.rpartition("@")[0]
    headers = urllib3.make_headers(proxy_basic_auth=unquote(user)) if user else None
    return urllib3.ProxyManager(proxy, proxy_headers=headers, **settings)


def _headers(settings: TracingSettings, agent: str) -> Mapping[str, str]:
    headers = urllib3.HTTPHeaderDict(
        {"User-Agent": agent, "Content-Type": "application/x-protobuf"}
    )
    for name, value in settings.headers.items():
        headers[name] = value  # in the place of ours, in whichever case it is written
    if settings.compression == "gzip":
        headers["Content-Encoding"] = "gzip"
    return headers


def _seconds(text: str) -> float | None:
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else None


def _let_go(error: BaseException | None) -> None:
    """Empty the frames that an error came through.

    Some hold the error that holds them, and all of them the body, until somebody looks for such
    cycles, which is seldom here: a collector that is lost would cost megabytes.
    """
    while error is not None:
        clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def _reason(error: Exception) -> str:
    """What went wrong, in few words: the whole message has the address in it."""
    cause = error.__cause__ or error.__context__ or error
    words = getattr(cause, "strerror", None)
    return str(words) if words else type(error).__name__
