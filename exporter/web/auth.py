"""Who may see the pages of the scrape listener, how often, and what is added to each reply."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any

from exporter.transport.http.head import Headers
from exporter.transport.http.origin import is_followed_link
from exporter.transport.http.request import Request
from exporter.web.config import RateLimit, WebConfig
from exporter.web.passwords import Passwords

TEXT = b"text/plain; charset=utf-8"

THREADS = 2
MOST_WAITING = 32
"""Passwords that wait to be checked; each takes a core for a while."""

Serve = Callable[[Request], None]


class PageAccess:
    """Who may see the pages; a new one is made with each reload.

    ``count`` is told the reason of each rejection.
    """

    def __init__(self, config: WebConfig, count: Callable[[str], None]) -> None:
        self._config = config
        self._count = count
        self._passwords = Passwords(config.users) if config.users else None
        self._bucket = Bucket(config.rate_limit) if config.rate_limit else None
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="passwords")
        self._waiting: set[asyncio.Task[None]] = set()

    def enter(self, request: Request, serve: Serve) -> None:
        """Serve the request, now or when its password was checked, or reject it."""
        request.response.extra_headers = self._config.headers
        if self._bucket is not None and not self._bucket.take(monotonic()):
            self._reject(request, 429, "web_rate_limited", b"Too many requests\n")
            return
        path = request.path.decode("latin-1")
        if self._passwords is None or path in self._config.excluded_paths:
            serve(request)
            return
        self._check(request, serve, self._passwords)

    def guards(self, request: Request) -> bool:
        """Whether this request needs what no foreign page has: a password or a certificate."""
        tls, path = self._config.tls, request.path.decode("latin-1")
        if tls is not None and tls.client_auth is ssl.CERT_REQUIRED:
            return True
        return self._passwords is not None and path not in self._config.excluded_paths

    def is_welcome(self, transport: asyncio.BaseTransport) -> bool:
        """Whether the certificate of a new connection bears one of the names."""
        if not self._config.allowed_names:
            return True
        certificate = transport.get_extra_info("peercert")
        return not self._config.allowed_names.isdisjoint(names_of(certificate or {}))

    def retire(self) -> None:
        """Take no new requests; those whose passwords are being checked are still answered."""
        self._pool.shutdown(wait=False)

    def close(self) -> None:
        """Check no more passwords."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _check(self, request: Request, serve: Serve, passwords: Passwords) -> None:
        presented = request.header(b"authorization")
        if presented is None:
            self._demand_password(request)
        elif passwords.remembers(presented):
            serve(request)
        elif len(self._waiting) >= MOST_WAITING:
            text = b"Too many passwords wait to be checked\n"
            self._reject(request, 503, "web_busy", text, [(b"Retry-After", b"1")])
        else:
            loop = asyncio.get_running_loop()
            # Begun here and now: this may be retired before a task runs for the first time.
            checked = loop.run_in_executor(self._pool, passwords.check, presented)
            work = self._answer_later(request, serve, passwords, presented, checked)
            task = loop.create_task(work)
            self._waiting.add(task)
            task.add_done_callback(self._waiting.discard)

    async def _answer_later(
        self,
        request: Request,
        serve: Serve,
        passwords: Passwords,
        presented: bytes,
        checked: asyncio.Future[bool],
    ) -> None:
        if await checked:
            passwords.remember(presented)
            if not request.response.closed:
                serve(request)
        else:
            self._demand_password(request)

    def _demand_password(self, request: Request) -> None:
        challenge = [(b"WWW-Authenticate", b'Basic realm="mcp-exporter", charset="UTF-8"')]
        self._reject(request, 401, "web_unauthorized", b"Unauthorized\n", challenge)

    def _reject(
        self,
        request: Request,
        status: int,
        reason: str,
        text: bytes,
        headers: Headers | None = None,
    ) -> None:
        self._count(reason)
        if not request.response.closed:
            request.respond(status, text, TEXT, headers)


class Bucket:
    """A token bucket: ``burst`` at once, one more every ``interval`` seconds."""

    def __init__(self, limit: RateLimit) -> None:
        self._limit = limit
        self._tokens = float(limit.burst)
        self._at = 0.0

    def take(self, now: float) -> bool:
        """Whether there is one for a request at this time."""
        gained = (now - self._at) / self._limit.interval
        self._tokens = min(float(self._limit.burst), self._tokens + gained)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


def is_own_page(request: Request) -> bool:
    """Whether no other page is behind a request, not even one of another port of this host.

    A link that a person followed, say in a dashboard, is the person's own request.
    """
    if is_followed_link(request):
        return True
    if request.header(b"sec-fetch-site") in (b"cross-site", b"same-site"):
        return False
    origin = request.header(b"origin")
    return origin is None or origin.partition(b"://")[2] == request.header(b"host")


def names_of(certificate: dict[str, Any]) -> set[str]:
    """The alternative names of a certificate: DNS, IP, e-mail and URI."""
    return {value for _, value in certificate.get("subjectAltName", ())}
