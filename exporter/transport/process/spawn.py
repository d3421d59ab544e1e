"""Starts a process on three pipes, and hardly holds up the loop that relays meanwhile.

The event loops' own way forks: that copies what describes the exporter's memory, and whoever is
relayed waits for 5 to 25 ms. ``subprocess`` uses vfork, which takes one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from typing import IO, cast


async def start(
    protocol: asyncio.SubprocessProtocol,
    command: Sequence[str],
    env: Mapping[str, str],
    cwd: str | None,
) -> None:
    """Start a command as the leader of a session of its own; ``protocol`` hears the rest.

    Raises ``OSError`` or ``ValueError`` where it cannot be started.
    """
    loop = asyncio.get_running_loop()
    if not _can_watch():
        await loop.subprocess_exec(
            lambda: protocol, *command, env=env, cwd=cwd, start_new_session=True
        )
        return
    process = _spawn(command, env, cwd)
    try:
        watch = os.pidfd_open(process.pid)
    except OSError:
        process.kill()
        process.communicate()
        raise
    await PipedProcess(process, watch, protocol, loop).connect()


def _spawn(
    command: Sequence[str], env: Mapping[str, str], cwd: str | None
) -> subprocess.Popen[bytes]:
    # Not in a thread: vfork would stop the loop from there as well.
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        env=env,
        cwd=cwd,
        start_new_session=True,
    )


class PipedProcess(asyncio.SubprocessTransport):
    """A process that runs, with its three pipes."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        watch: int,
        protocol: asyncio.SubprocessProtocol,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__()
        self._process = process
        self._watch = watch
        self._protocol = protocol
        self._loop = loop
        self._pipes: dict[int, asyncio.BaseTransport] = {}

    async def connect(self) -> None:
        """Tell the protocol of the process, of what it writes, and of its end."""
        loop, process = self._loop, self._process
        stdin, stdout, stderr = (
            cast("IO[bytes]", pipe) for pipe in (process.stdin, process.stdout, process.stderr)
        )
        self._pipes[0], _ = await loop.connect_write_pipe(lambda: _Pipe(self._protocol, 0), stdin)
        self._protocol.connection_made(self)
        self._pipes[1], _ = await loop.connect_read_pipe(lambda: _Pipe(self._protocol, 1), stdout)
        self._pipes[2], _ = await loop.connect_read_pipe(lambda: _Pipe(self._protocol, 2), stderr)
        loop.add_reader(self._watch, self._exited)

    def get_pid(self) -> int:
        """Its id."""
        return self._process.pid

    def get_returncode(self) -> int | None:
        """How it ended; a signal is a negative number, and ``None``: it runs."""
        return self._process.returncode

    def get_pipe_transport(self, fd: int) -> asyncio.BaseTransport | None:
        """One of its pipes."""
        return self._pipes.get(fd)

    def close(self) -> None:
        """Close the pipes."""
        for pipe in self._pipes.values():
            pipe.close()
        self._forget()

    def _exited(self) -> None:
        self._process.poll()
        self._forget()
        self._protocol.process_exited()

    def _forget(self) -> None:
        if self._watch >= 0:
            self._loop.remove_reader(self._watch)
            os.close(self._watch)
            self._watch = -1


class _Pipe(asyncio.Protocol):
    """Passes on what happens to one pipe."""

    def __init__(self, protocol: asyncio.SubprocessProtocol, fd: int) -> None:
        self._protocol = protocol
        self._fd = fd

    def data_received(self, data: bytes) -> None:
        """The process wrote something."""
        self._protocol.pipe_data_received(self._fd, data)

    def connection_lost(self, exc: Exception | None) -> None:
        """The pipe is closed."""
        self._protocol.pipe_connection_lost(self._fd, exc)


@cache
def _can_watch() -> bool:
    """Whether the end of a process can be waited for without a thread (Linux)."""
    with contextlib.suppress(AttributeError, OSError):
        os.close(os.pidfd_open(os.getpid()))
        return True
    return False
