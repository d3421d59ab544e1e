"""One probe from nothing, on a throwaway registry, and the text that a person reads."""

from __future__ import annotations

import logging

import pytest

from exporter.config.model import ProbeSettings, Server
from exporter.probe.explain import Explanation, describe, explain, explain_all, render
from exporter.probe.history import Record
from exporter.probe.target import ProbeResult
from exporter.probe.transcript import Step
from exporter.transport.process.reaper import Reaper
from tests.support.fake_server import Answer, Asked, FakeServer
from tests.support.fakes import Telemetry, error, on_fake_time, result, virtual_loop
from tests.unit.probe.test_http import Legacy, modern

PROBE = ProbeSettings(interval=30.0, timeout=5.0)
SERVER = Server(
    "files",
    "http",
    url="http://joe:pw123@server:8000/mcp?key=hush-hush",
    headers={"Authorization": "Bearer hush-hush", "X-Team": "a"},
    probe=PROBE,
)


def value(explanation: Explanation, name: str, **labels: str) -> float | None:
    wanted = {"server": "files", **labels}
    for family in explanation.metrics.collect():
        for sample in family.samples:
            if (sample.name, sample.labels) == (name, wanted):
                return float(sample.value)
    return None


@on_fake_time
async def test_it_says_what_the_probe_would_give() -> None:
    FakeServer(modern)
    explanation = await explain(SERVER, Reaper())
    assert value(explanation, "mcp_probes_total", result="success") == 1
    assert value(explanation, "mcp_server_health_state", state="ok") == 1
    assert value(explanation, "mcp_probe_success") == 1
    assert value(explanation, "mcp_server_up") == 1
    assert value(explanation, "mcp_server_tools") == 1
    assert explanation.record.tools == 1


@on_fake_time
async def test_it_says_nothing_of_traffic_or_of_the_exporter() -> None:
    FakeServer(modern)
    explanation = await explain(SERVER, Reaper())
    names = {family.name for family in explanation.metrics.collect()}
    assert all(name.startswith(("mcp_server_", "mcp_probe")) for name in names)
    assert "mcp_server_requests" not in names


@on_fake_time
async def test_it_touches_no_other_registry() -> None:
    telemetry = Telemetry()
    FakeServer(modern)
    await explain(SERVER, Reaper())
    assert telemetry.total("mcp_probes_total") == 0


@on_fake_time
async def test_it_leaves_no_session_behind() -> None:
    server = Legacy()
    FakeServer(server)
    await explain(SERVER, Reaper())
    assert (server.last, server.live) == (1, set())


@pytest.mark.parametrize(
    ("answer", "up", "state"),
    [
        ((401, b"", {}), 1, "ok"),
        ((503, b"no", {}), 0, "error"),
        ((200, b"<html>", {}), 0, "error"),
    ],
)
def test_one_probe_decides_alone(answer: Answer, up: int, state: str) -> None:
    @on_fake_time
    async def run() -> None:
        FakeServer(lambda _: answer)
        explanation = await explain(SERVER, Reaper())
        assert value(explanation, "mcp_probe_success") == up
        assert value(explanation, "mcp_server_up") == up
        assert value(explanation, "mcp_server_health_state", state=state) == 1
        assert value(explanation, "mcp_server_health_state", state="degraded") == 0

    run()


@pytest.mark.parametrize(("limit", "seconds"), [(None, 5.0), (60.0, 5.0), (2.0, 2.0)])
def test_it_ends_within_its_limit(limit: float | None, seconds: float) -> None:
    @on_fake_time
    async def run() -> None:
        FakeServer(lambda _: None)
        explanation = await explain(SERVER, Reaper(), limit)
        assert explanation.record.result.value == "timeout"
        assert explanation.record.result.seconds == seconds

    run()


@on_fake_time
async def test_a_slow_listing_is_cut_at_the_limit() -> None:
    server = FakeServer(lambda asked: None if asked.asks == "tools/list" else modern(asked))
    began = virtual_loop().time()
    explanation = await explain(SERVER, Reaper(), 9.5)
    assert (explanation.record.result.value, explanation.record.tools) == ("success", None)
    assert virtual_loop().time() - began == 9.5
    assert "tools/list" in server.methods


@on_fake_time
async def test_a_listing_that_is_cut_says_why_and_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def circle(asked: Asked) -> Answer:
        if asked.asks != "tools/list":
            return modern(asked)
        return 200, result(asked.message["id"], tools=[{"name": "a"}], nextCursor="again"), {}

    caplog.set_level(logging.INFO)
    FakeServer(circle)
    explanation = await explain(SERVER, Reaper())
    assert explanation.record.tools == 1
    assert "note     lists its tools in a circle: a cursor came twice" in explanation.text
    assert not caplog.records


@on_fake_time
async def test_servers_are_explained_in_their_order_some_at_a_time() -> None:
    FakeServer(lambda asked: (200, error(asked.message["id"]), {}))
    servers = [Server(f"s{n}", "http", url="http://h/mcp", probe=PROBE) for n in range(20)]
    names = [explanation.server.name async for explanation in explain_all(servers)]
    assert names == [server.name for server in servers]


# The text

RECORD = Record(
    "files",
    1_790_000_000.25,
    ProbeResult("timeout", 5.0012, "no reply to ping within 5 s", 7.0),
    [Step(0.0, "sent", "POST /mcp\nHost: h"), Step(12.5, "note", "x")],
    3,
)


def test_a_record_is_rendered_step_by_step() -> None:
    assert render(RECORD) == (
        "Probe of files at 2026-09-21T14:13:20.250+00:00\n"
        "\n"
        "   0.000 s sent     POST /mcp\n"
        "                    Host: h\n"
        "  12.500 s note     x\n"
        "\n"
        "Result: timeout after 5.001 s\n"
        "Reason: no reply to ping within 5 s\n"
        "Asks to be left alone for 7 s\n"
        "Tools: 3\n"
    )


@on_fake_time
async def test_the_whole_text_has_the_transcript_the_metrics_and_the_configuration() -> None:
    FakeServer(modern)
    text = (await explain(SERVER, Reaper())).text
    places = [
        text.index(part)
        for part in (
            "Probe of files at ",
            "sent     POST /mcp?<secret>",
            "Result: success after",
            "\nMetrics that it would give:\n\n# HELP ",
            'mcp_probes_total{result="success",server="files"} 1.0\n',
            "\nConfiguration of files:\n",
        )
    ]
    assert places == sorted(places)
    assert "hush" not in text
    assert "pw123" not in text


def test_a_configuration_is_described_without_secrets() -> None:
    assert describe(SERVER) == (
        "Configuration of files:\n"
        "\n"
        "transport: http\n"
        "url: http://<secret>@server:8000/mcp?<secret>\n"
        "headers: Authorization, X-Team\n"
        "probe: interval 30s, timeout 5s\n"
    )
    child = Server(
        "echo",
        "stdio",
        command="npx",
        args=("--key", "hush-hush"),
        env={"TOKEN": "hush-hush"},
        probe=ProbeSettings(enabled=False),
    )
    assert describe(child) == (
        "Configuration of echo:\n"
        "\n"
        "transport: stdio\n"
        "command: npx\n"
        "arguments: 2\n"
        "env: TOKEN\n"
        "probe: interval 30s, timeout 5s\n"
        "probe: switched off; this one was asked for\n"
    )
