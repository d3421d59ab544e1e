"""Ends the children of an exporter that was itself killed: no orphan, even after SIGKILL.

A process of its own holds the other end of a pipe. When the exporter is gone the pipe is at its
end, and the reaper ends the process groups that were still alive. Run as a script it is that
process, and imports as little as it can.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time


class Reaper:
    """Tells the reaper process which process groups live, and starts it with the first one."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._groups: set[int] = set()

    def watch(self, group: int) -> None:
        """End this process group where the exporter is killed."""
        if self._process is None or self._process.poll() is not None:  # it was ended
            self.close()
            self._process = self._start()
            self._tell(b"".join(b"+%d\n" % each for each in self._groups))
        self._groups.add(group)
        self._tell(b"+%d\n" % group)

    def forget(self, group: int) -> None:
        """Forget a process group that is gone."""
        self._groups.discard(group)
        self._tell(b"-%d\n" % group)

    def close(self) -> None:
        """End the reaper: the exporter stops in order."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            self._process.wait()
            self._process = None

    def _tell(self, lines: bytes) -> None:
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # the next child starts another one
                self._process.stdin.write(lines)

    @staticmethod
    def _start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,
        )


def main() -> None:
    """Read which groups live until the exporter is gone, then end them."""
    groups: set[int] = set()
    for line in sys.stdin.buffer:
        group = int(line[1:])
        (groups.add if line[:1] == b"+" else groups.discard)(group)
    for sign, patience in ((signal.SIGTERM, 2.0), (signal.SIGKILL, 0.0)):
        groups = {group for group in groups if _send(group, sign)}
        deadline = time.monotonic() + patience
        while groups and time.monotonic() < deadline:
            time.sleep(0.05)
            groups = {group for group in groups if _send(group, 0)}


def _send(group: int, sign: int) -> bool:
    try:
        os.killpg(group, sign)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main()
