"""Text of others, made safe to look at: what would steer a terminal or hide is written out."""

from __future__ import annotations


def printable(text: str, kept: str = "") -> str:
    """Write out every control and format character that is not in ``kept``, as Python would."""
    if text.isprintable():
        return text
    return "".join(
        char
        if char.isprintable() or char in kept
        else char.encode("unicode_escape", "surrogatepass").decode()
        for char in text
    )
