"""Makes calls in a closed loop and measures them.

``python -m bench.load.generator`` reads a job from its standard input.

Every session has a connection of its own that it keeps, and makes its next call when the reply to
the last one is there and right. What is measured lies between two moments, after a warm-up.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import ssl
import sys
from collections.abc import Callable, Generator
from time import perf_counter
from typing import cast
from urllib.parse import urlsplit

import httptools
import msgspec
import uvloop

from bench.load.messages import NOTIFICATION, Http, Talk, WrongReplyError
from bench.load.usage import Cpu, children_of, cpu_by_process, cpu_of_machine, difference, pin

PATIENCE = 60.0
"""Seconds that sessions are given to begin, or to end."""


class Job(msgspec.Struct, frozen=True):
    """What is to be done. Either ``url`` or ``command`` says where."""

    talk: Talk = Talk()
    sessions: int = 1
    url: str = ""
    is_rest: bool = False
    """Whether each tool is a path of its own, with its arguments as the body (mcpo)."""
    authority: str = ""
    """The file of the certificates that are trusted, for https."""
    command: list[str] = []
    seconds: float = 2.0
    warm_up: float = 0.5
    watched: dict[str, list[int]] = {}
    """The processes whose processor time is wanted, by the name of what they are."""
    parents: dict[str, int] = {}
    """The same for all children that a process has when the measurement begins."""
    processor: int | None = None


class Measured(msgspec.Struct, frozen=True):
    """What came of it. Latencies in seconds; processor time in seconds a call, user and system."""

    calls: int
    seconds: float
    mean: float
    p50: float
    p90: float
    p99: float
    longest: float
    cpu: dict[str, tuple[float, float]]
    other: float
    """Processors that were busy with what is not measured here."""


class Sheet:
    """Where the sessions write what they see."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.latencies: list[float] = []
        self.is_open = True
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._note: Callable[[float], None] | None = None
        self._watched = job.watched | {"generator": [os.getpid()]}

    def watch(self, name: str, process: int) -> None:
        """Also tell this process's processor time."""
        self._watched[name] = [process]

    def note(self, began: float) -> None:
        """A call that began then has ended well."""
        if self._note is not None:
            self._note(perf_counter() - began)

    def fail(self, error: BaseException) -> None:
        if not self.failed.done():
            self.failed.set_exception(error)

    async def measure(self) -> Measured:
        """Let the sessions warm up, and measure them."""
        await self._wait(self.job.warm_up)
        for name, parent in self.job.parents.items():
            self._watched[name] = children_of(parent)
        before, machine, began = self._usage(), cpu_of_machine(), perf_counter()
        self._note = self.latencies.append
        await self._wait(self.job.seconds)
        while not self.latencies and perf_counter() - began < PATIENCE:
            await self._wait(self.job.seconds)  # a slow machine is no failure
        self._note = None
        seconds, machine = perf_counter() - began, cpu_of_machine() - machine
        after = self._usage()
        spent = {name: difference(before[name], used) for name, used in after.items()}
        if not self.latencies:
            raise WrongReplyError(f"no call ended within {seconds:.1f} s")
        return summary(self.latencies, seconds, spent, machine)

    async def _wait(self, seconds: float) -> None:
        await asyncio.wait([self.failed], timeout=seconds)
        if self.failed.done():
            self.failed.result()

    def _usage(self) -> dict[str, dict[int, Cpu]]:
        return {name: cpu_by_process(processes) for name, processes in self._watched.items()}


def summary(
    latencies: list[float], seconds: float, spent: dict[str, Cpu], machine: float
) -> Measured:
    """Put the figures of one measurement together."""
    ordered = sorted(latencies)
    calls = len(ordered)
    mine = sum(cpu.total for cpu in spent.values())
    return Measured(
        calls=calls,
        seconds=seconds,
        mean=sum(ordered) / calls,
        p50=quantile(ordered, 0.5),
        p90=quantile(ordered, 0.9),
        p99=quantile(ordered, 0.99),
        longest=ordered[-1],
        cpu={name: (cpu.user / calls, cpu.system / calls) for name, cpu in spent.items()},
        other=max(0.0, machine - mine) / seconds,
    )


def quantile(ordered: list[float], share: float) -> float:
    """The value that this share of all values does not exceed (nearest rank)."""
    return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))]


class Session(asyncio.Protocol):
    """One session over HTTP: its greeting, its calls, its farewell."""

    def __init__(self, sheet: Sheet, http: Http) -> None:
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        self._sheet = sheet
        self._http = http
        self._parser = httptools.HttpResponseParser(self)
        self._session = b""
        self._is_streamed = False
        self._body = bytearray()
        self._script = self._run()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._advance(None)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, WrongReplyError) as error:
            self._sheet.fail(error.__context__ or error)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ended.done():
            self._sheet.fail(error or ConnectionError("the connection was closed"))

    def on_message_begin(self) -> None:
        self._is_streamed = False
        self._body.clear()

    def on_header(self, name: bytes, value: bytes) -> None:
        lowered = name.lower()
        if lowered == b"mcp-session-id":
            self._session = value
        elif lowered == b"content-type":
            self._is_streamed = value.startswith(b"text/event-stream")

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status not in (200, 202, 204):
            raise WrongReplyError(f"status {status}: {bytes(self._body[:300])!r}")
        body = bytes(self._body)
        self._advance(last_event(body) if self._is_streamed else body)

    def _advance(self, body: bytes | None) -> None:
        request = self._script.send(body)
        if request:
            self._transport.write(request)
            return
        self.ended.set_result(None)
        self._transport.close()

    def _run(self) -> Generator[bytes, bytes | None, None]:
        """Yield all requests in turn, an empty one at the end; each time comes the reply's body."""
        for request in self._http.greeting():
            yield request
            yield self._http.initialized(self._session)
        self.ready.set_result(None)
        check, note = self._http.talk.check, self._sheet.note
        calls = self._http.calls(self._session)
        while self._sheet.is_open:
            number, request = next(calls)
            began = perf_counter()
            body = yield request
            check(body or b"", number)
            note(began)
        if self._session:
            yield self._http.farewell(self._session)
        yield b""


class RestSession(Session):
    """Calls of a proxy that makes a path of each tool."""

    def _run(self) -> Generator[bytes, bytes | None, None]:
        self.ready.set_result(None)
        arguments = self._http.talk.arguments()
        requests = itertools.cycle(
            Http(self._http.talk, self._http.host, f"{self._http.path}/{name}").request(arguments)
            for name in self._http.talk.names
        )
        while self._sheet.is_open:
            began = perf_counter()
            body = yield next(requests)
            if len(body or b"") < max(self._http.talk.size, len("hello")):
                raise WrongReplyError(f"{body!r:.200} is too short")
            self._sheet.note(began)
        yield b""


class Pipe(asyncio.SubprocessProtocol):
    """A server over stdio, asked without any proxy: so many calls at once as there are sessions."""

    def __init__(self, sheet: Sheet) -> None:
        self._sheet = sheet
        self._lines = sheet.job.talk.lines()
        self._sent: dict[int, float] = {}
        self._order: list[int] = []
        self._data = bytearray()

    def begin(self, stdin: asyncio.WriteTransport) -> None:
        self._stdin = stdin
        for _ in range(self._sheet.job.sessions):
            self._call()

    def _call(self) -> None:
        number, line = next(self._lines)
        self._order.append(number)
        self._sent[number] = perf_counter()
        self._stdin.write(line)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self._data += data
        if fd != 1 or b"\n" not in data:
            return
        *lines, rest = self._data.split(b"\n")
        self._data = rest
        try:
            for line in lines:
                self._take(bytes(line))
        except WrongReplyError as error:
            self._sheet.fail(error)

    def _take(self, line: bytes) -> None:
        if line.startswith(NOTIFICATION):
            return
        number = self._order.pop(0)  # a server that does one thing at a time keeps the order
        self._sheet.job.talk.check(line, number)
        self._sheet.note(self._sent.pop(number))
        if self._sheet.is_open:
            self._call()


def last_event(body: bytes) -> bytes:
    """The data of the last event. JSON has no line breaks, so only a field can follow one."""
    _, _, data = (b"\n" + body).rpartition(b"\ndata:")
    return data.partition(b"\n")[0].strip()


async def run(job: Job) -> Measured:
    """Do a job. Raises ``WrongReplyError`` and ``OSError`` where a call fails."""
    sheet = Sheet(job)
    return await (_over_stdio(sheet) if job.command else _over_http(sheet))


async def _over_http(sheet: Sheet) -> Measured:
    job = sheet.job
    url = urlsplit(job.url)
    http = Http(job.talk, url.netloc, url.path)
    context = (
        ssl.create_default_context(cafile=job.authority or None) if url.scheme == "https" else None
    )
    loop = asyncio.get_running_loop()
    kind = RestSession if job.is_rest else Session
    sessions = []
    for _ in range(job.sessions):
        _, session = await loop.create_connection(
            lambda: kind(sheet, http), url.hostname or "", url.port or 443, ssl=context
        )
        sessions.append(session)
    await _all(sheet, [session.ready for session in sessions])
    measured = await sheet.measure()
    sheet.is_open = False
    await _all(sheet, [session.ended for session in sessions])
    return measured


async def _all(sheet: Sheet, futures: list[asyncio.Future[None]]) -> None:
    """Wait until all are done, or one session has failed."""
    async with asyncio.timeout(PATIENCE):
        for future in futures:
            await asyncio.wait([future, sheet.failed], return_when=asyncio.FIRST_COMPLETED)
            if sheet.failed.done():
                sheet.failed.result()


async def _over_stdio(sheet: Sheet) -> Measured:
    loop = asyncio.get_running_loop()
    command = sheet.job.command
    transport, pipe = await loop.subprocess_exec(lambda: Pipe(sheet), *command, stderr=None)
    sheet.watch("backend", transport.get_pid())
    stdin = transport.get_pipe_transport(0)
    pipe.begin(cast("asyncio.WriteTransport", stdin))
    measured = await sheet.measure()
    sheet.is_open = False
    transport.kill()
    transport.close()
    return measured


def main() -> int:
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    pin(job.processor)
    try:
        measured = uvloop.run(run(job))
    except (WrongReplyError, OSError) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 1
    sys.stdout.buffer.write(msgspec.json.encode(measured) + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
