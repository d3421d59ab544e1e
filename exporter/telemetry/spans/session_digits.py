"""What tells one session's spans from another's: never its id, which is a key to it."""

from __future__ import annotations

import os
from hashlib import blake2b

_KEY = os.urandom(16)
"""Of this process alone: nobody finds an id by trying."""


def session_digits(session_id: bytes) -> str:
    """16 digits that are the same for each request of a session."""
    return blake2b(session_id, key=_KEY, digest_size=8).hexdigest()
