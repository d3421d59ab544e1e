"""A process on three pipes: what its protocol is told, and what is left where it fails."""

from __future__ import annotations

import asyncio
import errno
import os
from typing import NoReturn

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
        self.closed = {1: asyncio.Event(), 2: asyncio.Event()}

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


async def run(script: str, seconds: float = 20) -> Witness:
    witness = Witness()
    await spawn.start(witness, ["sh", "-c", script], ENVIRONMENT, None)
    async with asyncio.timeout(seconds):
        for event in (witness.ended, *witness.closed.values()):
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


def test_its_streams_are_pipes_and_its_session_its_own() -> None:
    script = (
        "for fd in 0 1 2; do readlink /proc/$$/fd/$fd; done; cut -d' ' -f6 /proc/$$/stat; echo $$"
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        witness = runner.run(run(script))
    *pipes, session, pid = witness.said[1].decode().split()
    assert [pipe.partition(":")[0] for pipe in pipes] == ["pipe"] * 3
    assert session == pid


def test_a_process_that_cannot_be_watched_is_not_left_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert spawn._can_watch()

    def full(*_: object) -> NoReturn:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "pidfd_open", full)
    before, open_before = psutil.Process().children(), psutil.Process().num_fds()

    async def try_it() -> None:
        with pytest.raises(OSError, match="Too many"):
            await spawn.start(Witness(), ["sleep", "60"], ENVIRONMENT, None)

    asyncio.run(try_it())
    assert psutil.Process().children() == before
    assert psutil.Process().num_fds() == open_before
