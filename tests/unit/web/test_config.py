"""Prometheus' web configuration: what is honoured, and that the rest is refused."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from exporter.config.errors import ConfigError
from exporter.web import config as web_config
from exporter.web.config import RateLimit, WebConfig

HASH = "$2y$10$" + "a" * 53
FULL = f"""
tls_server_config:
  cert_file: own.crt
  key_file: /keys/own.key
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: ca.pem
  client_allowed_sans: [prometheus.example, 10.0.0.1]
  min_version: TLS12
  max_version: TLS13
  cipher_suites:
    - TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
    - TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
  prefer_server_cipher_suites: false
http_server_config:
  http2: false
  headers:
    Content-Security-Policy: default-src 'self'
    X-Frame-Options: deny
    X-XSS-Protection: ""
basic_auth_users:
  alice: {HASH}
  bob: {HASH}
auth_excluded_paths: [/-/healthy]
rate_limit: {{interval: 500ms, burst: 20}}
"""


def parse(text: str) -> WebConfig:
    return web_config.parse(text, "/etc/web.yml")


def test_everything_that_is_supported_is_read() -> None:
    found = parse(FULL)
    assert found.tls is not None
    assert found.tls.cert_file == Path("/etc/own.crt")
    assert found.tls.key_file == Path("/keys/own.key")
    assert found.tls.client_ca_file == Path("/etc/ca.pem")
    assert found.tls.client_auth is ssl.CERT_REQUIRED
    assert found.tls.ciphers == ("ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305")
    assert not found.tls.prefers_own_order
    assert found.allowed_names == {"prometheus.example", "10.0.0.1"}
    assert dict(found.users) == {"alice": HASH, "bob": HASH}
    assert found.excluded_paths == {"/-/healthy"}
    assert found.headers == (
        (b"Content-Security-Policy", b"default-src 'self'"),
        (b"X-Frame-Options", b"deny"),
    )
    assert found.rate_limit == RateLimit(0.5, 20)


@pytest.mark.parametrize(
    "text", ["", "---\n# nothing\n", "{}", "tls_server_config:\n", "tls_server_config: {}"]
)
def test_a_file_may_demand_nothing(text: str) -> None:
    assert parse(text) == WebConfig()


def test_every_cipher_suite_is_one_that_openssl_knows() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for name in web_config._CIPHERS.values():
        context.set_ciphers(name)
        assert name in {cipher["name"] for cipher in context.get_ciphers()}


def test_hashes_are_not_shown() -> None:
    assert HASH not in repr(parse(FULL))


PAIR = "cert_file: c, key_file: k"
IF_GIVEN = "client_auth_type: VerifyClientCertIfGiven, client_ca_file: a"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[]", "/etc/web.yml:1: must be a mapping, not a list"),
        ("tls_config: {}", '1: tls_config: unknown key; did you mean "tls_server_config"?'),
        ("tls_server_config: {cert: x}", "tls_server_config.cert: inline certificates are not"),
        ("tls_server_config: {key: x}", "tls_server_config.key: inline keys are not supported"),
        ("tls_server_config: {client_ca: x}", "client_ca: inline certificates are not supported"),
        ("tls_server_config: {curve_preferences: []}", "curve_preferences: is not supported"),
        ("tls_server_config: {min_tls: x}", "tls_server_config.min_tls: unknown key"),
        ("tls_server_config: {cert_file: c}", "tls_server_config: has no key_file"),
        ("tls_server_config: {key_file: c}", "tls_server_config: has no cert_file"),
        ("tls_server_config: {cert_file: '', key_file: k}", "cert_file: is empty"),
        (f"tls_server_config: {{{PAIR}, min_version: TLS11}}", '"TLS11" is not supported; write'),
        (f"tls_server_config: {{{PAIR}, max_version: SSL3}}", '"SSL3" is not supported; write'),
        (
            f"tls_server_config: {{{PAIR}, min_version: TLS13, max_version: TLS12}}",
            "min_version: is newer than max_version",
        ),
        (
            f"tls_server_config: {{{PAIR}, client_auth_type: RequestClientCert}}",
            '"RequestClientCert" is not supported; write RequireAndVerifyClientCert',
        ),
        (
            f"tls_server_config: {{{PAIR}, client_auth_type: RequireAnyClientCert}}",
            '"RequireAnyClientCert" is not supported',
        ),
        (
            f"tls_server_config: {{{PAIR}, client_auth_type: RequireAndVerifyClientCert}}",
            "client_auth_type: needs client_ca_file",
        ),
        (f"tls_server_config: {{{PAIR}, client_ca_file: a}}", "client_ca_file: has no effect"),
        (
            f"tls_server_config: {{{PAIR}, {IF_GIVEN}, client_allowed_sans: [x]}}",
            "client_allowed_sans: needs client_auth_type: RequireAndVerifyClientCert",
        ),
        (
            f"tls_server_config: {{{PAIR}, cipher_suites: [TLS_AES_128_GCM_SHA256]}}",
            'cipher_suites[0]: "TLS_AES_128_GCM_SHA256" is not supported',
        ),
        (
            f"tls_server_config: {{{PAIR}, cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]}}",
            "is not supported; remove it, or write one of TLS 1.2 with ECDHE",
        ),
        ("http_server_config: {http2: true}", "http2: HTTP/2 is not spoken here; write false"),
        ("http_server_config: {http3: true}", "http_server_config.http3: unknown key"),
        ("http_server_config: {headers: {Server: x}}", "headers.Server: unknown key"),
        (
            "http_server_config: {headers: {X-Frame-Options: allow}}",
            '"allow" is no value; write deny or sameorigin',
        ),
        (
            'http_server_config: {headers: {X-XSS-Protection: "a\\nb"}}',
            "has a line break",
        ),
        ("basic_auth_users: {me: secret}", "basic_auth_users.me: is not a bcrypt hash; make one"),
        (f"basic_auth_users: {{me: {HASH[:-1]}}}", "is not a bcrypt hash"),
        (f"basic_auth_users: {{me: {HASH.replace('10', '19')}}}", "me: has a cost of 19"),
        (f"basic_auth_users: {{'a:b': {HASH}}}", "cannot be a user"),
        ("auth_excluded_paths: /x", "auth_excluded_paths: must be a list"),
        ("rate_limit: {interval: 1}", 'rate_limit.interval: "1" has no unit'),
        ("rate_limit: {burst: 0}", "rate_limit.burst: must be a whole number from 1"),
        ("rate_limit: {rate: 1}", "rate_limit.rate: unknown key"),
    ],
)
def test_what_is_not_supported_is_rejected_in_one_line(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    line = str(caught.value)
    assert problem in line
    assert line.startswith("/etc/web.yml:1: ")
    assert "\n" not in line
    assert "secret" not in line
    assert HASH[7:] not in line
