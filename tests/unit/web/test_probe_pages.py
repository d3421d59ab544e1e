"""``/probe`` runs a probe on another loop; ``/logs`` shows one that is over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from exporter.config.model import Server
from exporter.probe.explain import Explanation
from exporter.probe.history import History, Record
from exporter.probe.target import ProbeResult
from exporter.probe.transcript import Step
from exporter.telemetry.metrics import Metrics
from exporter.telemetry.recorder import ServerRecorder
from exporter.transport.http.request import Request
from exporter.web.probe_pages import AT_ONCE, ProbePages
from tests.support.fakes import Downstream, OpenApplication, Reply, on_fake_time, settle

SERVER = Server("@scope/files", "http", url="http://server/mcp")
NAME = "%40scope%2Ffiles"


class Prober:
    """Knows one server; the test ends its probes."""

    def __init__(self) -> None:
        self.limits: list[float | None] = []
        self.futures: list[Future[Explanation]] = []

    @property
    def servers(self) -> list[str]:
        return [SERVER.name, "echo"]

    def find(self, name: str) -> Server | None:
        return SERVER if name == SERVER.name else None

    def explain(self, server: Server, limit: float | None) -> Future[Explanation]:
        assert server is SERVER
        self.limits.append(limit)
        self.futures.append(Future())
        return self.futures[-1]


class Site(OpenApplication):
    """The two pages behind a listener."""

    def __init__(self) -> None:
        self.prober = Prober()
        self.history = History()
        self.pages = ProbePages(self.prober, self.history)
        self.client = Downstream(self)

    def handle(self, request: Request) -> None:
        pages = {b"/probe": self.pages.probe, b"/logs": self.pages.logs}
        pages[request.path](request)

    def reject(self, request: Request, status: int, reason: str) -> None:
        raise AssertionError((status, reason, request))

    def get(self, target: str, *headers: str) -> None:
        lines = [f"GET {target} HTTP/1.1", "Host: localhost", *headers, "", ""]
        self.client.say("\r\n".join(lines).encode())

    @property
    def reply(self) -> Reply:
        return self.client.replies()[-1]

    async def end(self, explanation: Explanation | Exception) -> None:
        future = self.prober.futures[-1]
        if isinstance(explanation, Exception):
            future.set_exception(explanation)
        else:
            future.set_result(explanation)
        await settle()


def explanation() -> Explanation:
    metrics = Metrics.throwaway()
    ServerRecorder(metrics, SERVER.name, "http").probed("timeout", 5.0)
    record = Record(
        SERVER.name, 0.0, ProbeResult("timeout", 5.0, "why"), [Step(0.0, "sent", "ping")]
    )
    return Explanation(SERVER, record, metrics.probe_view())


@on_fake_time
async def test_a_probe_answers_with_its_metrics_when_it_has_ended() -> None:
    site = Site()
    site.get(f"/probe?target={NAME}", "Accept: text/plain")
    assert site.client.replies() == []
    await site.end(explanation())
    assert site.reply.status == 200
    assert site.reply.body.startswith(b"# HELP ")
    assert b'mcp_probes_total{result="timeout",server="@scope/files"} 1.0' in site.reply.body
    assert b"ping" not in site.reply.body
    kind = site.reply.header(b"content-type")
    assert kind is not None
    assert kind.startswith(b"text/plain; version=")


@on_fake_time
async def test_a_scraper_gets_the_format_that_it_asks_for() -> None:
    site = Site()
    site.get(f"/probe?target={NAME}", "Accept: application/openmetrics-text;version=1.0.0")
    await site.end(explanation())
    assert site.reply.body.endswith(b"# EOF\n")


@pytest.mark.parametrize("word", ["true", "True", "1"])
def test_with_debug_it_says_what_was_said(word: str) -> None:
    @on_fake_time
    async def run() -> None:
        site = Site()
        site.get(f"/probe?target={NAME}&debug={word}")
        await site.end(explanation())
        assert site.reply.header(b"content-type") == b"text/plain; charset=utf-8"
        assert b"   0.000 s sent     ping\n" in site.reply.body
        assert b"\nReason: why\n" in site.reply.body
        assert b"mcp_probes_total" in site.reply.body

    run()


@pytest.mark.parametrize(
    ("target", "status", "text"),
    [
        ("/probe", 400, "Which server? Add ?target=NAME; configured are: @scope/files, echo"),
        ("/probe?target=", 400, "Which server?"),
        ("/probe?target=nobody", 404, "There is no server 'nobody'; configured are: @scope/files"),
        ("/logs?id=1", 404, "There is no such probe (any more)"),
        ("/logs?id=x", 404, "There is no such probe (any more)"),
        ("/logs?id=" + "9" * 5000, 404, "There is no such probe (any more)"),
        ("/logs?id=%D9%A1", 404, "There is no such probe (any more)"),
    ],
)
def test_what_cannot_be_answered_is_said_in_a_line(target: str, status: int, text: str) -> None:
    @on_fake_time
    async def run() -> None:
        site = Site()
        site.get(target)
        assert site.reply.status == status
        assert site.reply.body.decode().startswith(text)
        assert site.reply.body.count(b"\n") == 1
        assert site.prober.futures == []

    run()


@pytest.mark.parametrize(
    ("given", "limit"), [(None, None), ("10", 9.5), ("0.8", 0.4), ("1", 0.5), ("15.25", 14.75)]
)
def test_a_probe_ends_before_the_scrape_does(given: str | None, limit: float | None) -> None:
    @on_fake_time
    async def run() -> None:
        site = Site()
        headers = [f"X-Prometheus-Scrape-Timeout-Seconds: {given}"] if given else []
        site.get(f"/probe?target={NAME}", *headers)
        assert site.prober.limits == [limit]

    run()


@pytest.mark.parametrize("given", ["0", "-1", "soon", "nan", "inf", "1e10"])
def test_a_timeout_that_makes_no_sense_is_rejected(given: str) -> None:
    @on_fake_time
    async def run() -> None:
        site = Site()
        site.get(f"/probe?target={NAME}", f"X-Prometheus-Scrape-Timeout-Seconds: {given}")
        assert site.reply.status == 400
        assert b"is not a number of seconds above 0" in site.reply.body

    run()


@pytest.mark.parametrize("site_of_page", ["cross-site", "same-site"])
def test_another_web_page_cannot_start_a_probe(site_of_page: str) -> None:
    @on_fake_time
    async def run() -> None:
        site = Site()
        site.get(f"/probe?target={NAME}", f"Sec-Fetch-Site: {site_of_page}")
        assert site.reply.status == 403
        assert site.prober.futures == []

    run()


LINK = ("Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", "Sec-Fetch-User: ?1")


@pytest.mark.parametrize("missing", [None, *LINK])
def test_a_link_of_another_page_starts_one_where_a_person_followed_it(missing: str | None) -> None:
    @on_fake_time
    async def run() -> None:
        site = Site()
        headers = [line for line in LINK if line != missing]
        site.get(f"/probe?target={NAME}", "Sec-Fetch-Site: cross-site", *headers)
        assert len(site.prober.futures) == (missing is None)

    run()


@on_fake_time
async def test_only_some_probes_run_at_once() -> None:
    site = Site()
    for _ in range(AT_ONCE):
        Downstream(site).say(f"GET /probe?target={NAME} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    site.get(f"/probe?target={NAME}")
    assert (site.reply.status, len(site.prober.futures)) == (503, AT_ONCE)
    await site.end(explanation())
    site.get(f"/probe?target={NAME}")
    assert len(site.prober.futures) == AT_ONCE + 1


@pytest.mark.parametrize("end", [lambda future: future.cancel(), None])
def test_a_probe_that_fails_in_itself_is_answered(end: Callable[[Any], object] | None) -> None:
    @on_fake_time
    async def run() -> None:
        site = Site()
        site.get(f"/probe?target={NAME}")
        if end is not None:
            end(site.prober.futures[0])
            await settle()
        else:
            await site.end(ValueError("a fault"))
        assert site.reply.status == 503
        assert b"a fault" not in site.reply.body

    run()


@on_fake_time
async def test_a_client_that_is_gone_is_not_answered() -> None:
    site = Site()
    site.get(f"/probe?target={NAME}")
    site.client.lose(None)
    await settle()
    await site.end(explanation())
    assert site.client.sent == b""
    site.get(f"/probe?target={NAME}")


def test_a_probe_that_ends_after_the_listener_is_ignored() -> None:
    site: list[Site] = []

    @on_fake_time
    async def run() -> None:
        site.append(Site())
        site[0].get(f"/probe?target={NAME}")
        await asyncio.sleep(0)

    run()
    site[0].prober.futures[0].set_result(explanation())


@on_fake_time
async def test_a_log_shows_the_steps_and_no_markup_of_others() -> None:
    site = Site()
    steps = [Step(0.0, "received", "<script>alert(1)</script>")]
    site.history.add(Record("a<b>", 0.0, ProbeResult("success", 0.1), steps))
    site.get("/logs?id=1")
    page = site.reply.body.decode()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script" not in page
    assert "a<b>" not in page
    policy = site.reply.header(b"content-security-policy")
    assert policy is not None
    assert policy.startswith(b"default-src 'none'")
