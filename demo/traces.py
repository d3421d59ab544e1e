"""A trace store for one machine: takes spans over OTLP, and shows each trace as a waterfall.

python -m demo.traces --listen 127.0.0.1:4318
"""

from __future__ import annotations

import argparse
import signal
import zlib
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from demo import waterfall
from demo.trace_store import TraceStore, spans_of

LARGEST_BODY = 8 * 1024 * 1024
TRACES_SHOWN = 100
SECONDS_TO_SPEAK = 30
PROTOBUF = "application/x-protobuf"
_GZIP = 31
"""What zlib calls the format of gzip."""


class RefusedError(Exception):
    """A request that is not answered as it wishes."""

    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        self.status = status


class TraceServer(ThreadingHTTPServer):
    """Listens on loopback."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, host: str, port: int) -> None:
        super().__init__((host, port), _Handler)
        self.store = TraceStore()
        port = self.server_address[1]
        self.names = {f"{name}:{port}" for name in (host, "127.0.0.1", "localhost")}

    @property
    def url(self) -> str:
        return f"http://{self.server_address[0]!s}:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = SECONDS_TO_SPEAK
    server: TraceServer

    def do_POST(self) -> None:
        try:
            self._refuse_strangers()
            if self.path != "/v1/traces":
                raise RefusedError(HTTPStatus.NOT_FOUND, "spans are taken at /v1/traces")
            self.server.store.add(spans_of(self._body()))
        except RefusedError as reason:
            self._refuse(reason)
        except DecodeError:
            self._refuse(RefusedError(HTTPStatus.BAD_REQUEST, "this is no OTLP message"))
        else:
            self._answer(HTTPStatus.OK, PROTOBUF, b"")

    def do_GET(self) -> None:
        try:
            self._refuse_strangers()
        except RefusedError as reason:
            self._refuse(reason)
            return
        if self.path == "/":
            page = waterfall.overview(self.server.store.newest(TRACES_SHOWN))
            self._show(HTTPStatus.OK, page)
        elif self.path.startswith("/trace/"):
            self._show_trace(self.path.removeprefix("/trace/"))
        else:
            self._refuse(RefusedError(HTTPStatus.NOT_FOUND, "there are / and /trace/ID"))

    def _show_trace(self, trace_id: str) -> None:
        trace = self.server.store.trace(trace_id)
        if trace:
            self._show(HTTPStatus.OK, waterfall.waterfall(trace))
        else:
            self._show(HTTPStatus.NOT_FOUND, waterfall.unknown(trace_id))

    def _refuse_strangers(self) -> None:
        """A web page that had its own name point to 127.0.0.1 reads nothing here."""
        if self.headers.get("Host") not in self.server.names:
            raise RefusedError(HTTPStatus.MISDIRECTED_REQUEST, "unknown name of this host")

    def _body(self) -> bytes:
        # This type is also what a web page cannot send without asking first.
        if self.headers.get_content_type() != PROTOBUF:
            raise RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"only {PROTOBUF} is taken")
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise RefusedError(HTTPStatus.LENGTH_REQUIRED, "a Content-Length is needed")
        if int(length) > LARGEST_BODY:
            raise _too_large()
        body = self.rfile.read(int(length))
        return _unpacked(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _refuse(self, reason: RefusedError) -> None:
        self.close_connection = True  # what it still sends is not read
        self._answer(reason.status, "text/plain; charset=utf-8", f"{reason}\n".encode())

    def _show(self, status: HTTPStatus, page: str) -> None:
        self._answer(status, "text/html; charset=utf-8", page.encode())

    def _answer(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", waterfall.CONTENT_POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Nothing: a line for each message would say nothing."""


def _unpacked(body: bytes) -> bytes:
    unpacker = zlib.decompressobj(_GZIP)
    try:
        unpacked = unpacker.decompress(body, LARGEST_BODY + 1)
    except zlib.error as error:
        raise RefusedError(HTTPStatus.BAD_REQUEST, f"this is no gzip: {error}") from error
    if len(unpacked) > LARGEST_BODY:
        raise _too_large()
    return unpacked


def _too_large() -> RefusedError:
    return RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {LARGEST_BODY:,} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m demo.traces", description=__doc__)
    parser.add_argument("--listen", default="127.0.0.1:4318", metavar="HOST:PORT")
    host, _, port = parser.parse_args().listen.rpartition(":")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)
    with TraceServer(host, int(port)) as server:
        try:
            server.serve_forever()
        except SystemExit:
            return


def _end(*_: object) -> None:
    raise SystemExit


if __name__ == "__main__":
    main()
