"""Header values of revision 2026-07-28, which may be wrapped in base64 where they are not plain."""

from __future__ import annotations

import base64
import binascii


def decoded(value: bytes) -> str | None:
    """The text of a header such as ``Mcp-Name``; ``None`` where it cannot be read."""
    try:
        if value.startswith(b"=?base64?") and value.endswith(b"?="):
            return base64.b64decode(value[9:-2], validate=True).decode()
        return value.decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
