"""TLS for the listeners: what is loaded, what is demanded, and what is said of bad files."""

from __future__ import annotations

import ssl
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.config.errors import ConfigError
from exporter.transport.http import tls
from exporter.transport.http.tls import ServerTls
from tests.support.certificates import Authority, Pair


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def own(authority: Authority) -> Pair:
    return authority.issue("exporter")


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> ssl.SSLObject:
    """A handshake in memory, as the client sees it. Raises ``ssl.SSLError``."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    served = server.wrap_bio(up, down, server_side=True)
    asked = client.wrap_bio(down, up, server_hostname="localhost")
    for side in (asked, served) * 4:
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    # At TLS 1.3 a client learns with the next bytes only that its certificate was refused.
    served.write(b"x")
    assert asked.read(1) == b"x"
    return asked


def trusting(authority: Authority, pair: Pair | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.file))
    if pair is not None:
        context.load_cert_chain(pair.cert, pair.key)
    return context


def test_a_client_that_trusts_the_authority_gets_in(authority: Authority, own: Pair) -> None:
    server = ServerTls(own.cert, own.key).context()
    connected = shake_hands(server, trusting(authority))
    assert connected.version() == "TLSv1.3"
    assert connected.selected_alpn_protocol() is None


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_older_versions_than_tls_1_2_are_not_spoken(
    authority: Authority, own: Pair, version: ssl.TLSVersion
) -> None:
    client = trusting(authority)
    client.set_ciphers("ALL:@SECLEVEL=0")
    client.minimum_version = client.maximum_version = version
    with pytest.raises(ssl.SSLError):
        shake_hands(ServerTls(own.cert, own.key).context(), client)


def test_versions_and_ciphers_can_be_narrowed(authority: Authority, own: Pair) -> None:
    cipher = "ECDHE-ECDSA-AES128-GCM-SHA256"
    settings = ServerTls(own.cert, own.key, max_version=ssl.TLSVersion.TLSv1_2, ciphers=(cipher,))
    connected = shake_hands(settings.context(), trusting(authority))
    assert connected.version() == "TLSv1.2"
    assert connected.cipher() == (cipher, "TLSv1.2", 128)


def test_client_certificates_can_be_demanded(authority: Authority, own: Pair) -> None:
    settings = tls.from_flags(own.cert, own.key, authority.file)
    assert settings is not None
    server = settings.context()
    shake_hands(server, trusting(authority, authority.issue("client")))
    with pytest.raises(ssl.SSLError):
        shake_hands(server, trusting(authority))


def test_a_strangers_certificate_lets_nobody_in(authority: Authority, own: Pair) -> None:
    settings = tls.from_flags(own.cert, own.key, authority.file)
    assert settings is not None
    folder = own.cert.parent / "elsewhere"
    folder.mkdir()
    stranger = Authority(folder).issue("client")
    with pytest.raises(ssl.SSLError):
        shake_hands(settings.context(), trusting(authority, stranger))


def complaint(settings: ServerTls) -> str:
    with pytest.raises(ConfigError) as caught:
        settings.context()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("part", ["cert_file", "key_file", "client_ca_file"])
def test_a_file_that_is_not_there_is_named(authority: Authority, own: Pair, part: str) -> None:
    settings = ServerTls(own.cert, own.key, authority.file)
    missing = own.cert.parent / "none.pem"
    line = complaint(replace(settings, **{part: missing}))  # type: ignore[arg-type]
    assert line == f"{missing}: cannot be read: no such file or directory; check the path"


def test_a_key_of_another_certificate_is_said_so(authority: Authority, own: Pair) -> None:
    other = authority.issue("other")
    line = complaint(ServerTls(own.cert, other.key))
    assert line.startswith(f"{own.cert}: does not belong to the key {other.key}; give the two")


def test_an_encrypted_key_is_refused_without_a_question(authority: Authority) -> None:
    pair = authority.issue("encrypted", password=b"s3cret")
    assert "unencrypted key in PEM" in complaint(ServerTls(pair.cert, pair.key))


def test_what_is_no_certificate_is_said_so(authority: Authority, own: Pair, tmp_path: Path) -> None:
    junk = tmp_path / "junk.pem"
    junk.write_text("junk")
    line = complaint(ServerTls(junk, own.key))
    assert line.startswith(f"{junk}: no certificate and unencrypted key in PEM can be read here")
    line = complaint(ServerTls(own.cert, own.key, junk))
    assert line.startswith(f"{junk}: holds no certificate in PEM; give the authority's")
    assert authority.file.is_file()


def test_without_files_there_is_no_tls() -> None:
    assert tls.from_flags(None, None, None) is None


@pytest.mark.parametrize("given", [("c", "", ""), ("", "k", ""), ("", "", "a"), ("", "k", "a")])
def test_half_a_pair_is_refused(given: tuple[str, str, str]) -> None:
    paths = [Path(text) if text else None for text in given]
    with pytest.raises(ConfigError, match="belong together; give both of them"):
        tls.from_flags(*paths)
