"""TLS for the listeners: contexts from certificate files, and complaints about them."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from exporter.config.document import file_error
from exporter.config.errors import ConfigError


@dataclass(frozen=True, slots=True)
class ServerTls:
    """What a listener presents, and what it wants of its clients."""

    cert_file: Path
    key_file: Path
    client_ca_file: Path | None = None
    client_auth: ssl.VerifyMode = ssl.CERT_NONE
    min_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
    max_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
    ciphers: tuple[str, ...] = ()
    """OpenSSL's names, up to TLS 1.2; empty: its own choice."""
    prefers_own_order: bool = True

    def context(self) -> ssl.SSLContext:
        """A context with the files as they are now. Raises ``ConfigError``."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = self.min_version
        context.maximum_version = self.max_version
        context.options |= ssl.OP_NO_RENEGOTIATION
        if self.prefers_own_order:
            context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
        else:
            context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
        context.set_alpn_protocols(["http/1.1"])
        if self.ciphers:
            context.set_ciphers(":".join(self.ciphers))
        self._load_own(context)
        self._load_authority(context)
        return context

    def _load_own(self, context: ssl.SSLContext) -> None:
        _check_readable(self.cert_file)
        _check_readable(self.key_file)
        try:
            # Without a password of ours, OpenSSL would ask for one on the terminal.
            context.load_cert_chain(self.cert_file, self.key_file, password="")
        except ssl.SSLError as error:
            raise file_error(self.cert_file, self._reason(error)) from None

    def _reason(self, error: ssl.SSLError) -> str:
        if error.reason == "KEY_VALUES_MISMATCH":
            return (
                f"does not belong to the key {self.key_file}; give the two that were made together"
            )
        return (
            f"no certificate and unencrypted key in PEM can be read here and in {self.key_file} "
            f"({(error.reason or str(error)).lower().replace('_', ' ')}); check both files"
        )

    def _load_authority(self, context: ssl.SSLContext) -> None:
        if self.client_ca_file is not None:
            _check_readable(self.client_ca_file)
            try:
                context.load_verify_locations(self.client_ca_file)
            except ssl.SSLError:
                problem = "holds no certificate in PEM; give the authority's of the clients"
                raise file_error(self.client_ca_file, problem) from None
        context.verify_mode = self.client_auth


def from_flags(cert: Path | None, key: Path | None, client_ca: Path | None) -> ServerTls | None:
    """What the flags of the MCP listener say. Raises ``ConfigError``."""
    if cert is None or key is None:
        given = cert or key or client_ca
        if given is not None:
            raise ConfigError(
                "--mcp.tls-cert-file and --mcp.tls-key-file belong together; give both of them"
            )
        return None
    wanted = ssl.CERT_NONE if client_ca is None else ssl.CERT_REQUIRED
    return ServerTls(cert, key, client_ca, wanted)


def _check_readable(path: Path) -> None:
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise file_error(path, f"cannot be read: {reason}; check the path") from None
