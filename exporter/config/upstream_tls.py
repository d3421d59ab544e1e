"""How a server over HTTPS is trusted, and what the exporter presents to it."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

from exporter.config.document import file_error


@dataclass(frozen=True, slots=True)
class UpstreamTls:
    """Files in PEM; without one of them the system's own authorities count, and nothing is
    presented."""

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    server_name: str | None = None
    """The name that the certificate must bear, where the URL has another."""
    digest: str = ""
    """Of the files as they were read: with other content the settings are others."""
    context: ssl.SSLContext | None = field(default=None, compare=False, repr=False)
    """With the files as they were read. Who connects reads none: by then one may be broken."""

    def read(self) -> UpstreamTls:
        """The same with what its files hold. Raises ``ConfigError`` where one is wrong."""
        found = sha256()
        for path in (self.ca_file, self.cert_file, self.key_file):
            found.update(_content(path) if path is not None else b"")
        return replace(self, digest=found.hexdigest(), context=self._context())

    def _context(self) -> ssl.SSLContext:
        try:
            context = client_context(self.ca_file)
        except (ssl.SSLError, OSError):
            problem = "holds no certificate in PEM; give the authority's of the server"
            raise file_error(self.ca_file or Path(), problem) from None
        if self.cert_file is not None:
            try:
                # Without a password of ours, OpenSSL would ask for one on the terminal.
                context.load_cert_chain(self.cert_file, self.key_file, password="")
            except (ssl.SSLError, OSError):
                raise file_error(
                    self.cert_file,
                    f"and {self.key_file or 'no key_file'} are no certificate with its unencrypted "
                    "key in PEM; give the two that were made together",
                ) from None
        return context


def client_context(ca_file: Path | None = None) -> ssl.SSLContext:
    """Trusts the authorities of the file, or the system's. Raises ``OSError``."""
    context = ssl.create_default_context(cafile=ca_file)
    # Python 3.13 began to demand what OpenSSL and most clients do not, such as the key identifiers
    # that the authorities of many clusters lack. What clients reach is to be reached through us.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise file_error(path, f"cannot be read: {reason}; check the path") from None
