"""The bearer tokens of clients (RFC 6750): names and secrets from a file.

What is kept are digests. A presented token is compared with every one of them, each time in the
same time, so that neither how much of it is right nor whose it is can be measured.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path

from exporter.config import document
from exporter.config.document import Node

SHORTEST = 16
"""Characters: a shorter token could be guessed."""

_LONGEST = 4096
_NAME_LENGTH = 64
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750, section 2.1
_HINT = "a token's name with its token, such as laptop: 6bb1…"


class Tokens:
    """The accepted tokens, each with the name of its holder."""

    def __init__(self, tokens: Mapping[str, str]) -> None:
        self._known = [(name, _digest(token.encode())) for name, token in tokens.items()]

    def __len__(self) -> int:
        return len(self._known)

    def holder(self, authorization: bytes | None) -> str | None:
        """The name of the token in an ``Authorization`` header; ``None`` for every other one."""
        scheme, _, token = (authorization or b"").partition(b" ")
        if scheme.lower() != b"bearer":
            return None
        presented, found = _digest(token.strip()), None
        for name, known in self._known:  # all of them, whichever it was
            if compare_digest(presented, known):
                found = name
        return found


def load(path: Path) -> Tokens:
    """The tokens of a file. Raises ``ConfigError``, which never quotes a token."""
    return Tokens(secrets(path))


def secrets(path: Path) -> dict[str, str]:
    """Names and tokens as they are in the file. Raises ``ConfigError``."""
    return parse(document.load(path), str(path))


def parse(text: str, source: str) -> dict[str, str]:
    """Names and tokens of a YAML or JSON mapping. Raises ``ConfigError``."""
    root = document.read(text, source, str, _HINT)
    found: dict[str, str] = {}
    for name, entry in root.mapping().items():
        node = replace(entry, path="")  # the line alone: swapped, the name is the secret
        token = _token(name, node)
        if token in found.values():
            raise node.error("has the same token as another name; make one for each")
        found[name] = token
    if not found:
        raise root.error(f"no tokens; add {_HINT}")
    return found


def _token(name: str, node: Node) -> str:
    if not 0 < len(name) <= _NAME_LENGTH or not name.isprintable():
        raise node.error(f"a token's name must have 1 to {_NAME_LENGTH} visible characters")
    token = node.scalar()
    if len(token) < SHORTEST:
        raise node.error(f"has less than {SHORTEST} characters; make one: openssl rand -hex 32")
    if len(token) > _LONGEST or _TOKEN.fullmatch(token) is None:
        raise node.error(
            "is not a bearer token; use letters, digits and -._~+/ alone: openssl rand -hex 32"
        )
    return token


def _digest(token: bytes) -> bytes:
    return sha256(token).digest()
