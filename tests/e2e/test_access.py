"""Tokens and TLS in front of real servers: who gets in, and what goes no further."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support import raw_server
from tests.support.certificates import Authority
from tests.support.exporting import Exporter, exporter, scripted_stdio
from tests.support.paths import ROOT
from tests.support.raw_server import RawServer, Received
from tests.support.running import wait_for

OLD, NEW = "0ld-0ld-0ld-0ld-0ld", "new-new-new-new-new"
UPSTREAM_SECRET = "upstream-secret-upstream"
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


def script(received: Received) -> Iterator[bytes]:
    identity = json.loads(received.body).get("id") if received.body else None
    body = json.dumps({"jsonrpc": "2.0", "id": identity, "result": {}}).encode()
    yield from raw_server.whole(200, body, "Content-Type: application/json")


@dataclass
class Setup:
    """An exporter with TLS and tokens, and a server behind it that keeps what it is sent."""

    exporter: Exporter
    upstream: RawServer
    authority: Authority
    tokens: Path
    cert: Path
    key: Path

    def post(self, server: str, token: str | None, **options: Any) -> requests.Response:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        with requests.Session() as session:
            session.trust_env = False
            return session.post(
                self.exporter.url(server),
                json=PING,
                headers=headers,
                verify=str(self.authority.file),
                timeout=30,
                **options,
            )

    def rejected(self) -> Mapping[str, float]:
        return self.exporter.scrape().by("reason", "mcp_exporter_rejected_requests_total")


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    folder = tmp_path_factory.mktemp("access")
    authority = Authority(folder)
    own = authority.issue("exporter")
    tokens = folder / "tokens.yml"
    tokens.write_text(f"old: {OLD}\n")
    with raw_server.serving(script) as upstream:
        servers = {
            "plain": {"url": upstream.url},
            "keyed": {
                "url": upstream.url,
                "headers": {"Authorization": f"Bearer {UPSTREAM_SECRET}"},
            },
            "child": scripted_stdio(),
        }
        flags = [
            f"--mcp.token-file={tokens}",
            f"--mcp.tls-cert-file={own.cert}",
            f"--mcp.tls-key-file={own.key}",
        ]
        with exporter(folder, servers, *flags) as running:
            yield Setup(running, upstream, authority, tokens, own.cert, own.key)


def test_the_listener_speaks_tls_alone(setup: Setup) -> None:
    assert setup.exporter.mcp.startswith("https://")
    assert setup.post("plain", OLD).json()["result"] == {}
    with pytest.raises(requests.ConnectionError):
        requests.post(setup.exporter.url("plain").replace("https", "http"), json=PING, timeout=60)


@pytest.mark.parametrize("token", [None, "wrong-wrong-wrong-wrong", UPSTREAM_SECRET])
@pytest.mark.parametrize("server", ["plain", "child", "nobody"])
def test_a_stranger_gets_401_and_reaches_nobody(
    setup: Setup, server: str, token: str | None
) -> None:
    before, counted = len(setup.upstream.received), setup.rejected().get("unauthorized", 0)
    reply = setup.post(server, token)
    assert reply.status_code == 401
    assert reply.headers["WWW-Authenticate"].startswith("Bearer ")
    assert reply.json()["error"]["code"] == -32600
    assert len(setup.upstream.received) == before
    assert setup.rejected()["unauthorized"] == counted + 1


def test_the_exporters_token_never_reaches_a_server(setup: Setup) -> None:
    setup.post("plain", OLD)
    assert setup.upstream.last.values(b"authorization") == []
    setup.post("keyed", OLD)
    own = f"Bearer {UPSTREAM_SECRET}".encode()
    assert setup.upstream.last.values(b"authorization") == [own]
    everything = b"".join(value for got in setup.upstream.received for _, value in got.fields)
    assert OLD.encode() not in everything


@pytest.mark.parametrize("way", ["SIGHUP", "POST"])
def test_tokens_and_certificates_change_without_a_restart(setup: Setup, way: str) -> None:
    fresh = setup.authority.issue(f"fresh-{way}")
    before = setup.cert.read_bytes(), setup.key.read_bytes(), setup.tokens.read_text()
    setup.cert.write_bytes(fresh.cert.read_bytes())
    setup.key.write_bytes(fresh.key.read_bytes())
    setup.tokens.write_text(f"new: {NEW}\n")
    with requests.Session() as kept:
        kept.trust_env = False
        kept.verify = str(setup.authority.file)
        kept.headers["Authorization"] = f"Bearer {OLD}"
        assert kept.post(setup.exporter.url("plain"), json=PING, timeout=30).status_code == 200
        if way == "POST":
            assert requests.post(f"{setup.exporter.web}/-/reload", timeout=30).status_code == 200
        else:
            os.kill(setup.exporter.pid, signal.SIGHUP)
        wait_for(lambda: setup.post("plain", NEW).status_code == 200, 60, "the new token counts")
        # The connection lives on, the old token does not.
        assert kept.post(setup.exporter.url("plain"), json=PING, timeout=30).status_code == 401
    assert setup.post("plain", OLD).status_code == 401
    setup.tokens.write_text("new: short\n")
    refused = requests.post(f"{setup.exporter.web}/-/reload", timeout=30)
    assert refused.status_code == 500
    assert refused.text.startswith(f"{setup.tokens}:1: has less than 16 characters")
    assert setup.post("plain", NEW).status_code == 200
    setup.cert.write_bytes(before[0])
    setup.key.write_bytes(before[1])
    setup.tokens.write_text(before[2])
    assert requests.post(f"{setup.exporter.web}/-/reload", timeout=30).status_code == 200
    wait_for(lambda: setup.post("plain", OLD).status_code == 200, 60, "the old token counts again")


def test_our_own_client_sends_a_token(setup: Setup) -> None:
    def tools(*flags: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "exporter", "tools", "--mcp.url", setup.exporter.mcp]
        environ = {**os.environ, "SSL_CERT_FILE": str(setup.authority.file)}
        return subprocess.run(
            [*command, *flags, "child"],
            cwd=ROOT,
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
        )

    let_in = tools("--mcp.token-file", str(setup.tokens))
    assert let_in.returncode == 0, let_in.stderr
    assert tools().returncode == 2


def test_nothing_of_it_is_logged(setup: Setup) -> None:
    text = setup.exporter.log.read_text()
    assert OLD not in text
    assert NEW not in text
    assert UPSTREAM_SECRET not in text
