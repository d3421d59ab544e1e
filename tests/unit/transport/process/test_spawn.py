"""A process on three pipes: what its protocol is told, and what is left where it fails."""

from __future__ import annotations

import asyncio
import errno
import os
from typing import IO, Any, NoReturn

import psutil
import pytest
import uvloop

from exporter.transport.process import spawn

ENVIRONMENT = {"PATH": os.environ["PATH"]}


class Witness(asyncio.SubprocessProtocol):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.transport: asyncio.SubprocessTransport
        self.said = {1: b"", 2: b""}
        self.ended = asyncio.Event()
        self.closed = {fd: asyncio.Event() for fd in range(3)}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.SubprocessTransport)
        self.transport = transport

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self.said[fd] += data

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        assert exc is None
        self.closed[fd].set()

    def process_exited(self) -> None:
        self.ended.set()


class OnePipe:
    """A pipe as a loop is given it; notes when its file is closed after its descriptor was."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self.descriptor = pipe.fileno()
        self.closed_twice = False

    def fileno(self) -> int:
        return self._pipe.fileno()

    def close(self) -> None:
        try:
            self._pipe.close()
        except OSError:
            self.closed_twice = True


def watched(kind: type[asyncio.AbstractEventLoop]) -> type[Any]:
    """A kind of loop that keeps the pipes that it is given."""

    class Watched(kind):  # type: ignore[misc,valid-type]
        pipes: list[OnePipe]

        async def connect_read_pipe(self, protocol_factory: Any, pipe: Any) -> Any:
            self.pipes.append(OnePipe(pipe))
            return await super().connect_read_pipe(protocol_factory, self.pipes[-1])

        async def connect_write_pipe(self, protocol_factory: Any, pipe: Any) -> Any:
            self.pipes.append(OnePipe(pipe))
            return await super().connect_write_pipe(protocol_factory, self.pipes[-1])

    return Watched


LOOPS = [asyncio.SelectorEventLoop, uvloop.Loop]


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


async def run(script: str, seconds: float = 20) -> Witness:
    witness = Witness()
    await spawn.start(witness, ["sh", "-c", script], ENVIRONMENT, None)
    async with asyncio.timeout(seconds):
        for event in (witness.ended, witness.closed[1], witness.closed[2]):
            await event.wait()
    return witness


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize(("script", "code"), [("exit 7", 7), ("kill -9 $$", -9), ("true", 0)])
def test_its_words_and_its_end_are_told(
    factory: type[asyncio.AbstractEventLoop], script: str, code: int
) -> None:
    with asyncio.Runner(loop_factory=factory) as runner:
        witness = runner.run(run(f"echo out; echo err >&2; {script}"))
        assert witness.said == {1: b"out\n", 2: b"err\n"}
        assert witness.transport.get_returncode() == code
        witness.transport.close()


@pytest.mark.parametrize("kind", LOOPS)
def test_each_descriptor_is_closed_once(kind: type[asyncio.AbstractEventLoop]) -> None:
    """Another thread may have been given its number by the time it is closed again."""
    loop = watched(kind)()
    loop.pipes = []
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(run_and_close())  # the loops open some of their own with the first
        before = psutil.Process().num_fds()
        runner.run(run_and_close())
        assert len(loop.pipes) == 6
        assert not any(pipe.closed_twice for pipe in loop.pipes)
        assert not any(is_open(pipe.descriptor) for pipe in loop.pipes)
        assert psutil.Process().num_fds() == before


async def run_and_close() -> None:
    witness = await run("echo out")
    witness.transport.close()
    for _ in range(3):  # the loops close a pipe in one of their next turns
        await asyncio.sleep(0)


@pytest.mark.parametrize("kind", LOOPS)
@pytest.mark.parametrize("failing", ["connect_write_pipe", "connect_read_pipe"])
def test_a_process_whose_pipes_cannot_be_watched_is_not_left_behind(
    kind: type[asyncio.AbstractEventLoop], failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = watched(kind)()
    loop.pipes = []

    connect = getattr(loop, failing)

    async def fail(*arguments: object) -> NoReturn:
        transport, _ = await connect(*arguments)
        transport.close()  # as the loops do where a pipe cannot be watched
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    async def try_it() -> None:
        with pytest.raises(OSError, match="Cannot allocate"):
            await spawn.start(Witness(), ["sleep", "60"], ENVIRONMENT, None)
        for _ in range(3):
            await asyncio.sleep(0)

    before = psutil.Process().children()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(run_and_close())
        open_before = psutil.Process().num_fds()
        monkeypatch.setattr(loop, failing, fail)
        runner.run(try_it())
        assert psutil.Process().children() == before
        assert psutil.Process().num_fds() == open_before


def test_its_streams_are_pipes_and_its_session_its_own() -> None:
    script = (
        "for fd in 0 1 2; do readlink /proc/$$/fd/$fd; done; cut -d' ' -f6 /proc/$$/stat; echo $$"
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        witness = runner.run(run(script))
    *pipes, session, pid = witness.said[1].decode().split()
    assert [pipe.partition(":")[0] for pipe in pipes] == ["pipe"] * 3
    assert session == pid


@pytest.mark.parametrize("what", ["os.pidfd_open", "exporter.transport.process.spawn.keep_reserve"])
def test_a_process_that_there_are_no_descriptors_for_is_not_left_behind(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert spawn._can_watch()

    def full(*_: object) -> NoReturn:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(what, full)
    before, open_before = psutil.Process().children(), psutil.Process().num_fds()

    async def try_it() -> None:
        with pytest.raises(OSError, match="Too many"):
            await spawn.start(Witness(), ["sleep", "60"], ENVIRONMENT, None)

    asyncio.run(try_it())
    assert psutil.Process().children() == before
    assert psutil.Process().num_fds() == open_before
