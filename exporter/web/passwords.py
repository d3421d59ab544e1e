"""Names and passwords of HTTP's Basic authentication (RFC 7617), checked with bcrypt.

A check takes as long as its cost says, on purpose, so a right pair is remembered by its digest.
Whether a name is known cannot be told from the time that a rejection takes, for each takes as long
as the highest cost of all names.
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
        self._highest = max(map(_cost, self._hashes.values()))
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
        password = password[:_LONGEST]
        known = self._hashes.get(name)
        if known is None:
            bcrypt.checkpw(password, _hash_of_nothing(self._highest))
            return False
        if bcrypt.checkpw(password, known):
            return True
        # A cost is an exponent: all costs from one up to another, without that, add up to it.
        for cost in range(_cost(known), self._highest):
            bcrypt.checkpw(password, _hash_of_nothing(cost))
        return False


def _cost(hashed: bytes) -> int:
    return int(hashed.split(b"$")[2])


def _hash_of_nothing(cost: int) -> bytes:
    """A hash that no password has, and that takes as long to check as any of this cost."""
    return b"$2b$%02d$" % cost + b"." * 53


def _pair(authorization: bytes) -> tuple[str, bytes]:
    scheme, _, encoded = authorization.partition(b" ")
    if scheme.lower() != b"basic":
        return "", b""
    try:
        name, _, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
        return name.decode(), password
    except (binascii.Error, UnicodeDecodeError):
        return "", b""
