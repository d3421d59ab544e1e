"""``--web.config.file``: TLS and passwords for the scrape listener, in Prometheus' own format.

The format is that of the exporter-toolkit (docs/web-configuration.md there). What cannot be
honoured is rejected: a setting of access that is silently ignored would protect nothing.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from exporter.config import document, validators
from exporter.config.document import Node, quoted
from exporter.config.model import Values
from exporter.transport.http.tls import ServerTls

HASH = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}")
HIGHEST_COST = 18
"""Of bcrypt; each step more takes twice as long, and this one takes seconds."""

_UNSUPPORTED = {
    "cert": "inline certificates are not supported; write it to a file for cert_file",
    "key": "inline keys are not supported; write it to a file for key_file",
    "client_ca": "inline certificates are not supported; write it to a file for client_ca_file",
    "curve_preferences": "is not supported; remove it, and OpenSSL's own order is used",
}
_TLS_KEYS = (
    "cert_file", "key_file", "client_auth_type", "client_ca_file", "client_allowed_sans",
    "min_version", "max_version", "cipher_suites", "prefer_server_cipher_suites",
)  # fmt: skip
_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_CLIENT_AUTH = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
_CIPHERS = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
}
"""Go's names for the suites that it counts as safe, and OpenSSL's."""

_HEADERS: Mapping[str, tuple[str, ...]] = {
    "Content-Security-Policy": (),
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
}


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most ``burst`` requests at once, and one more every ``interval`` seconds."""

    interval: float
    burst: int


@dataclass(frozen=True, slots=True)
class WebConfig:
    """What the scrape listener demands and adds."""

    tls: ServerTls | None = None
    users: Mapping[str, str] = field(default_factory=Values)
    """Names with bcrypt's hashes of their passwords; none: no password is wanted."""
    excluded_paths: frozenset[str] = frozenset()
    """Where no password is wanted."""
    allowed_names: frozenset[str] = frozenset()
    """Of which a client's certificate must bear one; none: every certificate will do."""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    rate_limit: RateLimit | None = None


def load(path: Path) -> WebConfig:
    """What the file says. Raises ``ConfigError``, always one line, which never quotes a hash."""
    return parse(document.load(path), str(path))


def parse(text: str, source: str) -> WebConfig:
    """What the text says; relative paths start at the folder of ``source``."""
    if not _says_anything(text):
        return WebConfig()
    top = validators.present(document.read(text, source, str))
    known = (
        "tls_server_config", "http_server_config", "basic_auth_users", "auth_excluded_paths",
        "rate_limit",
    )  # fmt: skip
    validators.reject_unknown(top, known, ())
    given = validators.present(top["tls_server_config"]) if "tls_server_config" in top else {}
    tls = _tls(given, top.get("tls_server_config"), Path(source).parent)
    return WebConfig(
        tls=tls,
        users=Values(_users(top)),
        excluded_paths=frozenset(_texts(top, "auth_excluded_paths")),
        allowed_names=_allowed_names(given, tls),
        headers=_headers(top),
        rate_limit=_rate_limit(top),
    )


def _says_anything(text: str) -> bool:
    lines = (line.strip() for line in text.splitlines())
    return any(line and not line.startswith("#") and line != "---" for line in lines)


def _tls(given: Mapping[str, Node], whole: Node | None, folder: Path) -> ServerTls | None:
    for key, problem in _UNSUPPORTED.items():
        if key in given:
            raise given[key].error(problem)
    validators.reject_unknown(given, _TLS_KEYS, ())
    if whole is None or not given:
        return None
    for key in ("cert_file", "key_file"):
        if key not in given:
            raise whole.error(f"has no {key}; a certificate needs both cert_file and key_file")
    settings = ServerTls(
        cert_file=folder / validators.filled(given["cert_file"]),
        key_file=folder / validators.filled(given["key_file"]),
        client_ca_file=folder / validators.filled(given["client_ca_file"])
        if "client_ca_file" in given
        else None,
        client_auth=_client_auth(given),
        min_version=_version(given, "min_version", ssl.TLSVersion.TLSv1_2),
        max_version=_version(given, "max_version", ssl.TLSVersion.TLSv1_3),
        ciphers=_ciphers(given),
        prefers_own_order=validators.optional(
            given, "prefer_server_cipher_suites", validators.boolean, True
        ),
    )
    if settings.min_version > settings.max_version:
        raise given["min_version"].error("is newer than max_version; change one of them")
    return settings


def _client_auth(given: Mapping[str, Node]) -> ssl.VerifyMode:
    node = given.get("client_auth_type")
    word = node.text() if node is not None else ""
    mode = _CLIENT_AUTH.get(word or "NoClientCert")
    if node is not None and mode is None:
        raise node.error(
            f"{quoted(word)} is not supported; write RequireAndVerifyClientCert, "
            "VerifyClientCertIfGiven or NoClientCert"
        )
    if mode is ssl.CERT_NONE and "client_ca_file" in given:
        raise given["client_ca_file"].error(
            "has no effect without a client_auth_type; write RequireAndVerifyClientCert there"
        )
    if node is not None and mode is not ssl.CERT_NONE and "client_ca_file" not in given:
        raise node.error("needs client_ca_file: whose certificates are to be believed")
    return mode or ssl.CERT_NONE


def _version(given: Mapping[str, Node], key: str, default: ssl.TLSVersion) -> ssl.TLSVersion:
    if key not in given:
        return default
    word = given[key].text()
    if word not in _VERSIONS:
        raise given[key].error(f"{quoted(word)} is not supported; write TLS12 or TLS13")
    return _VERSIONS[word]


def _ciphers(given: Mapping[str, Node]) -> tuple[str, ...]:
    found = []
    for node in given["cipher_suites"].items() if "cipher_suites" in given else []:
        name = node.text()
        if name not in _CIPHERS:
            raise node.error(
                f"{quoted(name)} is not supported; remove it, or write one of TLS 1.2 with ECDHE, "
                "such as TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"
            )
        found.append(_CIPHERS[name])
    return tuple(found)


def _allowed_names(given: Mapping[str, Node], tls: ServerTls | None) -> frozenset[str]:
    names = frozenset(_texts(given, "client_allowed_sans"))
    if names and (tls is None or tls.client_auth is not ssl.CERT_REQUIRED):
        raise given["client_allowed_sans"].error(
            "needs client_auth_type: RequireAndVerifyClientCert; else no client has to show a name"
        )
    return names


def _users(top: Mapping[str, Node]) -> dict[str, str]:
    found = {}
    nodes = validators.present(top["basic_auth_users"]) if "basic_auth_users" in top else {}
    for name, node in nodes.items():
        match = HASH.fullmatch(node.text())
        if match is None:
            raise node.error(
                'is not a bcrypt hash; make one with: htpasswd -nBC 10 "" | tr -d ":\\n"'
            )
        if not 4 <= int(match[1]) <= HIGHEST_COST:
            raise node.error(f"has a cost of {match[1]}; make a hash with one from 4 to 18")
        if not name or ":" in name:
            raise node.error('cannot be a user: a name has a character or more, and no ":"')
        found[name] = match[0]
    return found


def _headers(top: Mapping[str, Node]) -> tuple[tuple[bytes, bytes], ...]:
    given = validators.present(top["http_server_config"]) if "http_server_config" in top else {}
    validators.reject_unknown(given, ("http2", "headers"), ())
    if "http2" in given and validators.boolean(given["http2"]):
        raise given["http2"].error("HTTP/2 is not spoken here; write false, or remove it")
    nodes = validators.present(given["headers"]) if "headers" in given else {}
    validators.reject_unknown(nodes, _HEADERS, ())
    found = []
    for name, value in validators.headers(nodes).items():
        allowed = _HEADERS[name]
        if allowed and value and value.lower() not in allowed:
            raise nodes[name].error(f"{quoted(value)} is no value; write {' or '.join(allowed)}")
        if value:
            found.append((name.encode(), value.encode()))
    return tuple(found)


def _rate_limit(top: Mapping[str, Node]) -> RateLimit | None:
    given = validators.present(top["rate_limit"]) if "rate_limit" in top else {}
    validators.reject_unknown(given, ("interval", "burst"), ())
    interval = validators.optional(given, "interval", validators.duration, 0.0)
    burst = validators.optional(given, "burst", validators.count, 1)
    return RateLimit(interval, burst) if interval else None


def _texts(given: Mapping[str, Node], key: str) -> list[str]:
    return [validators.filled(node) for node in given[key].items()] if key in given else []
