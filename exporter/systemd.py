"""Tells systemd how we are (sd_notify(3)): ready, reloading, stopping, and still alive.

Without systemd, nobody is told and nothing is lost.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping
from time import monotonic


class SystemdNotifier:
    """Whoever started us and wants to know."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self._patience = _patience(environ)
        self._next_sign = 0.0

    def ready(self, status: str) -> None:
        """Everything is open, or reloaded."""
        self._tell(f"READY=1\nSTATUS={status}")

    def reloading(self) -> None:
        """The configuration is read again; ``ready`` ends that."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={int(monotonic() * 1_000_000)}")

    def stopping(self, seconds: float) -> None:
        """No new work is taken, and the end comes within so many seconds."""
        limit = f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}"
        self._tell(f"STOPPING=1\n{limit}\nSTATUS=Lets requests end")

    def alive(self, now: float) -> None:
        """The loop turns. To be called often: two signs are sent in the time that is wanted."""
        if self._patience and now >= self._next_sign:
            self._next_sign = now + self._patience / 2
            self._tell("WATCHDOG=1")

    def _tell(self, text: str) -> None:
        if not self._address:
            return
        # Whether anybody listens must not matter to those that we serve.
        with contextlib.suppress(OSError), _datagram() as out:
            out.sendto(text.encode(), self._address)


def _datagram() -> socket.socket:
    out = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    out.setblocking(False)
    return out


def _address(text: str) -> str:
    """A path, or a name in Linux' abstract namespace; other kinds (vsock) are not spoken."""
    if text.startswith("@"):
        return "\0" + text[1:]
    return text if text.startswith("/") else ""


def _patience(environ: Mapping[str, str]) -> float:
    """Seconds after which the watchdog thinks that we hang; 0: there is none."""
    wanted, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    is_ours = not pid or pid == str(os.getpid())
    return int(wanted) / 1_000_000 if wanted.isascii() and wanted.isdigit() and is_ours else 0.0
