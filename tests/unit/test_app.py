"""The parts together: started in order, stopped in reverse, and nothing left behind."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import uvloop

from exporter.access import AccessFiles
from exporter.app import App, Settings, build
from exporter.config.errors import ConfigError
from exporter.config.source import ConfigSource
from exporter.listeners import taken
from exporter.transport.garbage import FrozenObjects
from tests.support.fakes import Reply, parse_replies, post, request

CONFIG = """
servers:
  shell: {command: cat, probe: {enabled: false}}
  web: {url: 'http://127.0.0.1:9/mcp', probe: {enabled: false}}
limits: {request_bytes: 1000}
"""


class Running:
    """An exporter that runs, and the addresses that it listens on."""

    def __init__(self, app: App, mcp: str, web: str) -> None:
        self.app = app
        self.mcp = int(mcp.rpartition(":")[2])
        self.web = web

    async def get(self, path: str) -> tuple[int, str]:
        return await asyncio.to_thread(self._get, path)

    def _get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(self.web + path, timeout=60) as reply:  # noqa: S310
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    async def post(self, body: object, path: bytes) -> Reply:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.mcp)
        try:
            writer.write(post(body, path, (b"Connection", b"close")))
            (reply,) = parse_replies(await reader.read())
        finally:
            writer.close()
        return reply


@pytest.fixture(autouse=True)
def _unfrozen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The garbage collector goes on looking at the objects of all these tests."""
    monkeypatch.setattr(FrozenObjects, "settle", lambda _: None)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mcp.yml"
    path.write_text(CONFIG)
    return path


def make(file: Path, mcp_port: int = 0, web_port: int = 0, drain_timeout: float = 5.0) -> App:
    settings = Settings("127.0.0.1", mcp_port, "127.0.0.1", web_port, drain_timeout=drain_timeout)
    return build(ConfigSource(file, None, {}), settings, "abc123")


@asynccontextmanager
async def running(
    file: Path, caplog: pytest.LogCaptureFixture, drain_timeout: float = 5.0
) -> AsyncIterator[Running]:
    caplog.set_level(logging.INFO)
    app = make(file, drain_timeout=drain_timeout)
    try:
        await app.start()
        ready = next(r for r in caplog.records if r.message == "mcp-exporter is ready")
        yield Running(app, vars(ready)["mcp"], vars(ready)["web"])
    finally:
        await app.stop()


def play(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        async with asyncio.timeout(30):
            await story()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


def test_both_listeners_serve_and_the_scrape_shows_it(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with running(file, caplog) as exporter:
            assert (await exporter.get("/-/ready"))[0] == 200
            reply = await exporter.post(request(1), b"/nobody/mcp")
            assert "configured are: shell, web" in reply.json["error"]["message"]
            assert (await exporter.post(request(1), b"/web/mcp")).status == 502
            _, text = await exporter.get("/metrics")
            assert 'mcp_exporter_rejected_requests_total{reason="unknown_server"} 1.0' in text
            failed = 'mcp_requests_total{method="ping",outcome="upstream_error",server="web"} 1.0'
            assert failed in text
            assert 'revision="abc123"' in text
            assert "mcp_exporter_config_last_reload_successful 1.0" in text

    play(story)


def test_the_limit_on_bodies_is_the_configured_one(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with running(file, caplog) as exporter:
            assert (await exporter.post(b"x" * 1001, b"/web/mcp")).status == 413

    play(story)


def test_nothing_is_left_of_an_exporter_that_stopped(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with running(file, caplog, drain_timeout=0.1) as exporter:
            client = asyncio.create_task(exporter.post(request(0, "initialize"), b"/shell/mcp"))
            while "child started" not in caplog.text:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await client

    threads, children = threading.active_count(), psutil.Process().children()
    play(story)
    assert threading.active_count() <= threads + 1, "but for asyncio's own pool"
    assert psutil.Process().children() == children
    assert "mcp-exporter has stopped" in caplog.text


def test_an_exporter_that_stops_is_not_ready(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with running(file, caplog) as exporter:
            exporter.app.liveness.phase = "draining"
            reply = await exporter.get("/-/ready")
            assert reply == (503, "mcp-exporter is not ready: it is draining\n")
            assert (await exporter.get("/-/healthy"))[0] == 200

    play(story)


@pytest.mark.parametrize("listener", ["mcp", "web"])
def test_an_address_that_is_taken_is_said_so_and_nothing_is_left(file: Path, listener: str) -> None:
    async def story(port: int) -> None:
        app = make(file, **{f"{listener}_port": port})
        try:
            with pytest.raises(ConfigError) as raised:
                await app.start()
        finally:
            await app.stop()
        assert str(raised.value) == (
            f"--{listener}.listen-address: cannot listen on 127.0.0.1:{port}: "
            "Address already in use; choose another address"
        )

    threads = threading.active_count()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        play(lambda: story(taken.getsockname()[1]))
    assert threading.active_count() == threads


def test_a_name_that_is_not_found_is_said_so() -> None:
    error = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    text = str(taken("--web.listen-address", "nowhere", 1, error))
    assert "cannot listen on nowhere:1: Name or service not known" in text


def test_a_hang_up_reloads_and_a_bad_configuration_changes_nothing(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def write(text: str) -> None:
        file.write_text(text)

    async def story() -> None:
        async with running(file, caplog) as exporter:
            write("servers: {}\n")
            exporter.app.hang_up()
            await asyncio.gather(*exporter.app.tasks)
            assert (await exporter.post(request(1), b"/web/mcp")).status == 502
            _, text = await exporter.get("/metrics")
            assert "mcp_exporter_config_last_reload_successful 0.0" in text
            write(CONFIG.replace("web:", "other:"))
            exporter.app.hang_up()
            await asyncio.gather(*exporter.app.tasks)
            assert (await exporter.post(request(1), b"/web/mcp")).status == 404
            assert (await exporter.post(request(1), b"/other/mcp")).status == 502

    play(story)


@pytest.mark.parametrize(("host", "is_said"), [("0.0.0.0", True), ("127.0.0.1", False)])
def test_tokens_that_others_can_read_on_the_way_are_warned_of(
    file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, host: str, is_said: bool
) -> None:
    tokens = tmp_path / "tokens.yml"
    tokens.write_text("me: 0123456789abcdef\n")

    async def story() -> None:
        access = AccessFiles(tokens=tokens)
        settings = Settings(host, 0, "127.0.0.1", 0, access=access)
        app = build(ConfigSource(file, None, {}), settings)
        try:
            await app.start()
        finally:
            await app.stop()

    play(story)
    assert ("tokens come without TLS" in caplog.text) is is_said
