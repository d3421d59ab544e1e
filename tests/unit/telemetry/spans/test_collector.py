"""What collectors may do to the thread that speaks to them."""

from __future__ import annotations

import base64
import gc
import socket
import struct
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from unittest.mock import patch

import pytest

from exporter.config.model import HIDDEN, TracingSettings, Values
from exporter.telemetry.spans.collector import HttpCollector
from exporter.telemetry.spans.otlp import OtlpEncoder, rejected
from exporter.telemetry.spans.sender import CollectorLostError, CollectorReply
from tests.support.trace_receiver import TraceReceiver, receiving
from tests.unit.telemetry.spans.test_otlp import RECORD


def body() -> bytes:
    return OtlpEncoder({"service.name": "mine"}, "1")([RECORD], 0.0)


def collector(receiver: TraceReceiver, **settings: object) -> HttpCollector:
    wanted = TracingSettings(f"{receiver.url}/v1/traces", headers=Values({"X-Key": "secret"}))
    return HttpCollector(replace(wanted, **settings), "agent/1", rejected)  # type: ignore[arg-type]


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_spans_arrive(compression: str) -> None:
    with receiving() as receiver:
        assert collector(receiver, compression=compression).post(body(), 5.0) == CollectorReply(200)
        (span,) = receiver.of("mine")
        headers = receiver.headers[0]
    assert span.span.name == "tools/call act"
    assert headers["Content-Type"] == "application/x-protobuf"
    assert (headers["User-Agent"], headers["X-Key"]) == ("agent/1", "secret")
    assert headers.get("Content-Encoding") == (None if compression == "none" else "gzip")


def test_a_header_of_the_configuration_is_there_once_however_it_is_written() -> None:
    with receiving() as receiver:
        given = Values({"user-agent": "mine/1"})
        assert collector(receiver, headers=given).post(body(), 5.0) == CollectorReply(200)
        sent = [(name.lower(), value) for name, value in receiver.headers[0].items()]
    assert [value for name, value in sent if name == "user-agent"] == ["mine/1"]


def reply(status: bytes, headers: bytes = b"", text: bytes = b"") -> bytes:
    size = b"Content-Length: %d\r\n" % len(text)
    return b"HTTP/1.1 " + status + b"\r\n" + headers + size + b"\r\n" + text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (reply(b"503 No", b"Retry-After: 7\r\n"), CollectorReply(503, 7.0)),
        (reply(b"429 No", b"Retry-After: Wed, 21 Oct 2026 07:28:00 GMT\r\n"), CollectorReply(429)),
        (reply(b"429 No", b"Retry-After: 999999999\r\n"), CollectorReply(429)),
        (reply(b"302 Found", b"Location: http://127.0.0.1:1/\r\n"), CollectorReply(302)),
        (reply(b"413 No", text=b"\x0a\x02\x08\x03"), CollectorReply(413)),
        (reply(b"200 OK", text=b"\x0a\x02\x08\x03"), CollectorReply(200, rejected=3)),
        (reply(b"200 OK", text=b"\xff" * 99), CollectorReply(200)),
        (reply(b"200 OK", b"Content-Encoding: gzip\r\n", b"no gzip"), CollectorReply(200)),
    ],
)
def test_what_a_collector_says_is_read(text: bytes, expected: CollectorReply) -> None:
    with receiving() as receiver:
        receiver.misbehave = lambda connection: connection.sendall(text)
        assert collector(receiver).post(body(), 5.0) == expected


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def _garbage(connection: socket.socket) -> None:
    connection.sendall(b"\x00garbage\r\n\r\n")


def _hang(connection: socket.socket) -> None:
    connection.recv(1)


def _endless_head(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.sendall(b"A: " + b"x" * 60_000 + b"\r\n")


def lost(asked: HttpCollector, timeout: float) -> str:
    """What is said of a collector that is lost; nobody goes on to hold what was to be sent."""
    sent = body()
    gc.disable()
    try:
        holders = sys.getrefcount(sent)
        asked.post(sent, timeout)
    except CollectorLostError as error:
        said = str(error)
    finally:
        gc.enable()
    assert sys.getrefcount(sent) == holders
    return said


@pytest.mark.parametrize("misbehave", [_reset, _garbage, _hang, _endless_head])
def test_a_collector_that_does_not_reply_is_lost(misbehave: object) -> None:
    with receiving() as receiver:
        receiver.misbehave = misbehave  # type: ignore[assignment]
        said = lost(collector(receiver), 0.3)
    assert str(receiver.server_address[1]) not in said


def test_one_that_is_not_there_is_lost() -> None:
    with receiving() as receiver:
        pass
    assert "refused" in lost(collector(receiver), 1.0)


def test_what_tls_says_of_an_address_is_said_without_a_secret() -> None:
    words = "certificate verify failed: Hostname mismatch, not valid for 'hush7.example'"
    settings = TracingSettings("https://hush7.example/v1/traces", secrets=frozenset({"hush7"}))

    def fail(*_: object, **__: object) -> None:
        raise OSError(1, words)

    with patch("urllib3.PoolManager.request", fail):
        said = lost(HttpCollector(settings, "agent/1", rejected), 1.0)
    assert said == words.replace("hush7", HIDDEN)


class Gigabyte:
    """A reply that is much longer than what is read of it."""

    def __init__(self) -> None:
        self.is_cut_off = threading.Event()

    def __call__(self, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        try:
            for _ in range(16_000):
                connection.sendall(b"x" * 65536)
        except OSError:
            self.is_cut_off.set()


def test_of_a_gigabyte_little_is_read() -> None:
    with receiving() as receiver:
        receiver.misbehave = reply = Gigabyte()
        assert collector(receiver).post(body(), 60.0) == CollectorReply(200)
        assert reply.is_cut_off.wait(60)


def _drip(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    connection.settimeout(0.05)
    for _ in range(1000):
        connection.sendall(b"x")
        with suppress(TimeoutError):
            if not connection.recv(1):
                return


def test_a_reply_in_drops_is_not_waited_for() -> None:
    with receiving() as receiver:
        receiver.misbehave = _drip
        assert collector(receiver).post(body(), 0.3) == CollectorReply(200)


def test_a_proxy_is_asked_for_the_whole_address_with_its_user() -> None:
    with receiving() as receiver:
        proxy = receiver.url.replace("http://", "http://me:p%40ss@")
        settings = TracingSettings("http://collector.example:4318/v1/traces")
        asked = HttpCollector(settings, "agent/1", rejected, proxy)
        assert asked.post(body(), 5.0) == CollectorReply(200)
        (headers,) = receiver.headers
    assert headers["Host"] == "collector.example:4318"
    assert base64.b64decode(headers["proxy-authorization"].removeprefix("Basic ")) == b"me:p@ss"


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", "http://[", "http://127.0.0.1:1"])
def test_a_proxy_that_is_of_no_use_loses_the_collector(proxy: str) -> None:
    settings = TracingSettings("http://collector.example:4318/v1/traces")
    assert lost(HttpCollector(settings, "agent/1", rejected, proxy), 5.0)
