"""Who may come in, as flags say it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from exporter.cli.main import main
from tests.unit.cli.conftest import complaint


@pytest.mark.parametrize("address", ["0.0.0.0:1", ":1", "[::]:1", "192.0.2.1:1", "example.org:1"])
def test_others_may_only_be_let_in_on_purpose(
    config: Path, served: list[Any], capsys: pytest.CaptureFixture[str], address: str
) -> None:
    arguments = ["serve", f"--config.file={config}", "--mcp.listen-address", address]
    line = complaint(capsys, *arguments)
    assert "can be reached from other machines" in line
    assert "--mcp.allow-unauthenticated" in line
    assert main([*arguments, "--mcp.allow-unauthenticated"]) == 0
    assert served[-1].mcp_port == 1


def test_tokens_or_client_certificates_open_other_addresses(
    config: Path, served: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["serve", f"--config.file={config}", "--mcp.listen-address=0.0.0.0:1"]
    tokens = tmp_path / "tokens.yml"
    assert main([*arguments, f"--mcp.token-file={tokens}"]) == 0
    assert served[-1].access.tokens == tokens
    pair = ["--mcp.tls-cert-file=own.crt", "--mcp.tls-key-file=own.key"]
    assert main([*arguments, *pair, "--mcp.tls-client-ca-file=ca.pem"]) == 0
    line = complaint(capsys, *arguments, *pair)
    assert "give the clients tokens (--mcp.token-file) or certificates" in line


def test_half_a_certificate_is_rejected(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = complaint(capsys, "serve", f"--config.file={config}", "--mcp.tls-cert-file=own.crt")
    assert line.startswith("--mcp.tls-cert-file and --mcp.tls-key-file belong together")


def test_check_reads_the_files_of_who_may_come_in_too(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokens = tmp_path / "tokens.yml"
    tokens.write_text("me: short\n")
    line = complaint(capsys, "check", str(config), f"--mcp.token-file={tokens}")
    assert line.startswith(f"{tokens}:1: has less than 16 characters")
    web = tmp_path / "web.yml"
    web.write_text("tls_server_config: {curve_preferences: [X25519]}\n")
    line = complaint(capsys, "check", str(config), f"--web.config.file={web}")
    assert line.startswith(f"{web}:1: tls_server_config.curve_preferences: is not supported")
    missing = [f"--mcp.tls-cert-file={tmp_path / 'none'}", f"--mcp.tls-key-file={web}"]
    line = complaint(capsys, "check", str(config), *missing)
    assert line.startswith(f"{tmp_path / 'none'}: cannot be read")


def test_further_names_and_pages_are_given_with_commas(config: Path, served: list[Any]) -> None:
    flags = [
        "--mcp.allowed-hosts=exporter, MCP.example.com,",
        "--mcp.allowed-origins=https://app.example.com:8443,chrome-extension://abc",
        "--web.allowed-hosts=exporter",
    ]
    assert main(["serve", f"--config.file={config}", *flags]) == 0
    names = served[-1].names
    assert names.mcp_hosts == {"exporter", "mcp.example.com"}
    assert names.mcp_origins == {"https://app.example.com:8443", "chrome-extension://abc"}
    assert names.web_hosts == {"exporter"}


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--mcp.allowed-hosts=a,b:80", "'b:80' is not the name of a host"),
        ("--web.allowed-hosts=http://a", "'http://a' is not the name of a host"),
        ("--mcp.allowed-origins=app.example", "'app.example' is not an origin"),
        ("--mcp.allowed-origins=https://a/b", "'https://a/b' is not an origin"),
        ("--mcp.allowed-origins=*", "'*' is not an origin"),
    ],
)
def test_what_is_no_name_is_rejected(
    config: Path, capsys: pytest.CaptureFixture[str], flag: str, words: str
) -> None:
    line = complaint(capsys, "serve", f"--config.file={config}", flag)
    assert line.startswith(f"{flag.partition('=')[0]}: {words}")
