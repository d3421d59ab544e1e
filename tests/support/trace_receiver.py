"""A collector for tests: takes spans over OTLP, and can be told to misbehave."""

from __future__ import annotations

import gzip
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.support.running import wait_for

TAKEN = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n"


CLOCK_ERROR = 2_000_000
"""Nanoseconds between the clocks that processes read a time from."""


@dataclass(frozen=True)
class ReceivedSpan:
    """One span, and who sent it."""

    span: Span
    service: str

    @property
    def trace_id(self) -> str:
        return str(self.span.trace_id.hex())

    @property
    def span_id(self) -> str:
        return str(self.span.span_id.hex())

    @property
    def parent_id(self) -> str:
        return str(self.span.parent_span_id.hex())

    @property
    def attributes(self) -> Mapping[str, Any]:
        return {
            each.key: getattr(each.value, str(each.value.WhichOneof("value")))
            for each in self.span.attributes
        }

    def begins_before(self, other: ReceivedSpan) -> bool:
        return self.span.start_time_unix_nano <= other.span.start_time_unix_nano + CLOCK_ERROR


Misbehave = Callable[[socket.socket], None]


class TraceReceiver(ThreadingHTTPServer):
    """Keeps what it is sent. With ``misbehave`` it takes nothing, and does that instead."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.misbehave: Misbehave | None = None
        self.headers: list[Mapping[str, str]] = []
        self.bodies: list[bytes] = []
        self._spans: list[ReceivedSpan] = []
        self._lock = Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def spans(self) -> list[ReceivedSpan]:
        with self._lock:
            return list(self._spans)

    def of(self, service: str) -> list[ReceivedSpan]:
        return [each for each in self.spans if each.service == service]

    def bodies_of(self, service: str) -> list[bytes]:
        """The messages that this service sent."""
        name = service.encode()
        return [body for body in self.bodies if name in body]

    def wait_for(self, service: str, count: int = 1) -> list[ReceivedSpan]:
        """The first spans of a service, once so many have come."""
        wait_for(lambda: len(self.of(service)) >= count, 60, f"{count} spans of {service}")
        return self.of(service)

    def take(self, body: bytes) -> None:
        message = ExportTraceServiceRequest.FromString(body)
        with self._lock:
            self.bodies.append(body)
            for part in message.resource_spans:
                named = {each.key: each.value.string_value for each in part.resource.attributes}
                for scope in part.scope_spans:
                    service = named.get("service.name", "")
                    self._spans += [ReceivedSpan(span, service) for span in scope.spans]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """What a test breaks on purpose is not told."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: TraceReceiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.headers.append(dict(self.headers))
        if self.server.misbehave is not None:
            self.close_connection = True
            with suppress(OSError):
                self.server.misbehave(self.connection)
            return
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.take(body)
        self.wfile.write(TAKEN)

    def log_message(self, *args: Any) -> None:
        """Nothing."""


@contextmanager
def receiving() -> Iterator[TraceReceiver]:
    """A receiver that listens, for the time of a test."""
    with TraceReceiver() as receiver:
        thread = Thread(target=receiver.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield receiver
        finally:
            receiver.shutdown()
            thread.join()
