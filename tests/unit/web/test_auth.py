"""Who sees the pages, how often, and what their replies bear."""

from __future__ import annotations

import asyncio
import base64
import functools
import threading
from typing import Any

import bcrypt
import pytest

from exporter.transport.http.head import Headers
from exporter.transport.http.request import Request
from exporter.web.auth import MOST_WAITING, TEXT, THREADS, Bucket, PageAccess, names_of
from exporter.web.config import RateLimit, WebConfig
from tests.support.fakes import (
    Downstream,
    OpenApplication,
    Reply,
    on_fake_time,
    uncounted,
    virtual_loop,
)

HASH = bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode()
USERS = {"me": HASH}


def basic(password: str) -> bytes:
    return b"Basic " + base64.b64encode(f"me:{password}".encode())


class Site(OpenApplication):
    """A page that not everybody may see."""

    def __init__(self, config: WebConfig, headers: Headers | None = None) -> None:
        self.refused: list[str] = []
        self.served: list[Request] = []
        self.headers = headers
        self.access = PageAccess(config, self.refused.append)
        self.client = Downstream(self)

    def handle(self, request: Request) -> None:
        self.access.enter(request, self.serve)

    def reject(self, request: Request, status: int, reason: str) -> None:
        raise AssertionError((request, status, reason))

    def serve(self, request: Request) -> None:
        self.served.append(request)
        request.respond(200, request.method + b" " + request.path, TEXT, self.headers)

    def say(self, path: bytes = b"/metrics", authorization: bytes | None = None) -> None:
        lines = [b"GET %b HTTP/1.1" % path, b"Host: x"]
        if authorization is not None:
            lines.append(b"Authorization: " + authorization)
        self.client.say(b"\r\n".join([*lines, b"", b""]))

    async def ask(self, path: bytes = b"/metrics", authorization: bytes | None = None) -> Reply:
        self.say(path, authorization)
        while self.access._waiting:
            await asyncio.wait(self.access._waiting)
        return self.client.replies()[-1]


def on_a_loop(test: Any) -> Any:
    """Passwords are checked on threads, which no fake clock waits for."""

    @functools.wraps(test)
    def run(*args: object, **kwargs: object) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


@on_a_loop
async def test_without_a_password_there_is_no_page() -> None:
    site = Site(WebConfig(users=USERS))
    reply = await site.ask()
    assert reply.status == 401
    challenge = reply.header(b"www-authenticate")
    assert challenge is not None
    assert challenge.startswith(b"Basic realm=")
    assert site.refused == ["web_unauthorized"]
    assert site.served == []


@on_a_loop
async def test_with_the_password_there_is_the_page_and_the_second_time_at_once() -> None:
    site = Site(WebConfig(users=USERS))
    assert (await site.ask(authorization=basic("right"))).body == b"GET /metrics"
    site.say(authorization=basic("right"))
    assert not site.access._waiting
    assert [reply.status for reply in site.client.replies()] == [200, 200]
    assert site.refused == []


@on_a_loop
async def test_a_wrong_password_is_rejected_each_time() -> None:
    site = Site(WebConfig(users=USERS))
    for _ in range(2):
        assert (await site.ask(authorization=basic("wrong"))).status == 401
    assert site.refused == ["web_unauthorized"] * 2
    assert site.served == []


@on_a_loop
async def test_some_paths_want_no_password() -> None:
    site = Site(WebConfig(users=USERS, excluded_paths=frozenset({"/-/healthy"})))
    assert (await site.ask(b"/-/healthy?x")).status == 200
    assert (await site.ask(b"/-/healthy/../metrics")).status == 401


@on_a_loop
async def test_passwords_that_wait_are_bounded_and_the_loop_goes_on() -> None:
    site = Site(WebConfig(users=USERS))
    held = threading.Event()
    for _ in range(THREADS):  # all of them are busy
        site.access._pool.submit(held.wait)
    clients = [Downstream(site) for _ in range(MOST_WAITING + 1)]
    header = b"Authorization: " + basic("right")
    for client in clients:
        client.say(b"GET /metrics HTTP/1.1\r\nHost: x\r\n" + header + b"\r\n\r\n")
    (refused,) = clients[-1].replies()
    assert (refused.status, refused.header(b"retry-after")) == (503, b"1")
    assert site.refused == ["web_busy"]
    held.set()
    await asyncio.wait(site.access._waiting)
    assert [client.replies()[0].status for client in clients[:-1]] == [200] * MOST_WAITING


@on_a_loop
async def test_a_client_that_leaves_meanwhile_is_served_nothing() -> None:
    site = Site(WebConfig(users=USERS))
    held = threading.Event()
    for _ in range(THREADS):
        site.access._pool.submit(held.wait)
    site.say(authorization=basic("right"))
    site.client.abort()
    await asyncio.sleep(0)
    held.set()
    await asyncio.wait(site.access._waiting)
    assert site.served == []


@on_a_loop
async def test_a_request_whose_password_is_being_checked_is_answered_after_a_reload() -> None:
    site = Site(WebConfig(users=USERS))
    site.say(authorization=basic("right"))
    site.access.retire()
    await asyncio.wait(site.access._waiting)
    assert site.client.replies()[0].status == 200


@on_fake_time
async def test_requests_can_be_rated() -> None:
    site = Site(WebConfig(rate_limit=RateLimit(interval=2.0, burst=3)))
    replies = [await site.ask() for _ in range(4)]
    assert [reply.status for reply in replies] == [200, 200, 200, 429]
    assert site.refused == ["web_rate_limited"]
    virtual_loop().clock.advance(2.0)
    assert [(await site.ask()).status for _ in range(2)] == [200, 429]


def test_a_bucket_holds_no_more_than_its_burst() -> None:
    bucket = Bucket(RateLimit(interval=1.0, burst=2))
    assert [bucket.take(1000.0) for _ in range(3)] == [True, True, False]
    assert not bucket.take(1000.5)
    assert bucket.take(1001.0)


@on_fake_time
async def test_headers_are_added_but_a_pages_own_stay() -> None:
    config = WebConfig(headers=((b"X-Frame-Options", b"deny"), (b"Content-Security-Policy", b"x")))
    site = Site(config, [(b"Content-Security-Policy", b"own")])
    reply = await site.ask(b"/a?b")
    assert reply.body == b"GET /a"
    assert reply.header(b"x-frame-options") == b"deny"
    assert reply.header(b"content-security-policy") == b"own"
    (served,) = site.served
    assert served.query == b"b"
    assert served.response.closed


@on_fake_time
async def test_a_page_learns_that_its_client_is_gone_though_headers_are_added() -> None:
    site = Site(WebConfig(headers=((b"X-Frame-Options", b"deny"),)))
    site.serve = site.served.append  # type: ignore[method-assign, assignment]
    site.say()
    site.client.abort()
    await asyncio.sleep(0)
    assert site.served[0].response.closed


class Presenting(asyncio.Transport):
    """A connection whose client has a certificate."""

    def __init__(self, certificate: object) -> None:
        super().__init__({"peercert": certificate})


@pytest.mark.parametrize(
    ("certificate", "is_welcome"),
    [
        ({"subjectAltName": (("DNS", "prometheus.example"),)}, True),
        ({"subjectAltName": (("DNS", "x"), ("IP Address", "10.0.0.1"))}, True),
        ({"subjectAltName": (("DNS", "evil.example"),)}, False),
        ({"subject": ((("commonName", "prometheus.example"),),)}, False),
        ({}, False),
        (None, False),
    ],
)
@on_a_loop
async def test_a_certificate_must_bear_a_name(certificate: object, is_welcome: bool) -> None:
    names = frozenset({"prometheus.example", "10.0.0.1"})
    access = PageAccess(WebConfig(allowed_names=names), uncounted)
    assert access.is_welcome(Presenting(certificate)) is is_welcome
    assert PageAccess(WebConfig(), uncounted).is_welcome(Presenting(certificate))


def test_all_kinds_of_names_count() -> None:
    found = names_of({"subjectAltName": (("email", "a@b"), ("URI", "spiffe://x"))})
    assert found == {"a@b", "spiffe://x"}
