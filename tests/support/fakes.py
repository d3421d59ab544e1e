"""Doubles for unit tests: a clock, an event loop on it, transports, and readers of what was said.

Time on the virtual loop passes at once when nothing else is to be done, so that a test of a
timeout neither waits nor sleeps; a test that would wait for ever fails instead.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import pkgutil
import selectors
import socket
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, ParamSpec, cast
from unittest.mock import patch

import httptools
import msgspec
from prometheus_client import CollectorRegistry

import exporter
from exporter.protocol.failures import Fault, UpstreamError
from exporter.protocol.jsonrpc import Message, read
from exporter.protocol.tool_page import read_tools
from exporter.telemetry.exchange import Exchange, Pending
from exporter.telemetry.metrics import Metrics
from exporter.telemetry.observer import Observer
from exporter.telemetry.recorder import ServerRecorder, ToolListener
from exporter.telemetry.spans.details import Peer
from exporter.telemetry.spans.joiner import Joiner
from exporter.transport.http.connection import Application, Connection
from exporter.transport.http.parser import ListenerLimits
from exporter.transport.http.request import Request
from exporter.transport.http.response import Response, ResponseSink
from exporter.transport.http.server import HttpServer
from exporter.transport.process.child import ChildOwner
from exporter.transport.turn import Turn

P = ParamSpec("P")

# Time


class FakeClock:
    """Seconds that pass only when they are told to."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class _ImpatientSelector(selectors.DefaultSelector):
    """Lets the clock jump to the next timer instead of waiting for it."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise AssertionError("the test waits for what will never come")
        if not ready and timeout:
            self._clock.advance(timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop on a fake clock, whose network is the test's own ``dial``."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(_ImpatientSelector(clock))
        self.clock = clock
        self.faults: list[dict[str, Any]] = []
        self.dial: Callable[[asyncio.Protocol], Coroutine[Any, Any, FakeTransport]] | None = None
        self.set_exception_handler(lambda _, context: self.faults.append(context))

    def time(self) -> float:
        return self.clock.now

    async def getaddrinfo(self, host: Any, port: Any, **__: Any) -> Any:
        del host
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", port))]

    async def create_connection(self, factory: Any, *_: Any, **__: Any) -> Any:  # type: ignore[override]
        assert self.dial is not None, "this test has no network"
        protocol = factory()
        transport = await self.dial(protocol)
        protocol.connection_made(transport)
        return transport, protocol


def _timed_modules() -> Iterable[Any]:
    for found in pkgutil.walk_packages(exporter.__path__, "exporter."):
        if found.name != "exporter.__main__":
            module = importlib.import_module(found.name)
            if hasattr(module, "monotonic"):
                yield module


@contextmanager
def fake_time() -> Iterator[asyncio.Runner]:
    """A runner on a virtual loop; an error in any of its callbacks fails the test."""
    clock = FakeClock()
    with ExitStack() as stack:
        for module in _timed_modules():
            stack.enter_context(patch.object(module, "monotonic", clock))
        runner = stack.enter_context(asyncio.Runner(loop_factory=lambda: VirtualLoop(clock)))
        loop = runner.get_loop()
        assert isinstance(loop, VirtualLoop)
        yield runner
        assert not loop.faults, loop.faults


def on_fake_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a test on a virtual loop."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with fake_time() as runner:
            runner.run(test(*args, **kwargs))

    return run


def virtual_loop() -> VirtualLoop:
    """The loop of the test that runs."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop


async def settle() -> None:
    """Let everything run that is due now."""
    for _ in range(10):
        await asyncio.sleep(0)


# Network


class FakeTransport(asyncio.Transport):
    """Keeps what is written; tells its protocol of the end as asyncio does, a moment later."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.protocol = protocol
        self.sent = bytearray()
        self.writes: list[bytes] = []
        self.is_paused = False
        self.is_aborted = False
        self.has_eof = False
        self._is_closing = False

    def write(self, data: Any) -> None:
        if not self._is_closing:
            self.writes.append(bytes(data))
            self.sent += data

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.has_eof = True

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        self.lose(None)

    def abort(self) -> None:
        self.is_aborted = True
        self.lose(None)

    def lose(self, error: Exception | None) -> None:
        """The connection ends, by whichever side."""
        if not self._is_closing:
            self._is_closing = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, error)

    def end(self) -> None:
        """The other side says that it has no more to say."""
        if not self.protocol.eof_received():
            self.close()

    def take(self) -> bytes:
        """What was written since the last time."""
        taken = bytes(self.sent)
        self.sent.clear()
        return taken


class Network:
    """What the virtual loop reaches: connections of which the test is the server."""

    def __init__(self) -> None:
        self.loop = virtual_loop()
        self.loop.dial = self._dial
        self.connections: list[FakeTransport] = []
        self.refusal: OSError | None = None
        self.delay = 0.0

    def say(self, data: bytes, connection: int = -1) -> None:
        """The server sends this."""
        self.connections[connection].protocol.data_received(data)

    async def _dial(self, protocol: asyncio.Protocol) -> FakeTransport:
        await asyncio.sleep(self.delay)
        if self.refusal is not None:
            raise self.refusal
        self.connections.append(FakeTransport(protocol))
        return self.connections[-1]


class FullTurn(Turn):
    """A turn that has had its share: what it is given waits for ``go``."""

    def go(self) -> None:
        while self._waiting:
            self._waiting.popleft()()

    def take(self, work: Callable[[], None]) -> None:
        self._waiting.append(work)


class Downstream(FakeTransport):
    """A client's side of one connection to a listener that needs no socket."""

    def __init__(self, application: Application, limits: ListenerLimits | None = None) -> None:
        self.listener = HttpServer(application, asyncio.get_running_loop(), limits)
        self.connection = Connection(self.listener)
        super().__init__(self.connection)
        self.connection.connection_made(self)

    def say(self, data: bytes) -> None:
        """The client sends this."""
        self.connection.data_received(data)

    def replies(self) -> list[Reply]:
        """What the client has received, as whole replies."""
        return parse_replies(bytes(self.sent))


class Reply:
    """One HTTP reply."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.is_complete = False

    def header(self, name: bytes) -> bytes | None:
        found = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(found) < 2, (name, found)
        return found[0] if found else None

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def events(self) -> list[Any]:
        """The messages that are the body's events."""
        lines = [line for line in self.body.split(b"\n") if line.startswith(b"data: {")]
        return [msgspec.json.decode(line.removeprefix(b"data: ")) for line in lines]


class _ReplyParser:
    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.parser = httptools.HttpResponseParser(self)

    def on_message_begin(self) -> None:
        self.replies.append(Reply())

    def on_header(self, name: bytes, value: bytes) -> None:
        self.replies[-1].headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.replies[-1].status = self.parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        self.replies[-1].body += body

    def on_message_complete(self) -> None:
        self.replies[-1].is_complete = True


def parse_replies(data: bytes) -> list[Reply]:
    """The HTTP replies in these bytes, the last one perhaps not complete."""
    parser = _ReplyParser()
    parser.parser.feed_data(data)
    return parser.replies


def post(body: bytes | object, path: bytes = b"/files/mcp", *headers: tuple[bytes, bytes]) -> bytes:
    """A POST as a client sends it."""
    data = body if isinstance(body, bytes) else msgspec.json.encode(body)
    lines = [b"POST %b HTTP/1.1" % path, b"Host: localhost", b"Content-Length: %d" % len(data)]
    lines += [b"%b: %b" % field for field in headers]
    return b"\r\n".join([*lines, b"", data])


class OpenApplication:
    """The part of an application that lets everybody in."""

    def admits(self, transport: asyncio.BaseTransport) -> bool:
        del transport
        return True

    def screen(self, request: Request) -> tuple[int, str] | None:
        del request
        return None

    def cut(self, reason: str) -> None:
        raise AssertionError(reason)


class Scribe(OpenApplication):
    """An application that keeps its requests and answers nothing of its own accord."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.refused: list[tuple[int, str]] = []
        self.cuts: list[str] = []
        self.paces: list[bool] = []
        self.gone = 0
        self._arrived: asyncio.Queue[Request] = asyncio.Queue()

    def handle(self, request: Request) -> None:
        self.requests.append(request)
        self._arrived.put_nowait(request)
        request.response.watcher = self

    async def next(self) -> Request:
        """The next request, once it is there."""
        return await self._arrived.get()

    def reject(self, request: Request, status: int, reason: str) -> None:
        self.refused.append((status, reason))
        request.respond(status, reason.encode(), b"text/plain")

    def cut(self, reason: str) -> None:
        self.cuts.append(reason)

    def client_gone(self) -> None:
        self.gone += 1

    def client_paused(self, paused: bool) -> None:
        self.paces.append(paused)


# Telemetry


def request(request_id: object, method: str = "ping", **params: object) -> dict[str, object]:
    """A JSON-RPC request."""
    whole: dict[str, object] = {"jsonrpc": "2.0", "id": request_id, "method": method}
    return {**whole, "params": params} if params else whole


def notification(method: str, **params: object) -> dict[str, object]:
    """A JSON-RPC notification."""
    return {"jsonrpc": "2.0", "method": method, "params": params}


def result(request_id: object, **members: object) -> dict[str, object]:
    """A JSON-RPC reply that succeeded."""
    return {"jsonrpc": "2.0", "id": request_id, "result": members}


def error(request_id: object, code: float = -32603) -> dict[str, object]:
    """A JSON-RPC reply that failed."""
    return {"jsonrpc": "2.0", "id": request_id, "error": {"code": code, "message": "no"}}


def encoded(message: object) -> bytes:
    """The message on the wire."""
    return msgspec.json.encode(message)


def parsed(message: object) -> Message:
    """The message as the exporter reads it."""
    found = read(encoded(message))
    assert found is not None
    return found


def uncounted(reason: str) -> None:
    """Nobody wants to know of this refusal."""


class FakeEvents:
    """Keeps what the traffic of a server says, and admits the tools that it lists."""

    def __init__(self, recorder: ServerRecorder) -> None:
        self._recorder = recorder
        self.signs_of_life = 0
        self.losses: list[str] = []
        self.list_changes = 0

    def tools_listed(self, reply: bytes, cursor: str | None) -> None:  # noqa: ARG002
        page = read_tools(reply)
        if page is not None:
            self._recorder.listed(page.tools)

    def list_changed(self) -> None:
        self.list_changes += 1

    def alive(self) -> None:
        self.signs_of_life += 1

    def lost(self, reason: str) -> None:
        self.losses.append(reason)


class Telemetry:
    """The metrics of one server, with the recorder and the observer that write them."""

    def __init__(
        self,
        server: str = "files",
        transport: str = "http",
        listener: ToolListener | None = None,
    ) -> None:
        self.server = server
        self.clock = FakeClock()
        self.metrics = Metrics(CollectorRegistry(), clock=self.clock)
        self.recorder = ServerRecorder(self.metrics, server, transport, listener)
        self.events = FakeEvents(self.recorder)
        peer = Peer("up", 8000) if transport == "http" else Peer()
        joiner = Joiner(self.metrics.tracing, self.metrics.spans, None, peer)
        self.observer = Observer(self.recorder, self.events, joiner)

    def value(self, name: str, **labels: str) -> float | None:
        """One sample; of the server unless the labels say otherwise."""
        return self.metrics.registry.get_sample_value(name, {"server": self.server, **labels})

    def own(self, name: str, **labels: str) -> float | None:
        """One sample of the exporter itself."""
        return self.metrics.registry.get_sample_value(name, labels)

    def total(self, name: str) -> float:
        """The sum over every series of this name."""
        families = self.metrics.registry.restricted_registry([name]).collect()
        return sum(sample.value for family in families for sample in family.samples)

    def outcomes(self, name: str = "mcp_requests_total") -> Counter[str]:
        """How often requests ended how."""
        found: Counter[str] = Counter()
        for family in self.metrics.registry.restricted_registry([name]).collect():
            for sample in family.samples:
                if sample.value:
                    found[sample.labels["outcome"]] += int(sample.value)
        return found

    @property
    def in_flight(self) -> float | None:
        return self.value("mcp_requests_in_flight")


def waiting(exchange: Exchange) -> Iterator[Pending]:
    """The requests that wait for a reply, those with the same id included."""
    for newest in [*exchange._requests.values(), *exchange._questions.values()]:
        pending: Pending | None = newest
        while pending is not None:
            assert not pending.done
            yield pending
            pending = pending.older


def bare_request(
    body: bytes | object = b"", method: bytes = b"POST", **headers: str | bytes
) -> Request:
    """A request that came over no connection; ``_`` in a header's name stands for ``-``."""
    found = Request(Response(cast("ResponseSink", None)))
    found.method = method
    found.body = body if isinstance(body, bytes) else msgspec.json.encode(body)
    for name, value in headers.items():
        text = value if isinstance(value, bytes) else value.encode()
        found.headers.append((name.replace("_", "-").encode(), text))
    return found


class FakeChild:
    """Keeps what it is sent; the test speaks for it."""

    is_clogged = False

    def __init__(self, owner: ChildOwner | None = None, use: str = "") -> None:
        self.owner = owner
        self.use = use
        self.lines: list[bytes] = []
        self.is_stopped = False
        self.is_paused = False
        self.started = 0.0
        self.sent = 0
        self.unread = 0
        self.after: asyncio.Task[None] | None = None

    def send(self, line: bytes) -> None:
        assert b"\n" not in line
        self.lines.append(line)
        self.sent += len(line) + 1

    def stop(self) -> asyncio.Task[None]:
        self.owner = None
        self.is_stopped = True
        return asyncio.get_running_loop().create_task(asyncio.sleep(0))

    def pause(self, paused: bool) -> None:
        self.is_paused = paused

    def lose(self, text: str, fault: Fault) -> None:
        owner, self.owner = self.owner, None
        if owner is not None:
            owner.child_lost(UpstreamError(text, fault))

    @property
    def heard(self) -> list[Any]:
        """What it was sent, as JSON."""
        return [msgspec.json.decode(line) for line in self.lines]

    def say(self, message: object) -> None:
        """It writes one line."""
        assert self.owner is not None, "nobody listens to it any more"
        self.owner.child_said(message if isinstance(message, bytes) else encoded(message))

    def die(self, text: str = "exited with code 1") -> None:
        """It ends."""
        owner, self.owner = self.owner, None
        assert owner is not None
        owner.child_lost(UpstreamError(text, Fault.EXIT))
