"""Where ``wrap`` and the exporter meet on a system without Unix sockets: a port of the loopback.

The port and a key are in a file that its user alone can read. Any process of the machine can call
the port, and may have it once an exporter died: so each side proves that it has the key, which
neither sends.

The caller sends its challenge, the exporter its own with a proof, the caller its proof, the
exporter an empty line; challenges and proofs are hexadecimal, and a line each.
"""

from __future__ import annotations

import errno
import hmac
import os
import re
import secrets
import socket
import stat
from pathlib import Path
from typing import BinaryIO

HOST = "127.0.0.1"

TIMEOUT = 2.0
"""Seconds in which a caller must have proved itself, and the exporter too."""

MAX_LINE = 256
_DIGITS = 64
_WORDS = re.compile(rb"([0-9]{1,5}) ([0-9a-f]{64})\r?\n")
_EXPORTER, _CALLER = b"exporter", b"wrap"


def listen(path: str) -> socket.socket:
    """Open a port and write the file. Raises ``OSError``: ``FileExistsError`` where another
    exporter listens."""
    if _is_alive(path):
        raise FileExistsError("another exporter listens there")
    opened = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    alone = getattr(socket, "SO_EXCLUSIVEADDRUSE", None)  # of Windows, where two can have one port
    try:
        if alone is not None:
            opened.setsockopt(socket.SOL_SOCKET, alone, 1)
        opened.bind((HOST, 0))
        opened.listen(128)
        _write(Path(path), f"{opened.getsockname()[1]} {secrets.token_hex(_DIGITS // 2)}\n")
    except OSError:
        opened.close()
        raise
    opened.setblocking(False)
    return opened


def call(path: str) -> socket.socket:
    """Connect to the exporter whose file this is. Raises ``OSError`` where there is none."""
    port, key = read(path)
    connection = socket.create_connection((HOST, port), TIMEOUT)
    try:
        challenge = secrets.token_hex(_DIGITS // 2).encode()
        connection.sendall(challenge + b"\n")
        theirs, _, proof = _line(connection).partition(b" ")
        if not _is_equal(proof, _proof(key, _EXPORTER, challenge + theirs)):
            raise ConnectionRefusedError("another program has the exporter's port")
        connection.sendall(_proof(key, _CALLER, theirs + challenge) + b"\n")
        if _line(connection):
            raise ConnectionRefusedError("the exporter refused")
    except OSError:
        connection.close()
        raise
    return connection


def read(path: str) -> tuple[int, bytes]:
    """The port and the key. Raises ``OSError`` where there is no file that can be trusted."""
    with _opened(path) as file:
        found = os.fstat(file.fileno())  # of what was opened, whatever has the name by now
        if not stat.S_ISREG(found.st_mode):
            raise PermissionError(f"{path} is not a file")
        # On Windows a folder's list of who may read is its files' too, and this one is the user's.
        if os.name == "posix" and (found.st_uid != os.getuid() or found.st_mode & 0o077):
            raise PermissionError(f"{path} is not a file of this user alone")
        words = _WORDS.fullmatch(file.read(MAX_LINE))
    if words is None or int(words[1]) > 65535:
        raise FileNotFoundError(f"{path} names no exporter's port")
    return int(words[1]), words[2]


class Handshake:
    """The exporter's side of one connection, until the caller has proved itself."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._caller = b""
        self._own = b""
        self.is_open = False

    def receive(self, line: bytes) -> bytes | None:
        """Take the caller's next line; return the reply, or ``None``: close the connection."""
        if not self._caller:
            if len(line) != _DIGITS:
                return None
            self._caller, self._own = line, secrets.token_hex(_DIGITS // 2).encode()
            return self._own + b" " + _proof(self._key, _EXPORTER, line + self._own) + b"\n"
        if not _is_equal(line, _proof(self._key, _CALLER, self._own + self._caller)):
            return None
        self.is_open = True
        return b"\n"


def _opened(path: str) -> BinaryIO:
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        return os.fdopen(os.open(path, flags | getattr(os, "O_BINARY", 0)), "rb")
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise PermissionError(f"{path} is not a file") from None
        raise


def _is_alive(path: str) -> bool:
    try:
        call(path).close()
    except OSError:  # there is no exporter
        return False
    return True


def _proof(key: bytes, who: bytes, challenges: bytes) -> bytes:
    return hmac.digest(key, who + challenges, "sha256").hex().encode()


def _is_equal(one: bytes, other: bytes) -> bool:
    return hmac.compare_digest(one, other)


def _line(connection: socket.socket) -> bytes:
    said = b""
    while not said.endswith(b"\n"):
        more = connection.recv(MAX_LINE)
        said += more
        if not more or len(said) > MAX_LINE:
            raise ConnectionResetError("the port does not reply as the exporter does")
    return said[:-1]


def _write(path: Path, text: str) -> None:
    import tempfile  # only the exporter writes

    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # 0600 from the start
    try:
        with os.fdopen(number, "w", encoding="ascii") as file:
            file.write(text)
        Path(name).replace(path)
    except OSError:
        Path(name).unlink()
        raise
