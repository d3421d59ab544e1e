"""Names and passwords of HTTP's Basic authentication (RFC 7617), checked with bcrypt.

A check takes as long as its cost says, on purpose, so a right pair is remembered by its digest.
Whether a name is known cannot be told from the time that a refusal takes.
"""

from __future__ import annotations

import base64
import binascii
from collections import OrderedDict
from collections.abc import Mapping
from hashlib import sha256

import bcrypt

REMEMBERED = 100
_LONGEST = 72  # bytes that bcrypt reads of a password


class Passwords:
    """Who knows which password, by its hash."""

    def __init__(self, hashes: Mapping[str, str]) -> None:
        self._hashes = {name: text.encode() for name, text in hashes.items()}
        self._right: OrderedDict[bytes, None] = OrderedDict()

    def remembers(self, authorization: bytes) -> bool:
        """Whether this header was found to be right before. Takes microseconds."""
        digest = sha256(authorization).digest()
        if digest not in self._right:
            return False
        self._right.move_to_end(digest)
        return True

    def remember(self, authorization: bytes) -> None:
        """The header was found to be right."""
        self._right[sha256(authorization).digest()] = None
        while len(self._right) > REMEMBERED:
            self._right.popitem(last=False)

    def check(self, authorization: bytes) -> bool:
        """Whether the header is right. Takes as long as bcrypt's cost says: not for event loops."""
        name, password = _pair(authorization)
        known = self._hashes.get(name)
        # An unknown name costs as much as a known one.
        right = bcrypt.checkpw(password[:_LONGEST], known or next(iter(self._hashes.values())))
        return right and known is not None


def _pair(authorization: bytes) -> tuple[str, bytes]:
    scheme, _, encoded = authorization.partition(b" ")
    if scheme.lower() != b"basic":
        return "", b""
    try:
        name, _, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
        return name.decode(), password
    except (binascii.Error, UnicodeDecodeError):
        return "", b""
