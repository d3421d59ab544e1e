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
from array import array
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Protocol, cast

from exporter.config.model import Server
from exporter.config.redact import Redactor
from exporter.protocol.failures import Fault, UpstreamError
from exporter.protocol.label_values import exit_reason
from exporter.protocol.lines import LineCutter
from exporter.transport.process import spawn
from exporter.transport.process.reaper import Reaper
from exporter.transport.process.stderr import StderrLog, StderrReader

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
READING_TIME = 0.002
"""Seconds for which lines of one child are read before others have their turn."""
_DRAIN_TIME = 0.2
_LEAVING_TIME = 1.0
"""Seconds that a process which is about to exit may go on without its streams: how it exits says
more, and on a busy machine comes late."""

log = logging.getLogger(__name__)


class ChildOwner(Protocol):
    """What a child's messages are for."""

    def child_said(self, line: bytes) -> None:
        """The child wrote one line."""

    def child_lost(self, error: UpstreamError) -> None:
        """The child is gone, or could not be started. Comes once, and last."""


class ProcessObserver(Protocol):
    """Counts starts and exits of children."""

    def process_started(self, pid: int) -> None:
        """A child process runs."""

    def process_stopping(self, pid: int) -> None:
        """It is about to be stopped."""

    def process_exited(self, pid: int, reason: str) -> None:
        """It has ended: ``clean``, ``error``, ``signal`` or ``killed``."""

    def unparsed(self, reason: str) -> None:
        """It wrote what is not read."""


class Child(asyncio.SubprocessProtocol):
    """A child process and its three streams.

    ``on_stderr`` is called with each line that it writes there. ``after`` is awaited before it
    starts: the end of the one whose place it takes.
    """

    def __init__(
        self,
        server: Server,
        owner: ChildOwner,
        processes: ProcessObserver,
        reaper: Reaper,
        use: str,
        max_line: int = MAX_LINE,
        *,
        stderr_log: StderrLog | None = None,
        on_stderr: Callable[[bytes], None] | None = None,
        after: asyncio.Task[None] | None = None,
    ) -> None:
        self.server = server
        self.started = monotonic()
        self._owner: ChildOwner | None = owner
        self._processes = processes
        self._reaper = reaper
        self._use = use
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.SubprocessTransport | None = None
        self._stdin: asyncio.WriteTransport | None = None
        self._pid = 0
        self._unsent: list[bytes] = []
        self.sent = 0
        """Bytes that were sent to it, read or not."""
        self._lines = LineCutter(max_line)
        self._stderr = StderrReader(stderr_log or StderrLog(server))
        self._is_held = False
        self._is_behind = False
        self._is_paused = False
        self._stopping = False
        self._exited: asyncio.Future[None] = self._loop.create_future()
        self._birth = self._loop.create_task(self._spawn(after))
        self._stop_task: asyncio.Task[None] | None = None
        self._on_stderr = on_stderr
        """Called with each line of stderr that is logged."""

    def send(self, line: bytes) -> None:
        """Write one message; ``line`` has no newline."""
        self.sent += len(line) + 1
        if self._stdin is None:
            self._unsent.append(line + b"\n")
        elif not self._stdin.is_closing():
            self._stdin.write(line + b"\n")

    @property
    def unread(self) -> int:
        """Bytes that were sent, and that the child has not read yet."""
        if self._stdin is None:
            return sum(map(len, self._unsent))
        if self._stdin.is_closing():
            return 0
        return self._stdin.get_write_buffer_size() + _unread_in(self._stdin)

    @property
    def is_clogged(self) -> bool:
        """Whether the child has long stopped to read: what waits for it must not pile up."""
        if self._stdin is None:
            return self.unread > MAX_UNREAD
        return self._stdin.get_write_buffer_size() > MAX_UNREAD

    def pause(self, paused: bool) -> None:
        """Stop or go on reading what the child writes."""
        self._is_held = paused
        self._hold()

    def lose(self, text: str, fault: Fault) -> None:
        """Give the child up: its owner is told, and the child stopped."""
        owner, self._owner = self._owner, None
        if owner is not None:
            if not self._exited.done():  # else its exit is in the log
                extra = {"server": self.server.name, "pid": self._pid, "use": self._use}
                log.warning("child %s", text, extra=extra)
            owner.child_lost(UpstreamError(text, fault))
        self.stop()

    def stop(self) -> asyncio.Task[None]:
        """Begin to end the child, and return what ends with it; its owner is not called again."""
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
        self._processes.process_started(self._pid)
        self._stdin = cast("asyncio.WriteTransport", self._transport.get_pipe_transport(0))
        log.info(
            "child started", extra={"server": self.server.name, "pid": self._pid, "use": self._use}
        )
        if self._unsent and not self._stdin.is_closing():  # it may have closed it at once
            self._stdin.write(b"".join(self._unsent))
        self._unsent.clear()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """The child wrote something."""
        if fd == 2:
            for line in self._stderr.read(data, self._pid):
                if self._on_stderr is not None:
                    self._on_stderr(line)
            return
        whole = self._lines.whole(data)  # most often it is, and that costs least
        if whole is None:
            self._lines.feed(data)
            if not self._is_behind:
                self._read_lines()
        elif whole and self._owner is not None and not whole.isspace():
            self._owner.child_said(whole)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002
        """One of the streams is closed."""
        if fd < 2 and not self._exited.done():
            # Without them a child is of no use, whether or not it still runs.
            text = "closed its output" if fd else "closed its input"
            self._loop.call_later(_LEAVING_TIME, self._lose_stream, text)

    def process_exited(self) -> None:
        """The process has ended; what it wrote last may still be in the pipe."""
        code = self._transport.get_returncode() if self._transport else None
        self._reaper.forget(self._pid)
        self._processes.process_exited(self._pid, exit_reason(code, self._stopping))
        text = _describe_exit(code)
        level = logging.INFO if self._stopping or code == 0 else logging.WARNING
        extra = {"server": self.server.name, "pid": self._pid, "use": self._use}
        log.log(level, "child %s", text, extra=extra)
        if not self._exited.done():
            self._exited.set_result(None)
        self._kill_group(signal.SIGKILL)  # whatever it left behind
        until = monotonic() + STOP_GRACE
        self._loop.call_later(_DRAIN_TIME, self._lose_when_read, text, until)

    # Inside

    async def _spawn(self, after: asyncio.Task[None] | None) -> None:
        server = self.server
        if after is not None:
            await asyncio.wait([after])
            if self._stop_task is not None:  # it is not needed any more
                self._exited.set_result(None)
                return
        try:
            command = [server.command or "", *server.args]
            await spawn.start(self, command, environment(server.env), server.cwd)
        except (OSError, ValueError) as error:
            if not self._exited.done():
                self._exited.set_result(None)
            reason = Redactor(server)(_spawn_error(server, error))
            self.lose(f"could not be started: {reason}", Fault.CONNECTION)

    def _read_lines(self) -> None:
        """Read lines for a while; what is left is read when others have had their turn."""
        self._is_behind = False
        end = monotonic() + READING_TIME
        for line in self._lines:
            if self._owner is None:
                return
            if line is None:
                self._processes.unparsed("too_large")
            elif line and not line.isspace():
                self._owner.child_said(line)
            if monotonic() > end:
                self._is_behind = True
                self._loop.call_soon(self._read_lines)
                break
        self._hold()

    def _hold(self) -> None:
        """Read its output, or let it wait."""
        paused = self._is_held or self._is_behind
        if paused is self._is_paused or self._transport is None:
            return
        pipe = self._transport.get_pipe_transport(1)
        if pipe is None or pipe.is_closing():
            return
        self._is_paused = paused
        with contextlib.suppress(RuntimeError):
            reader = cast("asyncio.ReadTransport", pipe)
            (reader.pause_reading if paused else reader.resume_reading)()

    def _lose_when_read(self, text: str, until: float) -> None:
        """Give the child up once its last output is read; a pipe that another process keeps open
        and goes on writing to is waited for ``until`` then."""
        is_more = self._is_behind or (monotonic() < until and self._unread_output() > 0)
        if is_more and self._owner is not None:
            self._loop.call_later(_DRAIN_TIME, self._lose_when_read, text, until)
        else:
            self.lose(text, Fault.EXIT)

    def _unread_output(self) -> int:
        pipe = self._transport.get_pipe_transport(1) if self._transport is not None else None
        return 0 if pipe is None or pipe.is_closing() else _unread_in(pipe)

    def _lose_stream(self, text: str) -> None:
        if not self._exited.done():  # else how it exited says more
            self.lose(text, Fault.EXIT)

    async def _stop(self) -> None:
        self._stopping = True
        await asyncio.wait([self._birth])
        if self._pid and not self._exited.done():
            self._processes.process_stopping(self._pid)
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


def environment(own: Mapping[str, str]) -> dict[str, str]:
    """The environment of a child: a few variables without secrets, and what is configured."""
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


def _unread_in(pipe: asyncio.BaseTransport) -> int:
    """Bytes in the pipe itself; 0 where the system does not say."""
    file = pipe.get_extra_info("pipe")
    size = array("i", [0])
    with contextlib.suppress(ImportError, OSError, ValueError, AttributeError):
        import fcntl
        import termios

        fcntl.ioctl(file.fileno(), termios.FIONREAD, size)
    return size[0]


def _spawn_error(server: Server, error: OSError | ValueError) -> str:
    command = shlex.quote(server.command or "")
    if isinstance(error, FileNotFoundError) and server.cwd and not os.path.isdir(server.cwd):  # noqa: PTH112
        return f"its cwd {server.cwd!r} is not a directory"
    if isinstance(error, FileNotFoundError):
        return f"the command {command} was not found on PATH"
    return f"{command}: {error}"
