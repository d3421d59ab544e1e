"""``mcp-exporter serve``: from its flags to a running exporter, until a signal stops it."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.cli import access_flags
from exporter.cli.flags import ENVIRONMENT, Flags, address, seconds
from exporter.config.source import ConfigSource
from exporter.telemetry import logs
from exporter.wrap import unix_socket
from exporter.wrap.process import SOCKET_FLAG

if TYPE_CHECKING:
    from exporter.app import Settings

DEFAULT_FILE = "mcp-exporter.yml"


def add(parser: argparse.ArgumentParser) -> None:
    """Add its flags."""
    flag = Flags(parser)
    flag(
        "--config.file",
        DEFAULT_FILE,
        "the configuration, YAML or JSON; empty: wrapped servers alone",
        "FILE",
    )
    flag(
        "--config.directory",
        "",
        "a directory of files (*.yml, *.yaml, *.json, *.toml) that hold further servers alone",
        "DIR",
    )
    flag(
        "--config.reload-interval",
        "0s",
        "how often to look whether any file that was read has changed; 0s: never",
        "DURATION",
    )
    flag("--mcp.listen-address", "127.0.0.1:6279", "where MCP clients connect", "HOST:PORT")
    flag("--web.listen-address", "127.0.0.1:6280", "where Prometheus scrapes", "HOST:PORT")
    flag(
        "--web.external-url",
        "",
        "how clients reach the MCP listener, if not by its address; OAuth metadata names it",
        "URL",
    )
    access_flags.add(flag)
    flag.switch(
        "--mcp.allow-unauthenticated",
        "allow an --mcp.listen-address that other machines can reach without tokens or client "
        "certificates: anybody there may then call every tool",
    )
    flag(
        SOCKET_FLAG,
        unix_socket.default_path(),
        "where wrapped servers report; empty: nowhere",
        "PATH",
    )
    flag(
        "--drain.delay",
        "0s",
        "how long a stop goes on accepting connections while /-/ready says no, so that balancers "
        "notice; longer than a scrape interval, so that the last counts are read",
        "DURATION",
    )
    flag("--drain.timeout", "5s", "how long requests in flight may end after that", "DURATION")
    flag.choice(
        "--log.level", ("debug", "info", "warning", "error"), "info", "the least that is logged"
    )
    flag.choice("--log.format", ("text", "json"), "text", "of each line")
    flag.switch("--log.calls", "log a line for each request; never arguments or results")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve until a signal comes. Raises ``ConfigError``."""
    from exporter.app import Settings
    from exporter.transport.descriptors import raise_limit
    from exporter.transport.http.origin import is_loopback_name

    given = vars(arguments)
    logs.configure(given["log.level"], given["log.format"])
    raise_limit()
    mcp = address("--mcp.listen-address", given["mcp.listen_address"])
    web = address("--web.listen-address", given["web.listen_address"])
    access = access_flags.read(given)
    is_guarded = access.guards_mcp or given["mcp.allow_unauthenticated"]
    access_flags.check(mcp[0], is_loopback=is_loopback_name(mcp[0]), is_guarded=is_guarded)
    settings = Settings(
        *mcp,
        *web,
        external_url=given["web.external_url"] or None,
        wrap_socket=given["wrap.socket"],
        access=access,
        names=access_flags.names(given),
        logs_calls=given["log.calls"],
        reload_interval=seconds("--config.reload-interval", given["config.reload_interval"]),
        drain_delay=seconds("--drain.delay", given["drain.delay"]),
        drain_timeout=seconds("--drain.timeout", given["drain.timeout"]),
    )
    source = _source(given["config.file"], given["config.directory"])
    with asyncio.Runner(loop_factory=fast_loop()) as runner:
        runner.run(_run(source, settings))
    return 0


def _source(file: str, directory: str) -> ConfigSource:
    """The default file need not be there where a directory is given."""
    if directory and file == DEFAULT_FILE and not Path(file).exists():
        file = ""
    return ConfigSource(
        Path(file) if file else None, Path(directory) if directory else None, os.environ
    )


def fast_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's loop, where there is uvloop."""
    try:
        import uvloop
    except ImportError:  # not on Windows, nor on PyPy: asyncio's own loop does
        return None
    # Names are looked up on threads; with four of them, as many dead name servers hold up all.
    os.environ.setdefault("UV_THREADPOOL_SIZE", "32")
    return uvloop.new_event_loop


async def _run(source: ConfigSource, settings: Settings) -> None:
    from exporter.app import build

    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    app = build(source, settings, os.environ.get(ENVIRONMENT + "REVISION", ""))
    _heed_stops(lambda: loop.call_soon_threadsafe(stopped.set), app.abort)
    # Windows has no such signal.
    with contextlib.suppress(AttributeError, NotImplementedError):
        loop.add_signal_handler(signal.SIGHUP, app.hang_up)
    try:
        await app.start()
        await stopped.wait()
    finally:
        await app.stop()


def _heed_stops(stop: Callable[[], object], abort: Callable[[], object]) -> None:
    """The first SIGTERM or SIGINT stops, and any later one aborts.

    Not by the loop's own handlers: an exporter whose loop hangs must end at the second one, too.
    """
    steps = chain([stop], repeat(abort))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: next(steps)())
