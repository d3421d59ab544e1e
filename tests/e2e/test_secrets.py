"""Secrets are planted wherever one can be, and looked for in everything that the exporter emits."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bcrypt
import pytest
import requests

from tests.support import raw_server
from tests.support.certificates import Authority
from tests.support.exporting import Exporter, exporter
from tests.support.paths import ROOT
from tests.support.raw_client import initialize
from tests.support.raw_server import RawServer, Received
from tests.support.running import wait_for

PLANTED = {
    "client token": "tok-6bb19a4f0c2d4e0e9d7f",
    "other client token": "tok-0f6a2c55f4e84bb28f2f",
    "header": "hdr-Zq81mNp3",
    "bearer header": "brr-77aVx0Lw",
    "environment": "env-kP2xW9vU",
    "environment file": "fil-mB4tR7yE",
    "argument": "arg-tY6uI8oP",
    "argument after a flag": "flg-gH3jK5lZ",
    "file in an argument": "pin-rT5yU7iO",
    "line of a file": "pem-wE3rT5yU",
    "URL password": "url-xC7vB9nM",
    "URL query": "qry-aS1dF3gH",
    "web password": "web-qW2eR4tY",
}
"""None of these may be seen anywhere; they are the values of secrets and nothing else."""

PASSWORD = PLANTED["web password"]
HASH = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()

CHILD = """
import json, os, sys
print("my secrets:", os.environ["API_KEY"], os.environ["FILE_KEY"], *sys.argv, file=sys.stderr)
print(os.environ["PEM"], json.dumps(os.environ["PEM"]), file=sys.stderr)
sys.stderr.flush()
if "--die" in sys.argv:
    sys.exit(3)
for line in sys.stdin:
    message = json.loads(line)
    if "id" in message:
        result = {"protocolVersion": "2025-11-25", "capabilities": {}, "tools": [],
                  "serverInfo": {"name": "child", "version": "1"}}
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
"""
INITIALIZE = initialize()
PING = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
PAGES = ("/", "/metrics", "/config", "/logs", "/-/healthy", "/-/ready", "/nothing")


def script(received: Received) -> Iterator[bytes]:
    """A server that wants other credentials where it is asked to ping."""
    message = json.loads(received.body) if received.body else {}
    if message.get("method") == "ping":
        challenge = 'WWW-Authenticate: Bearer resource_metadata="/.well-known/x"'
        yield from raw_server.whole(401, b"{}", challenge)
        return
    reply: dict[str, Any] = {"jsonrpc": "2.0", "id": message.get("id"), "result": {}}
    yield from raw_server.whole(200, json.dumps(reply).encode(), "Content-Type: application/json")


@dataclass
class Setup:
    """An exporter full of secrets, and everything that it emitted."""

    exporter: Exporter
    upstream: RawServer
    authority: Authority
    folder: Path
    config: Path
    emitted: dict[str, str] = field(default_factory=dict)

    def ask(self, method: str, url: str, **options: Any) -> requests.Response:
        with requests.Session() as session:
            session.trust_env = False
            session.verify = str(self.authority.file)
            reply = session.request(method, url, timeout=60, **options)
        shown = [str(reply.status_code), *map(str, reply.headers.items()), reply.text]
        self.emitted[f"{len(self.emitted)}: {method} {url} {options}"] = "\n".join(shown)
        return reply

    def post(self, server: str, body: object, token: str | None) -> requests.Response:
        headers = {"Accept": "application/json, text/event-stream"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        return self.ask("POST", self.exporter.url(server), json=body, headers=headers)

    def page(self, path: str, method: str = "GET") -> requests.Response:
        return self.ask(method, self.exporter.web + path, auth=("prometheus", PASSWORD))


def servers(folder: Path, upstream: str) -> dict[str, Any]:
    program = folder / "child.py"
    program.write_text(CHILD)
    environment = folder / "child.env"
    environment.write_text(f"FILE_KEY={PLANTED['environment file']}\n")
    (folder / "pin").write_text(f"{PLANTED['file in an argument']}\n")
    (folder / "key.pem").write_text(f"---BEGIN\n{PLANTED['line of a file']}\n---END\n")
    secrets = [f"--api-key={PLANTED['argument']}", "--token", PLANTED["argument after a flag"]]
    secrets += ["-p", f"${{file:{folder / 'pin'}}}"]
    child = {
        "command": sys.executable,
        "args": [str(program), *secrets],
        "env": {"API_KEY": PLANTED["environment"], "PEM": f"${{file:{folder / 'key.pem'}}}"},
        "envFile": str(environment),
    }
    headers = {
        "X-Api-Key": PLANTED["header"],
        "Authorization": f"Bearer {PLANTED['bearer header']}",
    }
    login = f"me:{PLANTED['URL password']}@"
    query = f"?api_key={PLANTED['URL query']}"
    probed = {"probe": {"enabled": True, "interval": "1s", "timeout": "900ms"}}
    return {
        "keyed": {"url": upstream, "headers": headers, **probed},
        "login": {"url": upstream.replace("://", f"://{login}") + query, **probed},
        "dead": {"url": f"http://{login}127.0.0.1:9/mcp{query}", "headers": headers, **probed},
        "unnamed": {"url": f"http://{login}no-such-host.invalid/mcp{query}", **probed},
        "untrusted": {"url": f"https://{login}127.0.0.1:9/mcp{query}", **probed},
        "old": {"url": f"http://{login}127.0.0.1:9/sse{query}", "type": "sse", **probed},
        "child": {**child, **probed},
        "dying": {**child, "args": [*child["args"], "--die"], **probed},
        "missing": {**child, "command": str(folder / "no-such-program"), **probed},
    }


@pytest.fixture(scope="module", params=["text", "json"])
def setup(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Setup]:
    folder = tmp_path_factory.mktemp("secrets")
    authority = Authority(folder)
    own = authority.issue("exporter")
    tokens, web = folder / "tokens.yml", folder / "web.yml"
    tokens.write_text(f"one: {PLANTED['client token']}\ntwo: {PLANTED['other client token']}\n")
    web.write_text(
        f"tls_server_config: {{cert_file: {own.cert}, key_file: {own.key}}}\n"
        f"basic_auth_users: {{prometheus: '{HASH}'}}\n"
    )
    flags = [
        f"--mcp.token-file={tokens}",
        f"--mcp.tls-cert-file={own.cert}",
        f"--mcp.tls-key-file={own.key}",
        f"--web.config.file={web}",
        "--log.level=debug",
        "--log.calls",
    ]
    with raw_server.serving(script) as upstream:
        configured = servers(folder, upstream.url)
        with exporter(folder, configured, *flags, f"--log.format={request.param}") as running:
            yield Setup(running, upstream, authority, folder, folder / "exporter.json")


def exercise(setup: Setup) -> None:
    """Everything that a client, a stranger, a person and Prometheus can do."""
    for server in (*servers(setup.folder, setup.upstream.url), "nobody"):
        for token in (PLANTED["client token"], None, "wrong-wrong-wrong-wrong"):
            for body in (INITIALIZE, PING):
                setup.post(server, body, token)
        for query in ("", "&debug=true"):
            setup.page(f"/probe?target={server}{query}")
    for path in PAGES:
        setup.page(path)
        setup.ask("GET", setup.exporter.web + path)
        setup.ask("GET", setup.exporter.web + path, auth=("prometheus", "wrong"))
    setup.page("/-/reload", "POST")
    break_and_mend(setup, setup.config, '{"servers": {"x": {"comand": "y"}}}')
    tokens = setup.folder / "tokens.yml"
    break_and_mend(setup, tokens, f"{PLANTED['client token']}: swapped\n")
    break_and_mend(setup, tokens, f"one: {PLANTED['client token']} and more\n")
    break_and_mend(setup, setup.folder / "web.yml", f"basic_auth_users: {{me: {PASSWORD}}}\n")
    os.kill(setup.exporter.pid, signal.SIGHUP)
    speak_badly(setup)


def break_and_mend(setup: Setup, path: Path, text: str) -> None:
    """Reload with a bad file, then with the good one."""
    good = path.read_text()
    path.write_text(text)
    assert setup.page("/-/reload", "POST").status_code == 500
    path.write_text(good)
    assert setup.page("/-/reload", "POST").status_code == 200


def speak_badly(setup: Setup) -> None:
    """What is no HTTP, with a token in it."""
    context = ssl.create_default_context(cafile=str(setup.authority.file))
    name, _, port = setup.exporter.mcp.removeprefix("https://").rpartition(":")
    token = PLANTED["client token"]
    for number, line in enumerate((f"GET /{token} HTTP/9", f"BREW /{token}/mcp HTTP/1.1")):
        connection = http.client.HTTPSConnection(name, int(port), context=context, timeout=30)
        connection.connect()
        connection.sock.sendall(f"{line}\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
        with contextlib.suppress(ConnectionError):
            setup.emitted[f"bad HTTP {number}"] = connection.sock.recv(65536).decode()
        connection.close()


def find(text: str) -> list[str]:
    """Which secrets a text holds, as they are or in the shapes that HTTP gives them."""
    found = [name for name, secret in PLANTED.items() if secret in text]
    login = base64.b64encode(f"me:{PLANTED['URL password']}".encode()).decode()
    return found + (["URL login"] if login in text else []) + (["hash"] if HASH in text else [])


def test_no_secret_is_in_anything_that_is_emitted(setup: Setup) -> None:
    exercise(setup)
    scrape = wait_for(lambda: setup.page("/metrics").text, 60, "a scrape")
    assert "mcp_exporter_rejected_requests_total" in scrape
    for what, text in setup.emitted.items():
        assert find(text) == [], what
    assert len(setup.emitted) > 100
    log = setup.exporter.log.read_text()
    assert "my secrets: <secret>" in log
    assert "configuration not reloaded" in log
    assert '"message": "call"' in log or "INFO    call server=" in log
    assert find(log) == [], [line for line in log.splitlines() if find(line)][:5]


def sent(upstream: RawServer) -> Iterator[bytes]:
    """Everything that a server was sent."""
    for received in upstream.received:
        yield received.line
        yield received.body
        yield from (value for _, value in received.fields)


def test_the_exporters_own_token_reaches_no_server(setup: Setup) -> None:
    setup.post("keyed", INITIALIZE, PLANTED["client token"])
    setup.post("login", INITIALIZE, PLANTED["other client token"])
    sent = [
        line
        for received in setup.upstream.received
        for line in (
            received.line,
            received.body,
            *(b": ".join(field) for field in received.fields),
        )
    ]
    whole = b"\n".join(sent).decode()
    own = {"client token", "other client token", "web password", "hash"}
    assert own.isdisjoint(find(whole))
    # What is a server's own does reach it.
    assert {"header", "bearer header", "URL query", "URL login"} <= set(find(whole))


def run(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "exporter", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.stdout + done.stderr


def test_no_secret_is_printed_by_the_commands(setup: Setup) -> None:
    config = str(setup.config)
    text = run("probe", config)
    assert "connect_error" in text
    text += run("check", config)
    text += run("check", config, f"--mcp.token-file={setup.folder / 'tokens.yml'}")
    bad = setup.folder / "bad.yml"
    for content in (PASSWORD, f"one: {PLANTED['client token']} x", f"- {PLANTED['client token']}"):
        bad.write_text(content)
        text += run("check", config, f"--mcp.token-file={bad}")
        text += run("check", config, f"--web.config.file={bad}")
    assert find(text) == [], [line for line in text.splitlines() if find(line)][:5]
