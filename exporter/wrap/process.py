"""Relays bytes between a desktop client and its stdio server, and has a copy of them read.

The child starts first and the bytes begin to flow; only then is loaded what understands them, so
that a client hardly notices the start. Copying needs nothing from observation, and never waits
for it.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
from threading import Event, Lock, Thread
from time import monotonic

from exporter.wrap import unix_socket

TYPE_CHECKING = False  # typing alone takes milliseconds to load
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

    from exporter.wrap.reader import CopyReader

CHUNK = 64 * 1024

DRAIN_TIME = 0.5
"""Seconds in which a child's last output is copied after its end; a process that it left behind
may hold its output open for ever."""

START_TIME = 1.0
"""Seconds after which the reader is loaded though the server has written nothing."""

_MANY = 16

REPORT_TIME = 0.25
"""Seconds in which the last observations are reported."""

FORWARDED = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")

SOCKET_FLAG = "--wrap.socket"
SOCKET_VARIABLE = "MCP_EXPORTER_WRAP_SOCKET"

HELP = """\
usage: mcp-exporter wrap [--wrap.socket PATH] [NAME] -- COMMAND ARGUMENTS

Runs a stdio server as it is, and tells the running exporter what its client asks of it. Without
an exporter it only runs the server. NAME is the label of its metrics (default: the program's).

  --wrap.socket PATH  where the exporter listens (also MCP_EXPORTER_WRAP_SOCKET); "": nowhere

Example, in a client's configuration:
  {"command": "mcp-exporter", "args": ["wrap", "time", "--", "uvx", "mcp-server-time"]}
"""

_RUNNER = r"bash|bunx?|cmd|deno|env|exec|node|npm|npx|pipx|python[0-9.]*|run|sh|tool|uvx?"

_KILL_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux


def main(argv: Sequence[str]) -> int:
    """``wrap [NAME] -- COMMAND ARGS…``; return the exit code."""
    if "--" not in argv:
        return _complain(argv)
    at = argv.index("--")
    own, command = list(argv[:at]), argv[at + 1 :]
    path = os.environ.get(SOCKET_VARIABLE)
    if own[:1] == [SOCKET_FLAG] and len(own) > 1:
        path, own = own[1], own[2:]
    elif own and own[0].startswith(f"{SOCKET_FLAG}="):
        path, own = own[0].partition("=")[2], own[1:]
    if len(own) > 1 or not command or (own and own[0].startswith("-")):
        return _complain(own)
    name = own[0] if own else name_of(command)
    return run(name, command, unix_socket.default_path() if path is None else path)


def name_of(command: Sequence[str]) -> str:
    """Name a server after its program, behind those that only run it (``npx``, ``uv run``)."""
    import re

    words = [word for word in command if not word.startswith("-")] or list(command)
    while len(words) > 1 and re.fullmatch(_RUNNER, _base(words[0])):
        del words[0]
    return _base(words[0])


def _base(word: str) -> str:
    import re

    name = word.replace("\\", "/").rstrip("/").rpartition("/")[2]
    return re.sub(r"\.(exe|cmd|bat|js|mjs|cjs|py|ts)$|(?<=.)@[^@]*$", "", name) or word


def _complain(own: Sequence[str]) -> int:
    if "-h" in own or "--help" in own:
        sys.stdout.write(HELP)
        return 0
    sys.stderr.write(
        "mcp-exporter: wrap: write it as: mcp-exporter wrap [NAME] -- COMMAND ARGUMENTS; "
        "for example: mcp-exporter wrap files -- npx -y @modelcontextprotocol/server-filesystem .\n"
    )
    return 2


def run(server: str, command: Sequence[str], socket_path: str) -> int:
    """Run the command, copy until it ends; return its exit code, or end by its signal."""
    sys.setswitchinterval(0.0001)  # the threads that copy go before the one that loads and tells
    try:
        child = _spawn(command)
    except OSError as error:
        reason = error.strerror or str(error)
        sys.stderr.write(f"mcp-exporter: wrap: cannot start {command[0]!r}: {reason.lower()}\n")
        return 127 if isinstance(error, FileNotFoundError) else 126
    forwarded = _forward_signals(child.pid)
    copies = _Copies()
    assert child.stdin is not None  # noqa: S101
    assert child.stdout is not None  # noqa: S101
    up = Thread(target=_copy, args=(0, child.stdin.fileno(), copies, True), daemon=True)
    down = Thread(target=_copy, args=(child.stdout.fileno(), 1, copies, False), daemon=True)
    up.start()
    down.start()
    copies.has_started.wait(START_TIME)
    reader = _start_reader(server, child.pid, socket_path, copies)
    code = child.wait()
    down.join(DRAIN_TIME)
    if reader is not None:
        reader.end(code, bool(forwarded), REPORT_TIME)
    return _end_like(code)


class _Copies:
    """Hands copies to the reader, and keeps them until there is one."""

    def __init__(self) -> None:
        self.has_started = Event()
        """The server has written something: loading the reader no longer delays its start."""
        self._lock = Lock()
        self._early: list[tuple[bytes, float, bool]] | None = []
        self._reader: CopyReader | None = None

    def take(self, data: bytes, now: float, to_server: bool) -> None:
        """One side wrote this; no bytes: it has ended."""
        if self._reader is not None:
            self._reader.take(data, now, to_server)
        else:
            self._keep(data, now, to_server)

    def copied(self, size: int) -> None:
        """So many bytes have been copied; this is a good time to read them."""
        if self._reader is not None:
            self._reader.copied(size)

    def hand_to(self, reader: CopyReader | None) -> None:
        """Pass copies to this reader from now on; to none, they are dropped."""
        with self._lock:
            for data, now, to_server in self._early or ():
                if reader is not None:
                    reader.take(data, now, to_server)
            self._early = None
            self._reader = reader

    def _keep(self, data: bytes, now: float, to_server: bool) -> None:
        with self._lock:
            if self._early is not None:
                self._early.append((data, now, to_server))
                if not to_server or len(self._early) > _MANY:
                    self.has_started.set()
                return
        if self._reader is not None:
            self._reader.take(data, now, to_server)


def _start_reader(server: str, pid: int, socket_path: str, copies: _Copies) -> CopyReader | None:
    reader = None
    try:
        from exporter.wrap.reader import CopyReader

        reader = CopyReader(server, pid, socket_path)
        reader.start()
    except Exception:  # noqa: BLE001  the client wants its server, observed or not
        reader = None
    copies.hand_to(reader)
    return reader


def _copy(source: int, sink: int, copies: _Copies, to_server: bool) -> None:
    """Copy until one side is closed, then close the other."""
    with contextlib.suppress(OSError):
        while data := _read(source):
            copies.take(data, monotonic(), to_server)  # first: the reply may be quicker than we are
            _write(sink, data)
            copies.copied(len(data))
    copies.take(b"", monotonic(), to_server)
    for side in (source, sink):
        _close(side)


def _read(source: int) -> bytes:
    while True:
        try:
            return os.read(source, CHUNK)
        except BlockingIOError:  # the client made it so
            select.select([source], [], [])


def _write(sink: int, data: bytes) -> None:
    left: bytes | memoryview = data
    while left:
        try:
            written = os.write(sink, left)
        except BlockingIOError:
            select.select([], [sink], [])
            continue
        if written == len(left):
            return
        left = memoryview(left)[written:]


def _close(side: int) -> None:
    """Close a side so that its number is not given to something else."""
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, side)
    os.close(nothing)


def _spawn(command: Sequence[str]) -> subprocess.Popen[bytes]:
    # What else is open is the client's gift to its server, and stays open.
    return subprocess.Popen(
        _found(command),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
        close_fds=False,
        preexec_fn=_dying_with_us(),
    )


def _found(command: Sequence[str]) -> list[str]:
    """The command as the system can start it."""
    if sys.platform != "win32":
        return list(command)
    import shutil  # of ``npx`` there is only an ``npx.cmd``, which Windows itself does not look for

    return [shutil.which(command[0]) or command[0], *command[1:]]


def _dying_with_us() -> Callable[[], object] | None:
    """Kills the child where this process is killed: a client that kills its server means it."""
    if sys.platform != "linux":
        return None
    try:
        import ctypes

        prctl = ctypes.CDLL(None).prctl
    except (ImportError, OSError, AttributeError):
        return None
    return lambda: prctl(_KILL_WITH_PARENT, signal.SIGKILL)


def _forward_signals(pid: int) -> list[int]:
    """Pass signals on to the child; return the list of those that were.

    A thread reads their numbers from a pipe: Python's own handlers run when the main thread wakes
    up, and a signal that comes just before it begins to wait for the child does not wake it.
    """
    forwarded: list[int] = []
    if os.name != "posix":
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a console tells the child as well
        return forwarded
    arrived, tell = os.pipe()
    os.set_blocking(tell, False)
    signal.set_wakeup_fd(tell, warn_on_full_buffer=False)

    def forward() -> None:
        while signs := os.read(arrived, CHUNK):
            for sign in signs:
                forwarded.append(sign)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, sign)

    Thread(target=forward, daemon=True).start()
    # What a terminal sends, it sends to the child as well.
    alone = {"SIGINT", "SIGQUIT", "SIGHUP"} if os.isatty(0) else set()
    for name in FORWARDED:
        sign = getattr(signal, name, None)
        if sign is not None and signal.getsignal(sign) is not signal.SIG_IGN:
            signal.signal(sign, signal.SIG_IGN if name in alone else _noted)
    return forwarded


def _noted(sign: int, frame: FrameType | None) -> None:
    """Its number is in the pipe already."""


def _end_like(code: int) -> int:
    """End as the child ended; return the code where this process cannot end so."""
    sys.stderr.flush()
    if code < 0:
        with contextlib.suppress(OSError, ValueError):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
        os._exit(128 - code)
    os._exit(code)  # a thread may still wait for the client's next word
