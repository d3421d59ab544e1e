"""What the listeners demand: read from files, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.access import UNRESTRICTED, AccessFiles, AllowedNames
from exporter.config.errors import ConfigError
from exporter.transport.http import tls
from tests.support.certificates import Authority

TOKEN = "0123456789abcdef"


def test_without_files_everybody_may_come_in() -> None:
    credentials = UNRESTRICTED.read()
    assert credentials.tokens is None
    assert credentials.mcp_tls is None
    assert not UNRESTRICTED.guards_mcp


def test_tokens_and_client_certificates_guard_but_a_certificate_alone_does_not(
    tmp_path: Path,
) -> None:
    path = tmp_path / "tokens.yml"
    path.write_text(f"me: {TOKEN}\n")
    files = AccessFiles(tokens=path)
    assert files.guards_mcp
    found = files.read().tokens
    assert found is not None
    assert found.holder(f"Bearer {TOKEN}".encode()) == "me"
    authority = Authority(tmp_path)
    own = authority.issue("exporter")
    alone = AccessFiles(mcp_tls=tls.from_flags(own.cert, own.key, None))
    assert not alone.guards_mcp
    assert alone.read().mcp_tls is not None
    assert AccessFiles(mcp_tls=tls.from_flags(own.cert, own.key, authority.file)).guards_mcp


def test_each_reading_sees_the_files_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "tokens.yml"
    path.write_text(f"me: {TOKEN}\n")
    files = AccessFiles(tokens=path)
    files.read()
    path.write_text("")
    with pytest.raises(ConfigError, match="is empty"):
        files.read()


def test_names_are_those_of_the_flags_and_of_the_external_url() -> None:
    names = AllowedNames(
        mcp_hosts=frozenset({"exporter"}),
        mcp_origins=frozenset({"https://app.example"}),
        web_hosts=frozenset({"scraped"}),
    )
    mcp = names.mcp_policy("0.0.0.0", "https://mcp.example/base", is_guarded=False)
    assert mcp.hosts == {"exporter", "mcp.example"}
    assert mcp.origins == {"https://app.example"}
    assert not mcp.is_loopback
    assert not mcp.is_guarded
    web = names.web_policy("127.0.0.1", None)
    assert web.hosts == {"scraped"}
    assert not web.origins
    assert web.is_loopback
    assert not web.is_guarded
