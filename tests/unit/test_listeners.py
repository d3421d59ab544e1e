"""What the listeners demand and bound comes from files and limits, and changes with them."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path

import pytest

from exporter.access import AccessFiles, Credentials
from exporter.config.errors import ConfigError
from exporter.config.model import Limits
from exporter.listeners import Listeners, taken
from exporter.relay.gateway import Gateway
from exporter.transport.http.origin import LOCAL
from exporter.transport.http.server import HttpServer
from exporter.web.server import WebThread
from tests.support.fakes import Telemetry, on_fake_time, uncounted


class Setup:
    """Listeners that are not open yet, and a file of tokens."""

    def __init__(self, tokens: Path) -> None:
        self.tokens = tokens
        self.gateway = Gateway(Telemetry().metrics)
        self.mcp = HttpServer(self.gateway, asyncio.get_running_loop())
        self.web = WebThread(uncounted, LOCAL)
        files = AccessFiles(tokens=tokens)
        self.listeners = Listeners(self.gateway, self.mcp, self.web, files, Credentials())


@on_fake_time
async def test_limits_reach_the_listener_and_the_gateway(tmp_path: Path) -> None:
    setup = Setup(tmp_path / "tokens.yml")
    setup.listeners.apply_limits(Limits(request_bytes=7, connections=3, requests_total=2))
    assert (setup.mcp.limits.body_bytes, setup.mcp.limits.connections) == (7, 3)
    assert setup.gateway.admission.bounds.requests_total == 2
    setup.web.close()


@on_fake_time
async def test_what_was_read_is_demanded_only_when_it_is_put_into_force(tmp_path: Path) -> None:
    setup = Setup(tmp_path / "tokens.yml")
    setup.tokens.write_text("me: 0123456789abcdef\n")
    put_into_force = setup.listeners.prepare()
    assert setup.gateway.tokens is None
    put_into_force()
    tokens = setup.gateway.tokens
    assert tokens is not None
    setup.tokens.write_text("")
    with pytest.raises(ConfigError, match="is empty"):
        setup.listeners.prepare()
    assert setup.gateway.tokens is tokens
    setup.web.close()


def test_an_address_that_cannot_be_had_is_named_with_its_flag_and_the_mend() -> None:
    error = OSError(errno.EADDRINUSE, "in use")
    assert str(taken("--mcp.listen-address", "127.0.0.1", 80, error)) == (
        "--mcp.listen-address: cannot listen on 127.0.0.1:80: "
        "Address already in use; choose another address"
    )


@pytest.mark.parametrize(
    ("bound", "host", "expected"),
    [
        ("http://127.0.0.1:6279", "exporter", "http://127.0.0.1:6279"),
        ("https://0.0.0.0:6279", "mcp.example", "https://mcp.example:6279"),
        ("http://[::]:6279", "::1", "http://[::1]:6279"),
        ("http://[::1]:6279", "localhost", "http://[::1]:6279"),
    ],
)
@on_fake_time
async def test_the_address_for_clients_is_the_one_that_leads_here(
    tmp_path: Path, bound: str, host: str, expected: str
) -> None:
    setup = Setup(tmp_path / "tokens.yml")
    setup.listeners.mcp_url = bound
    assert setup.listeners.mcp_url_for(host) == expected
    setup.web.close()
