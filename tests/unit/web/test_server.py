"""The scrape listener's pages, and the thread that they live on."""

from __future__ import annotations

import gzip
import socket
import threading
from collections.abc import Iterable
from concurrent.futures import Future
from typing import Any

import pytest
import requests
from prometheus_client import CollectorRegistry, Counter

from exporter.config.errors import ConfigError
from exporter.config.model import Server
from exporter.probe.explain import Explanation
from exporter.probe.history import History, Record
from exporter.probe.target import ProbeResult
from exporter.telemetry.exposition import Exposition
from exporter.transport.http.origin import LOCAL, OriginPolicy
from exporter.transport.http.request import Request
from exporter.web.config import WebConfig
from exporter.web.liveness import Heartbeat, Liveness
from exporter.web.pages import ServerSummary
from exporter.web.server import TURN_TIME, Web, WebThread, respond_error
from tests.support.fakes import (
    Downstream,
    OpenApplication,
    Reply,
    on_fake_time,
    settle,
    uncounted,
    virtual_loop,
)


class Exporter:
    """What the pages ask; nothing is behind it."""

    def __init__(self) -> None:
        self.reloaded: Future[str] = Future()
        self.turned: Future[None] = Future()
        self.turned.set_result(None)
        self.registry = CollectorRegistry()
        self.calls = Counter("mcp_calls", "Calls.", ["server"], registry=self.registry)
        self.calls.labels("files").inc()
        Counter("mcp_other", "Others.", registry=self.registry)

    @property
    def servers(self) -> list[str]:
        return ["files"]

    def find(self, name: str) -> Server | None:
        del name
        return None

    def explain(self, server: Server, limit: float | None) -> Future[Explanation]:
        raise AssertionError((server, limit))

    def rows(self) -> Iterable[ServerSummary]:
        return [ServerSummary("files", "stdio", "ok", 0.0, "", "/files/mcp")]

    def mcp_url(self, host: str) -> str:
        return f"http://{host}:6279"

    def shown_config(self) -> str:
        return "servers: {}\n"

    def reload(self) -> Future[str]:
        return self.reloaded

    def turn(self) -> Future[None]:
        return self.turned


def build(liveness: Liveness | None = None) -> tuple[Web, Exporter]:
    exporter, history = Exporter(), History()
    history.add(Record("files", 0.0, ProbeResult("success", 0.1), []))
    exposition = Exposition(exporter.registry, [], exporter.registry)
    return Web(exposition, exporter, history, liveness or serving()), exporter


def serving() -> Liveness:
    liveness = Liveness(Heartbeat(lambda _: None, lambda _: None), lambda: True)
    liveness.phase = "serving"
    return liveness


class Site(OpenApplication):
    """The pages behind a listener."""

    def __init__(self) -> None:
        self.liveness = serving()
        self.web, self.exporter = build(self.liveness)
        self.client = Downstream(self)

    def handle(self, request: Request) -> None:
        self.web.handle(request)

    def reject(self, request: Request, status: int, reason: str) -> None:
        respond_error(request, status, reason)

    def ask(self, target: str, *headers: str, method: str = "GET") -> None:
        lines = [f"{method} {target} HTTP/1.1", "Host: localhost", *headers, "", ""]
        self.client.say("\r\n".join(lines).encode())

    def get(self, target: str, *headers: str, method: str = "GET") -> Reply:
        self.ask(target, *headers, method=method)
        return self.client.replies()[-1]


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/", 200, "<title>mcp-exporter</title>"),
        ("/", 200, 'href="logs?id=1"'),
        ("/", 200, "http://localhost:6279/files/mcp"),
        ("/logs", 200, 'href="logs?id=1"'),
        ("/metrics", 200, 'mcp_calls_total{server="files"} 1.0'),
        ("/-/healthy", 200, "mcp-exporter is healthy\n"),
        ("/-/ready", 200, "mcp-exporter is ready\n"),
        ("/config", 200, "servers: {}\n"),
        ("/probe", 400, "Which server?"),
        ("/logs?id=1", 200, "Probe 1 of files"),
        ("/logs?id=", 200, "<title>Probes</title>"),
        ("/nothing", 404, "There is nothing at this path; see /\n"),
        ("/metrics/", 404, "There is nothing at this path; see /\n"),
    ],
)
def test_each_path_has_its_page(path: str, status: int, text: str) -> None:
    @on_fake_time
    async def run() -> None:
        site = Site()
        site.ask(path)
        await settle()
        reply = site.client.replies()[-1]
        assert reply.status == status
        assert text in reply.body.decode()

    run()


@on_fake_time
async def test_an_exporter_that_drains_is_healthy_but_not_ready() -> None:
    site = Site()
    site.liveness.phase = "draining"
    reply = site.get("/-/ready")
    assert (reply.status, reply.body) == (503, b"mcp-exporter is not ready: it is draining\n")
    assert site.get("/-/healthy").status == 200


@on_fake_time
async def test_an_exporter_whose_loop_hangs_is_neither_healthy_nor_ready() -> None:
    site = Site()
    virtual_loop().clock.advance(16)
    reply = site.get("/-/healthy")
    text = b"mcp-exporter is not healthy: the loop that relays has not turned for 16 s\n"
    assert (reply.status, reply.body) == (503, text)
    assert site.get("/-/ready").status == 503


@on_fake_time
async def test_a_page_that_cannot_be_made_is_a_line_and_a_log_entry(
    caplog: pytest.LogCaptureFixture,
) -> None:
    site = Site()
    site.exporter.shown_config = lambda: 1 / 0  # type: ignore[method-assign, assignment, return-value]
    reply = site.get("/config")
    assert (reply.status, reply.body) == (500, b"This page could not be made; see the log\n")
    assert caplog.records[0].message == "a page could not be made"
    assert site.get("/-/healthy").status == 200


@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT"])
def test_pages_are_only_read(method: str) -> None:
    @on_fake_time
    async def run() -> None:
        reply = Site().get("/metrics", "Content-Length: 0", method=method)
        assert (reply.status, reply.header(b"allow")) == (405, b"GET, HEAD")

    run()


@on_fake_time
async def test_a_request_that_breaks_the_rules_is_told_so() -> None:
    assert Site().get("/metrics", "Content-Length: 99999999", method="POST").status == 413


# Metrics


@on_fake_time
async def test_a_scraper_gets_the_format_and_the_coding_that_it_asks_for() -> None:
    site = Site()
    accept = "Accept: application/openmetrics-text;version=1.0.0"
    site.ask("/metrics", accept, "Accept-Encoding: gzip")
    await settle()
    (reply,) = site.client.replies()
    assert reply.header(b"content-encoding") == b"gzip"
    assert reply.header(b"vary") == b"Accept, Accept-Encoding"
    assert gzip.decompress(reply.body).endswith(b"# EOF\n")


@on_fake_time
async def test_a_scraper_may_ask_for_some_families_alone() -> None:
    site = Site()
    site.ask("/metrics?name[]=mcp_other_total")
    await settle()
    body = site.client.replies()[-1].body
    assert b"mcp_other_total 0.0" in body
    assert b"mcp_calls" not in body


@on_fake_time
async def test_a_scrape_shows_what_the_loop_that_relays_is_about_to_count() -> None:
    site = Site()
    site.exporter.turned = Future()
    site.ask("/metrics")
    await settle()
    assert site.client.replies() == []
    site.exporter.calls.labels("files").inc()
    site.exporter.turned.set_result(None)
    await settle()
    assert b'mcp_calls_total{server="files"} 2.0' in site.client.replies()[-1].body


@on_fake_time
async def test_a_scrape_does_not_wait_for_a_loop_that_hangs() -> None:
    site = Site()
    site.exporter.turned = Future()
    site.ask("/metrics")
    await settle()
    virtual_loop().clock.advance(TURN_TIME)
    await settle()
    assert site.client.replies()[-1].status == 200


@on_fake_time
async def test_for_a_scraper_that_has_left_nothing_is_rendered() -> None:
    site = Site()
    site.exporter.turned = Future()
    site.ask("/metrics")
    await settle()
    site.client.lose(None)
    await settle()
    site.exporter.registry.collect = lambda: pytest.fail("rendered")  # type: ignore[method-assign]
    site.exporter.turned.set_result(None)
    await settle()


@on_fake_time
async def test_a_scrape_that_cannot_be_rendered_is_told(caplog: pytest.LogCaptureFixture) -> None:
    site = Site()
    site.exporter.registry.collect = lambda: 1 / 0  # type: ignore[method-assign, assignment, return-value]
    site.ask("/metrics")
    await settle()
    assert site.client.replies()[-1].status == 500
    assert caplog.records[0].message == "a page could not be made"


@on_fake_time
async def test_a_scrape_is_due_where_somebody_scrapes_and_has_not_since() -> None:
    site = Site()
    clock = virtual_loop().clock
    assert not site.web.is_scrape_due(clock.now), "nobody scrapes"
    site.ask("/metrics")
    await settle()
    moment = clock.now
    assert not site.web.is_scrape_due(moment)
    clock.advance(1)
    assert site.web.is_scrape_due(clock.now)
    site.ask("/metrics")
    await settle()
    assert not site.web.is_scrape_due(clock.now)


# Reload


@on_fake_time
async def test_a_reload_is_a_post_and_says_what_changed() -> None:
    site = Site()
    assert site.get("/-/reload").status == 405
    site.ask("/-/reload", "Content-Length: 0", method="POST")
    site.exporter.reloaded.set_result("1 added")
    await settle()
    reply = site.client.replies()[-1]
    assert (reply.status, reply.body) == (200, b"The configuration was reloaded: 1 added\n")


@on_fake_time
async def test_a_reload_that_fails_says_why() -> None:
    site = Site()
    site.ask("/-/reload", "Content-Length: 0", method="POST")
    site.exporter.reloaded.set_exception(ConfigError("mcp.yml:3: unknown key"))
    await settle()
    reply = site.client.replies()[-1]
    assert (reply.status, reply.body) == (500, b"mcp.yml:3: unknown key\n")


# The thread


def test_pages_are_served_on_a_thread_of_their_own() -> None:
    threads: list[threading.Thread] = []

    class Watched(Web):
        def handle(self, request: Any) -> None:
            threads.append(threading.current_thread())
            super().handle(request)

    web, exporter = build()
    thread = WebThread(uncounted, LOCAL)
    watched = Watched(web._exposition, exporter, History(), serving())
    host, port = thread.open(watched, "127.0.0.1", 0)
    try:
        assert requests.get(f"http://{host}:{port}/-/healthy", timeout=60).status_code == 200
    finally:
        thread.close()
    assert [each.name for each in threads] == ["web"]
    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://{host}:{port}/-/healthy", timeout=60)


def test_an_address_that_is_taken_is_an_error_and_closing_is_safe() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        thread = WebThread(uncounted, LOCAL)
        with pytest.raises(OSError, match="in use"):
            thread.open(build()[0], "127.0.0.1", taken.getsockname()[1])
        thread.close()
    never_opened = WebThread(uncounted, LOCAL)
    never_opened.close()


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("Origin: http://evil.example", 403),
        ("Origin: null", 403),
        ("Origin: http://localhost:3000", 403),
        ("Sec-Fetch-Site: same-site", 403),
        ("Origin: http://localhost", 200),
        ("Sec-Fetch-Site: same-origin", 200),
    ],
)
@on_fake_time
async def test_another_page_cannot_reload_not_even_one_of_this_machine(
    header: str, status: int
) -> None:
    site = Site()
    site.exporter.reloaded.set_result("nothing")
    site.ask("/-/reload", header, method="POST")
    await settle()
    assert site.client.replies()[-1].status == status


# Who is let in


class Listening:
    """The scrape listener's application, bound to every address unless told otherwise."""

    def __init__(self, policy: OriginPolicy, config: WebConfig | None = None) -> None:
        self.counted: list[str] = []
        self.thread = WebThread(self.counted.append, policy)
        self.thread._pages = build()[0]
        self.thread._demand(config)
        self.client = Downstream(self.thread)

    def get(self, host: str, *headers: str, path: str = "/config") -> int:
        lines = [f"GET {path} HTTP/1.1", f"Host: {host}", *headers, "", ""]
        self.client.say("\r\n".join(lines).encode())
        return self.client.replies()[-1].status

    def close(self) -> None:
        self.thread.close()


PAGES = OriginPolicy(is_loopback=True, has_pages=True)
FOLLOWED = (
    "Sec-Fetch-Site: cross-site",
    "Sec-Fetch-Mode: navigate",
    "Sec-Fetch-Dest: document",
    "Sec-Fetch-User: ?1",
)
EVERYWHERE = OriginPolicy(is_loopback=False, hosts=frozenset({"exporter"}))


@pytest.mark.parametrize(
    ("policy", "host", "headers", "status"),
    [
        (LOCAL, "localhost:6280", (), 200),
        (LOCAL, "127.0.0.1:6280", (), 200),
        (LOCAL, "evil.example:6280", (), 403),
        (LOCAL, "evil.example", ("Origin: http://evil.example",), 403),
        (LOCAL, "localhost", ("Sec-Fetch-Site: cross-site",), 403),
        (LOCAL, "localhost", FOLLOWED, 403),
        (PAGES, "localhost", FOLLOWED, 200),
        (PAGES, "localhost", FOLLOWED[:-1], 403),
        (PAGES, "evil.example", FOLLOWED, 403),
        (LOCAL, "localhost", ("Sec-Fetch-Site: none",), 200),
        (EVERYWHERE, "exporter:6280", (), 200),
        (EVERYWHERE, "10.1.2.3:6280", (), 200),
        (EVERYWHERE, "evil.example", (), 403),
    ],
)
def test_no_page_is_shown_by_a_name_that_was_made_to_point_here(
    policy: OriginPolicy, host: str, headers: tuple[str, ...], status: int
) -> None:
    @on_fake_time
    async def run() -> None:
        listening = Listening(policy)
        assert listening.get(host, *headers) == status
        assert listening.counted == ([] if status == 200 else ["web_bad_origin"])
        listening.close()

    run()


@on_fake_time
async def test_where_a_password_is_demanded_every_name_will_do() -> None:
    config = WebConfig(users={"me": "$2b$04$" + "." * 53}, excluded_paths=frozenset({"/metrics"}))
    listening = Listening(EVERYWHERE, config)
    assert listening.get("scrape.example") == 401
    assert listening.get("scrape.example", path="/metrics") == 403
    listening.close()
