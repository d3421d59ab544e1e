"""Whatever comes over the socket is counted or refused, and never hurts."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from exporter.wrap import loopback, report
from exporter.wrap.receiver import ReportServer
from exporter.wrap.report import MAX_REPORT, Report
from exporter.wrap.wrapped_server import Names, WrappedServer
from tests.support.fakes import Telemetry, settle

Ask = Callable[[bytes], Awaitable[bytes]]


async def visit(path: Path, telemetry: Telemetry, talk: Callable[[Ask], Awaitable[None]]) -> None:
    names = Names(
        telemetry.metrics, {"files": telemetry.observer}.get, lambda _: telemetry.observer
    )
    reception = ReportServer(
        str(path), telemetry.metrics, lambda: WrappedServer(names, telemetry.metrics)
    )
    await reception.open()
    reader, writer = await asyncio.open_unix_connection(path)

    async def ask(data: bytes) -> bytes:
        writer.write(data)
        return await asyncio.wait_for(reader.read(1), 60)

    await settle()
    try:
        await talk(ask)
    finally:
        writer.close()
        await reception.close()
        await settle()


async def call(port: int, *said: bytes) -> bytes:
    """What a stranger is answered until it is hung up on."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for each in said:
        writer.write(each)
    try:
        return await asyncio.wait_for(reader.read(), 60)
    except ConnectionResetError:
        return b""
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def test_strangers_at_the_port_are_hung_up_on_and_count_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loopback, "TIMEOUT", 0.05)
    telemetry, path = Telemetry(), tmp_path / "s.port"
    names = Names(
        telemetry.metrics, {"files": telemetry.observer}.get, lambda _: telemetry.observer
    )
    reception = ReportServer(
        str(path), telemetry.metrics, lambda: WrappedServer(names, telemetry.metrics)
    )
    told = report.encode(Report("files", dropped=1))

    async def visit() -> None:
        await reception.open()
        port, _ = loopback.read(str(path))
        assert await call(port) == b""
        assert await call(port, told) == b""
        assert await call(port, b"1" * 10_000) == b""
        assert await call(port, b"1" * 64 + b"\n" + told) == b""
        await reception.close()
        await settle()

    asyncio.run(visit())
    assert not path.exists()
    assert not telemetry.value("mcp_exporter_wrap_dropped_total")


def test_a_report_is_acknowledged_when_it_is_counted(tmp_path: Path) -> None:
    telemetry = Telemetry()

    async def talk(ask: Ask) -> None:
        assert await ask(report.encode(Report("files", pid=4000, bytes_to_server=5))) == b"\n"
        assert telemetry.value("mcp_message_bytes_total", direction="to_server") == 5

    asyncio.run(visit(tmp_path / "s", telemetry, talk))


def test_what_is_no_report_is_counted_and_the_next_is_read(tmp_path: Path) -> None:
    telemetry = Telemetry()

    async def talk(ask: Ask) -> None:
        for nonsense in (b"hello\n", b"\xff\n", b'{"server":5}\n', b"[" * 5000 + b"\n"):
            assert await ask(nonsense) == b"\n"
        assert await ask(report.encode(Report("files", dropped=1))) == b"\n"

    asyncio.run(visit(tmp_path / "s", telemetry, talk))
    assert telemetry.own("mcp_exporter_internal_errors_total", where="wrap") == 4
    assert telemetry.value("mcp_exporter_wrap_dropped_total") == 1


def test_an_endless_report_is_hung_up_on(tmp_path: Path) -> None:
    telemetry = Telemetry()

    async def talk(ask: Ask) -> None:
        with contextlib.suppress(ConnectionResetError):
            assert await ask(b"x" * (MAX_REPORT + 1)) == b""

    asyncio.run(visit(tmp_path / "s", telemetry, talk))
    assert telemetry.own("mcp_exporter_internal_errors_total", where="wrap") == 1


def test_the_socket_goes_with_the_exporter_unless_another_has_it(tmp_path: Path) -> None:
    async def talk(_: Ask) -> None:
        pass

    path = tmp_path / "s"
    asyncio.run(visit(path, Telemetry(), talk))
    assert not path.exists()

    async def replace(_: Ask) -> None:
        path.unlink()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))

    asyncio.run(visit(path, Telemetry(), replace))
    assert path.exists()
