"""Start a process on three pipes, and hardly hold up the loop that relays meanwhile.

The event loops' own way forks: that copies what describes the exporter's memory, and every call
in flight waits for 5 to 25 ms. ``subprocess`` uses vfork, which takes one.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from typing import IO

from exporter.transport.descriptors import keep_reserve


async def start(
    protocol: asyncio.SubprocessProtocol,
    command: Sequence[str],
    env: Mapping[str, str],
    cwd: str | None,
) -> None:
    """Start a command as the leader of a session of its own; ``protocol`` gets the rest.

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
        for stream in (process.stdin, process.stdout, process.stderr):
            keep_reserve(stream.fileno() if stream is not None else 0)
        piped = PipedProcess(process, protocol, loop)
    except OSError:
        process.kill()
        process.communicate()
        raise
    await piped.connect()


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
        protocol: asyncio.SubprocessProtocol,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__()
        self._process = process
        self._protocol = protocol
        self._loop = loop
        self._pipes: dict[int, asyncio.BaseTransport] = {}
        with contextlib.ExitStack() as opened:
            self._watch = os.pidfd_open(process.pid)
            opened.callback(os.close, self._watch)
            self._unconnected = []
            for stream in (process.stdin, process.stdout, process.stderr):
                self._unconnected.append(_detach(stream))
                opened.callback(os.close, self._unconnected[-1])
            opened.pop_all()

    async def connect(self) -> None:
        """Tell the protocol of the process, of what it writes, and of its end."""
        with contextlib.ExitStack() as failing:
            failing.callback(self._give_up)
            await self._connect(0, "wb")
            self._protocol.connection_made(self)
            await self._connect(1, "rb")
            await self._connect(2, "rb")
            failing.pop_all()
        self._loop.add_reader(self._watch, self._exited)

    async def _connect(self, number: int, mode: str) -> None:
        pipe = _pipe_file(self._loop, self._unconnected.pop(0), mode)
        connect = self._loop.connect_write_pipe if mode == "wb" else self._loop.connect_read_pipe
        self._pipes[number], _ = await connect(lambda: _Pipe(self._protocol, number), pipe)

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

    def _give_up(self) -> None:
        self._process.kill()
        self._process.wait()
        for descriptor in self._unconnected:
            os.close(descriptor)
        self.close()

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


def _detach(stream: IO[bytes] | None) -> int:
    """The descriptor of a stream, which is the caller's alone from now on."""
    assert stream is not None  # noqa: S101
    with stream:
        return os.dup(stream.fileno())


def _pipe_file(loop: asyncio.AbstractEventLoop, descriptor: int, mode: str) -> io.FileIO:
    """A file for the loop, made so that its descriptor is closed once.

    asyncio's own loops close the file. uvloop closes the descriptor, and then the file too: by
    then another thread may have been given the same number for something else.
    """
    return io.FileIO(descriptor, mode, closefd=isinstance(loop, asyncio.BaseEventLoop))


@cache
def _can_watch() -> bool:
    """Whether the end of a process can be waited for without a thread (Linux)."""
    with contextlib.suppress(AttributeError, OSError):
        os.close(os.pidfd_open(os.getpid()))
        return True
    return False
