"""One child process that speaks MCP over its standard streams: lines in, lines out.

A child leads a process group of its own, so that what it started ends with it. It is stopped
as the stdio transport says: close its input, wait, SIGTERM, wait, SIGKILL.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shlex
import signal
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Protocol, cast

from exporter.config.model import Server
from exporter.config.redact import Redactor
from exporter.protocol.failures import Fault, UpstreamError
from exporter.protocol.label_values import exit_reason
from exporter.transport.process import spawn
from exporter.transport.process.reaper import Reaper

INHERITED = frozenset(
    {
        "HOME",
        "LANG",
        "LC_ALL",
        "LC_CTYPE",
        "LOGNAME",
        "PATH",
        "SHELL",
        "TERM",
        "TMPDIR",
        "TZ",
        "USER",
    }
)
"""What a child gets of the exporter's environment; the rest may hold other servers' secrets."""

MAX_LINE = 256 * 1024 * 1024
MAX_UNREAD = 16 * 1024 * 1024
STOP_GRACE = 2.0
_DRAIN_TIME = 0.2
_STDERR_LINES_A_SECOND = 20
_STDERR_MOMENT = 0.1
_STDERR_BYTES_A_MOMENT = 128 * 1024

log = logging.getLogger(__name__)


class ChildOwner(Protocol):
    """Whoever talks to the child."""

    def child_said(self, line: bytes) -> None:
        """The child wrote one line."""

    def child_lost(self, error: UpstreamError) -> None:
        """The child is gone, or could not be started. Comes once, and last."""


class ProcessObserver(Protocol):
    """Where the lives of children are counted."""

    def process_started(self, pid: int) -> None:
        """A child process runs."""

    def process_stopping(self, pid: int) -> None:
        """It is about to be stopped."""

    def process_exited(self, pid: int, reason: str) -> None:
        """It has ended: ``clean``, ``error``, ``signal`` or ``killed``."""


class Child(asyncio.SubprocessProtocol):
    """A child process and its three streams."""

    def __init__(
        self,
        server: Server,
        owner: ChildOwner,
        ledger: ProcessObserver,
        reaper: Reaper,
        use: str,
        max_line: int = MAX_LINE,
    ) -> None:
        self.server = server
        self.started = monotonic()
        self._owner: ChildOwner | None = owner
        self._ledger = ledger
        self._reaper = reaper
        self._use = use
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.SubprocessTransport | None = None
        self._stdin: asyncio.WriteTransport | None = None
        self._pid = 0
        self._unsent: list[bytes] = []
        self._out = LineBuffer(max_line)
        self._err = LineBuffer(64 * 1024)
        self._mask = Redactor(server)
        self._err_size = 0
        self._quota = StderrQuota(_STDERR_LINES_A_SECOND)
        self._stopping = False
        self._exited: asyncio.Future[None] = self._loop.create_future()
        self._birth = self._loop.create_task(self._spawn())
        self._stop_task: asyncio.Task[None] | None = None
        self.on_stderr: Callable[[bytes], None] = _unheard

    def send(self, line: bytes) -> None:
        """Write one message; ``line`` has no newline."""
        if self._stdin is None:
            self._unsent.append(line)
        elif not self._stdin.is_closing():
            self._stdin.write(line + b"\n")

    @property
    def is_clogged(self) -> bool:
        """Whether the child has long stopped to read: what waits for it must not pile up."""
        if self._stdin is None:
            return sum(map(len, self._unsent)) > MAX_UNREAD
        return self._stdin.get_write_buffer_size() > MAX_UNREAD

    def pause(self, paused: bool, fd: int = 1) -> None:
        """Stop or go on reading what the child writes."""
        pipe = self._transport.get_pipe_transport(fd) if self._transport else None
        if pipe is None or pipe.is_closing():
            return
        with contextlib.suppress(RuntimeError):
            reader = cast("asyncio.ReadTransport", pipe)
            (reader.pause_reading if paused else reader.resume_reading)()

    def stop(self) -> asyncio.Task[None]:
        """Begin to end the child; its owner hears nothing more. Answers when it is over."""
        self._owner = None
        if self._stop_task is None:
            self._stop_task = self._loop.create_task(self._stop())
        return self._stop_task

    # asyncio.SubprocessProtocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The process runs."""
        self._transport = cast("asyncio.SubprocessTransport", transport)
        self._pid = self._transport.get_pid() or 0
        self._reaper.watch(self._pid)
        self._ledger.process_started(self._pid)
        self._stdin = cast("asyncio.WriteTransport", self._transport.get_pipe_transport(0))
        log.info(
            "child started", extra={"server": self.server.name, "pid": self._pid, "use": self._use}
        )
        unsent, self._unsent = self._unsent, []
        for line in unsent:
            self.send(line)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """The child wrote something."""
        if fd == 2:
            self._log_stderr(data)
            return
        for line in self._out.feed(data):
            if self._owner is not None and line.strip():
                self._owner.child_said(line)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002
        """One of the streams is closed."""
        if fd == 1 and not self._exited.done():
            # Without its output a child is of no use, whether or not it still runs.
            self._loop.call_later(_DRAIN_TIME, self._lose_output)

    def process_exited(self) -> None:
        """The process has ended; what it wrote last may still be in the pipe."""
        code = self._transport.get_returncode() if self._transport else None
        self._reaper.forget(self._pid)
        self._ledger.process_exited(self._pid, exit_reason(code, self._stopping))
        text = _describe_exit(code)
        level = logging.INFO if self._stopping or code == 0 else logging.WARNING
        extra = {"server": self.server.name, "pid": self._pid, "use": self._use}
        log.log(level, "child %s", text, extra=extra)
        if not self._exited.done():
            self._exited.set_result(None)
        self._kill_group(signal.SIGKILL)  # whatever it left behind
        self._loop.call_later(_DRAIN_TIME, self._lose, text, Fault.EXIT)

    # Inside

    async def _spawn(self) -> None:
        server = self.server
        try:
            command = [server.command or "", *server.args]
            await spawn.start(self, command, environment(server.env), server.cwd)
        except (OSError, ValueError) as error:
            if not self._exited.done():
                self._exited.set_result(None)
            self._lose(f"could not be started: {_spawn_error(server, error)}", Fault.CONNECTION)

    def _lose(self, text: str, fault: Fault) -> None:
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.child_lost(UpstreamError(text, fault))
        self.stop()

    def _lose_output(self) -> None:
        if not self._exited.done():  # else how it exited says more
            self._lose("closed its output", Fault.EXIT)

    async def _stop(self) -> None:
        self._stopping = True
        await asyncio.wait([self._birth])
        if self._pid and not self._exited.done():
            self._ledger.process_stopping(self._pid)
        if self._stdin is not None:
            self._stdin.close()
        for sign in (None, signal.SIGTERM, signal.SIGKILL):
            if sign is not None:
                self._kill_group(sign)
            await asyncio.wait([self._exited], timeout=STOP_GRACE)
            if self._exited.done():
                break
        if self._transport is not None:
            self._transport.close()

    def _kill_group(self, sign: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self._pid:
                os.killpg(self._pid, sign)

    def _slow_stderr(self, size: int) -> None:
        """Read so much of it in a moment and no more: a flood would cost the relay its time."""
        if not self._err_size:
            self._loop.call_later(_STDERR_MOMENT, self._resume_stderr)
        self._err_size += size
        if self._err_size > _STDERR_BYTES_A_MOMENT:
            self.pause(True, fd=2)

    def _resume_stderr(self) -> None:
        self._err_size = 0
        self.pause(False, fd=2)

    def _log_stderr(self, data: bytes) -> None:
        self._slow_stderr(len(data))
        for line in self._err.feed(data):
            dropped = self._quota.take(monotonic())
            if dropped is None:
                continue
            extra = {"server": self.server.name, "pid": self._pid}
            if dropped:
                log.warning("%d lines of its stderr were not logged", dropped, extra=extra)
            text = self._mask(line.decode(errors="replace"))
            log.info("stderr: %s", text[:2000], extra=extra)
            self.on_stderr(line)


class LineBuffer:
    """Cuts a stream into lines; a longer one than ``limit`` is cut there."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes; answers the lines that are now complete, without line ends."""
        head, *rest = data.split(b"\n")
        self._parts.append(head)
        self._size += len(head)
        if not rest:
            if self._size <= self._limit:
                return []
            rest = [b""]
        lines = [b"".join(self._parts), *rest[:-1]]
        self._parts = [rest[-1]] if rest[-1] else []
        self._size = len(rest[-1])
        return [line.removesuffix(b"\r") for line in lines]


class StderrQuota:
    """Lets so many lines a second into the log."""

    def __init__(self, lines_a_second: int) -> None:
        self._limit = lines_a_second
        self._second = 0.0
        self._count = 0
        self._dropped = 0

    def take(self, now: float) -> int | None:
        """May one more be logged? Answers how many were dropped before it, or ``None``."""
        if now - self._second >= 1.0:
            self._second, self._count = now, 0
        self._count += 1
        if self._count > self._limit:
            self._dropped += 1
            return None
        dropped, self._dropped = self._dropped, 0
        return dropped


def environment(own: Mapping[str, str]) -> dict[str, str]:
    """The environment of a child: a few harmless variables, and what is configured."""
    kept = {name: value for name, value in os.environ.items() if name in INHERITED}
    return {**kept, **own}


def _describe_exit(code: int | None) -> str:
    if code is None:
        return "ended"
    if code >= 0:
        return f"exited with code {code}"
    with contextlib.suppress(ValueError):
        return f"was ended by {signal.Signals(-code).name}"
    return f"was ended by signal {-code}"


def _spawn_error(server: Server, error: OSError | ValueError) -> str:
    command = shlex.quote(server.command or "")
    if isinstance(error, FileNotFoundError) and server.cwd and not os.path.isdir(server.cwd):  # noqa: PTH112
        return f"its cwd {server.cwd!r} is not a directory"
    if isinstance(error, FileNotFoundError):
        return f"the command {command} was not found on PATH"
    return f"{command}: {error}"


def _unheard(line: bytes) -> None:
    """Nobody but the log wants it."""
