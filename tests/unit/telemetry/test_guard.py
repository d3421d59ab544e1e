"""Whatever of observation fails, every byte of the traffic is what it would have been."""

from __future__ import annotations

import gzip
import itertools
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from exporter.telemetry import recorder
from exporter.telemetry.metrics import Metrics
from exporter.telemetry.recorder import ServerRecorder
from exporter.telemetry.series import Count, Distribution, Family
from tests.support.fakes import (
    FakeChild,
    Telemetry,
    error,
    fake_time,
    notification,
    request,
    result,
    settle,
)
from tests.support.kept_spans import KeptSpans
from tests.support.stdio_relay import StdioSetup, children
from tests.unit.relay.http import test_relay
from tests.unit.relay.http.test_relay import (
    END,
    LEGACY,
    MODERN,
    SESSION,
    STREAM,
    chunk,
    event,
    http,
)

__all__ = ["children"]

TOOLS = {"tools": [{"name": "x", "inputSchema": {}}]}
TRACE = {"traceparent": f"00-{1:032x}-00f067aa0ba902b7-01"}
CALL = request(1, "tools/call", name="x", _meta=TRACE)


class BrokenError(Exception):
    """What nobody expects."""


class Broken:
    """Raises whatever is asked of it, and knows how often that was."""

    def __init__(self) -> None:
        self.touched = 0

    def __getattr__(self, name: str) -> Any:
        self.touched += 1
        raise BrokenError(name)

    def __call__(self, *args: object) -> Any:
        self.touched += 1
        raise BrokenError(str(args))

    __next__ = __call__


Break = Callable[[Telemetry, Broken, pytest.MonkeyPatch], None]


def family(name: str) -> Break:
    """A metric cannot be written."""
    return lambda telemetry, broken, patch: patch.setattr(telemetry.metrics, name, broken)


def series(name: str) -> Break:
    """One series of a server, or some of a kind, cannot be written."""

    def put(telemetry: Telemetry, broken: Broken, patch: pytest.MonkeyPatch) -> None:
        kept = getattr(telemetry.recorder, name)
        patch.setattr(
            telemetry.recorder,
            name,
            dict.fromkeys(kept, broken) if isinstance(kept, dict) else broken,
        )

    return put


def function(name: str) -> Break:
    """A label, or a trace, cannot be made."""
    return lambda _, broken, patch: patch.setattr(recorder, name, broken)


def tracer(name: str, **settings: object) -> Break:
    """A part of the tracer does not work, while spans are made."""

    def put(telemetry: Telemetry, broken: Broken, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(KeptSpans(telemetry.metrics, **settings).tracer, name, broken)

    return put


def contexts(telemetry: Telemetry, broken: Broken, patch: pytest.MonkeyPatch) -> None:
    """Where a context came from cannot be counted."""
    KeptSpans(telemetry.metrics)
    for source in telemetry.metrics.spans.contexts:
        patch.setitem(telemetry.metrics.spans.contexts, source, broken)


def _faults() -> Iterator[tuple[str, Break]]:
    metrics = Metrics(CollectorRegistry(), clock=lambda: 0.0)
    for name, value in vars(metrics).items():
        if isinstance(value, Family) and name != "internal_errors":
            yield name, family(name)
    for name, value in vars(ServerRecorder(metrics, "files", "http")).items():
        values = [*value.values()] if isinstance(value, dict) else [value]
        if values and isinstance(values[0], Count | Distribution):
            yield name, series(name)
    for name in ("method_label", "code_label", "version_label"):
        yield name, function(name)
    yield (
        "clock",
        lambda telemetry, broken, patch: patch.setattr(telemetry.metrics, "clock", broken),
    )
    yield (
        "clients",
        lambda telemetry, broken, patch: patch.setattr(telemetry.metrics.clients, "label", broken),
    )
    for name in ("keeps", "record", "_records", "_queue", "_ids"):
        yield f"tracer.{name}", tracer(name)
    yield "tracer.join", tracer("join", propagate=True)
    yield (
        "tracer",
        lambda telemetry, broken, patch: patch.setattr(telemetry.metrics.tracing, "tracer", broken),
    )
    yield "contexts", contexts
    yield (
        "tools",
        lambda telemetry, broken, patch: patch.setattr(telemetry.recorder, "tools", broken),
    )


FAULTS: Mapping[str, Break] = dict(_faults())


async def over_http(telemetry: Callable[[Telemetry], None]) -> bytes:
    """Everything that HTTP servers and their clients do; the bytes that both got."""
    setup = test_relay.Setup(observed_bytes=500)
    telemetry(setup.telemetry)
    clients = [
        await setup.call(http(result(1, content=[]), b"Content-Type: application/json"), MODERN),
        await setup.call(http(result(1, isError=True)), LEGACY),
        await setup.call(http(error(1, -32603))),
        await setup.call(http(b"x" * 900)),
        await setup.call(http(error(1, 7), status=b"404 No")),
        await setup.call(http(b"", status=b"401 No")),
        await setup.call(
            http(b"", STREAM, length=False)
            + chunk(event(notification("notifications/progress")))
            + chunk(event(request(5, "ping")))
            + chunk(event(result(1)))
            + END
        ),
        await setup.post(gzip.compress(b"{}", mtime=0), (b"Content-Encoding", b"gzip")),
    ]
    setup.say(http(result(1)))
    clients.append(await setup.post(request(0, "initialize", clientInfo={"name": "inspector"})))
    setup.say(http(result(0), b"Mcp-Session-Id: s1"))
    clients.append(await setup.post(request(2, "tools/list"), SESSION, LEGACY))
    setup.say(http(result(2, **TOOLS)))
    clients.append(await setup.post(notification("notifications/initialized"), SESSION, LEGACY))
    setup.say(http(status=b"202 Accepted"))
    clients.append(await setup.post(CALL, SESSION, LEGACY))
    setup.say(http(result(1)))
    clients.append(await setup.get(SESSION, LEGACY, method=b"DELETE"))
    setup.say(http())
    clients += [await setup.post(b"{"), await setup.get(method=b"PUT"), await setup.post([])]
    clients.append(await setup.post(CALL, MODERN))
    setup.connections[-1].lose(None)
    await settle()
    left = await setup.post(CALL, MODERN)
    left.lose(None)
    await settle()
    return b"".join(bytes(each.sent) for each in (*clients, *setup.connections))


async def over_stdio(children: list[FakeChild], telemetry: Callable[[Telemetry], None]) -> bytes:
    """The same of children."""
    setup = StdioSetup(children)
    telemetry(setup.telemetry)
    session, child = setup.open()
    clients = [setup.post(request(1, "tools/list"), session)]
    child.say(result(1, **TOOLS))
    clients.append(setup.post(notification("notifications/initialized"), session))
    clients.append(setup.post(CALL | {"id": 2}, session))
    child.say(notification("notifications/progress"))
    child.say(request(9, "ping"))
    child.say(b"babble")
    child.say(result(2))
    clients.append(setup.post(request(3), b"unknown"))
    clients.append(setup.modern("m", "tools/list"))
    await settle()
    shared = children[-1]
    number = shared.heard[-1]["id"]
    shared.say(result(number, **TOOLS))
    clients.append(setup.modern("n", "initialize"))
    clients.append(setup.post(request(4), session))
    child.die()
    clients.append(setup.other(b"DELETE", b"Mcp-Session-Id: " + session))
    await settle()
    await setup.upstream.close()
    heard = b"".join(line for each in children for line in each.lines)
    return heard + b"".join(bytes(client.sent) for client in clients)


Traffic = Callable[[Callable[[Telemetry], None]], Awaitable[bytes]]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("transport", ["http", "stdio"])
def test_a_fault_in_observation_leaves_the_traffic_untouched_and_is_counted(
    transport: str, fault: str, children: list[FakeChild], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, found = Broken(), list[Telemetry]()

    def whole(telemetry: Telemetry) -> None:
        found.append(telemetry)

    def faulty(telemetry: Telemetry) -> None:
        FAULTS[fault](telemetry, broken, monkeypatch)
        found.append(telemetry)

    def run(telemetry: Callable[[Telemetry], None]) -> bytes:
        children.clear()
        numbers = itertools.count(1)
        monkeypatch.setattr("secrets.token_hex", lambda _: f"{next(numbers):032x}")
        with fake_time() as runner:
            if transport == "http":
                return runner.run(over_http(telemetry))
            return runner.run(over_stdio(children, telemetry))

    untouched = run(whole)
    assert run(faulty) == untouched
    well, failed = (telemetry.total("mcp_exporter_internal_errors_total") for telemetry in found)
    assert well == 0
    assert bool(failed) is bool(broken.touched)
    assert broken.touched or not fault.startswith("tracer"), "no request meets it"


def test_most_faults_are_met() -> None:
    """Else the traffic above would prove nothing."""
    assert {"requests", "tool_calls", "_overhead", "method_label", "clients"} <= FAULTS.keys()
    assert {"tracer", "tracer.keeps", "tracer.join", "contexts"} <= FAULTS.keys()
    assert len(FAULTS) > 30
