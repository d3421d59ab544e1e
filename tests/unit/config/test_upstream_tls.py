"""How a server over HTTPS is trusted."""

from __future__ import annotations

import ssl
from contextlib import suppress
from pathlib import Path

import pytest

from exporter.config.errors import ConfigError
from exporter.config.load import parse_config
from exporter.config.model import Server
from exporter.config.redacted import render
from exporter.config.upstream_tls import UpstreamTls, client_context
from exporter.transport.http.connector import connector_of
from tests.support.certificates import Authority


def test_other_content_makes_other_settings(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    own, other = authority.issue("own"), authority.issue("other")
    settings = UpstreamTls(authority.file, own.cert, own.key)
    first = settings.read()
    assert first == settings.read()
    assert first.context is not None
    assert first.context.cert_store_stats()["x509_ca"] == 1
    own.cert.write_bytes(other.cert.read_bytes())
    own.key.write_bytes(other.key.read_bytes())
    assert settings.read() != first


def test_who_connects_reads_no_file_that_may_be_broken_by_then(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    own = authority.issue("own")
    tls = UpstreamTls(authority.file, own.cert, own.key).read()
    server = Server("a", "http", url="https://a/mcp", tls=tls)
    for path in (authority.file, own.cert, own.key):
        path.write_text("half written")
    assert connector_of(server)._tls is tls.context


def test_an_authority_is_trusted_that_lacks_what_python_alone_demands(tmp_path: Path) -> None:
    """From 3.13 on; the authorities of many clusters are so."""
    authority = Authority(tmp_path, strict=False)
    own = authority.issue("own")
    listening = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    listening.load_cert_chain(own.cert, own.key)
    _shake_hands(client_context(authority.file), listening)


def _shake_hands(connecting: ssl.SSLContext, listening: ssl.SSLContext) -> None:
    """Raises ``ssl.SSLCertVerificationError``."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = connecting.wrap_bio(back, there, server_hostname="localhost")
    server = listening.wrap_bio(there, back, server_side=True)
    for side in (client, server, client, server):
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()
    assert client.getpeercert()


@pytest.mark.parametrize(
    ("tls", "words"),
    [
        ("{ca_file: none.pem}", "none.pem: cannot be read: no such file or directory"),
        ("{ca_file: mcp.yml}", "mcp.yml: holds no certificate in PEM"),
        ("{cert_file: own.crt}", 'has one of "cert_file" and "key_file"; give both'),
        (
            "{cert_file: own.crt, key_file: other.key}",
            "are no certificate with its unencrypted key",
        ),
        ("{verify: false}", "verify"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path: Path, tls: str, words: str) -> None:
    authority = Authority(tmp_path)
    for name in ("own", "other"):
        pair = authority.issue(name)
        (tmp_path / f"{name}.crt").write_bytes(pair.cert.read_bytes())
        (tmp_path / f"{name}.key").write_bytes(pair.key.read_bytes())
    path = tmp_path / "mcp.yml"
    path.write_text(f"servers: {{a: {{url: 'https://a/mcp', tls: {tls}}}}}")
    with pytest.raises(ConfigError) as caught:
        parse_config(path.read_text(), str(path), {})
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_settings_are_read_beside_the_file_and_shown_without_secrets(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    path = tmp_path / "mcp.yml"
    name = authority.file.name
    path.write_text(
        "servers: {a: {url: 'https://a/mcp', proxy: 'http://me:hidden-word@proxy:3128', "
        f"tls: {{ca_file: {name}, server_name: b.example}}}}}}"
    )
    config = parse_config(path.read_text(), str(path), {})
    tls = config.servers["a"].tls
    assert tls is not None
    assert (tls.ca_file, tls.server_name) == (tmp_path / name, "b.example")
    shown = render(config)
    assert "proxy: http://<secret>@proxy:3128" in shown
    assert "server_name: b.example" in shown
    assert "hidden-word" not in shown
    assert "hidden-word" not in repr(config.servers["a"])


@pytest.mark.parametrize(
    "proxy", ["https://p:1", "socks5://p:1", "p:3128", "http://", "http://p/x", "http://p:x", ""]
)
def test_what_is_no_http_proxy_is_rejected(proxy: str) -> None:
    text = f"servers: {{a: {{url: 'http://a/mcp', proxy: {proxy!r}}}}}"
    with pytest.raises(ConfigError, match=r"mcp\.yml:1: servers\.a\.proxy: "):
        parse_config(text, "mcp.yml", {})


@pytest.mark.parametrize("key", ["proxy: direct", "tls: {ca_file: x}"])
def test_a_stdio_server_has_no_way_over_the_network(key: str) -> None:
    with pytest.raises(ConfigError, match='has no effect beside "command"'):
        parse_config(f"servers: {{a: {{command: cat, {key}}}}}", "mcp.yml", {})
