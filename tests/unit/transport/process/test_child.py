"""A child process: its lines, its end, and that nothing of it is left."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine
from typing import Any, cast

import psutil
import pytest
import uvloop

from exporter.config.model import Server
from exporter.protocol.failures import Fault, UpstreamError
from exporter.transport.process import child as child_module
from exporter.transport.process import spawn
from exporter.transport.process.child import Child, environment
from exporter.transport.process.reaper import Reaper

Loop = Callable[[], asyncio.AbstractEventLoop]


class NoReaper(Reaper):
    """Watches nothing; keeps what it was told of."""

    def __init__(self) -> None:
        super().__init__()
        self.watched: list[int] = []

    def watch(self, group: int) -> None:
        self.watched.append(group)

    def forget(self, group: int) -> None:
        self.watched.remove(group)


class Owner:
    """Waits for what the child says, and for its end."""

    def __init__(self) -> None:
        self.lines: asyncio.Queue[bytes] = asyncio.Queue()
        self.lost: asyncio.Future[UpstreamError] = asyncio.get_running_loop().create_future()

    def child_said(self, line: bytes) -> None:
        assert not self.lost.done(), "the end comes last"
        self.lines.put_nowait(line)

    def child_lost(self, error: UpstreamError) -> None:
        self.lost.set_result(error)

    async def line(self) -> bytes:
        return await self.lines.get()


class Lives:
    """Keeps the lives of children."""

    def __init__(self) -> None:
        self.started: list[int] = []
        self.exits: list[str] = []
        self.unread: list[str] = []

    def process_started(self, pid: int) -> None:
        self.started.append(pid)

    def process_stopping(self, pid: int) -> None:
        assert pid in self.started

    def process_exited(self, pid: int, reason: str) -> None:
        assert pid in self.started
        self.exits.append(reason)

    def unparsed(self, reason: str) -> None:
        self.unread.append(reason)


class Setup:
    """A child that runs a shell script."""

    def __init__(self, script: str = "", server: Server | None = None, **options: Any) -> None:
        command = Server("demo", "stdio", command="/bin/sh", args=("-c", script))
        self.owner, self.lives, self.reaper = Owner(), Lives(), NoReaper()
        self.child = Child(
            server or command, self.owner, self.lives, self.reaper, "session", **options
        )

    async def pid(self) -> int:
        """The number that the script writes first."""
        return int(await self.owner.line())

    async def end(self) -> UpstreamError:
        """The end that the child comes to by itself; nothing of it is left."""
        error = await self.owner.lost
        await self.child.stop()
        assert self.reaper.watched == []
        return error

    async def stop(self) -> str:
        """Stop the child; return how it ended."""
        await self.child.stop()
        assert self.reaper.watched == []
        assert not self.owner.lost.done(), "its owner ended it, and hears no more"
        (reason,) = self.lives.exits
        return reason


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def until_gone(pid: int) -> None:
    while is_alive(pid):  # noqa: ASYNC110  no event tells of somebody else's child
        await asyncio.sleep(0.01)


@pytest.fixture(params=["asyncio", "uvloop", "uvloop's own processes"])
def loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Loop:
    if request.param == "uvloop's own processes":  # as on systems without pidfd
        monkeypatch.setattr(spawn, "_can_watch", lambda: False)
    return asyncio.new_event_loop if request.param == "asyncio" else uvloop.new_event_loop


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that does not end when it should is dealt with at once."""
    monkeypatch.setattr(child_module, "STOP_GRACE", 0.1)


def play(loop: Loop, story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        async with asyncio.timeout(20):
            await story()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(run())


# Lines


def test_lines_go_in_and_come_out_in_order(loop: Loop) -> None:
    async def story() -> None:
        setup = Setup("exec cat")
        setup.child.send(b"before it runs")
        setup.child.send(b"still")
        assert [await setup.owner.line() for _ in range(2)] == [b"before it runs", b"still"]
        setup.child.send(b"x" * 1_000_000)
        assert await setup.owner.line() == b"x" * 1_000_000
        assert await setup.stop() == "clean"

    play(loop, story)


def test_ends_of_lines_and_blank_lines_are_not_passed_on(loop: Loop) -> None:
    async def story() -> None:
        setup = Setup(r"""printf '{"a":1}\r\n\n  \r\n{"b":2}\nno end'""")
        assert [await setup.owner.line() for _ in range(2)] == [b'{"a":1}', b'{"b":2}']
        await setup.end()
        assert setup.owner.lines.empty()

    play(loop, story)


def test_the_last_words_of_a_child_are_heard_before_its_end(loop: Loop) -> None:
    async def story() -> None:
        setup = Setup("head -c 500000 /dev/zero | tr '\\0' x; echo; echo last")
        assert len(await setup.owner.line()) == 500_000
        assert await setup.owner.line() == b"last"
        assert str(await setup.end()) == "exited with code 0"

    play(loop, story)


def test_reading_can_be_paused(loop: Loop) -> None:
    async def story() -> None:
        setup = Setup("exec cat")
        setup.child.pause(True)  # nothing to pause yet
        setup.child.send(b"1")
        await setup.owner.line()
        setup.child.pause(True)
        setup.child.send(b"2")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(setup.owner.line(), 0.1)
        setup.child.pause(False)
        assert await setup.owner.line() == b"2"
        await setup.stop()
        setup.child.pause(True)

    play(loop, story)


def test_a_child_that_does_not_read_is_clogged(loop: Loop, impatient: None) -> None:  # noqa: ARG001
    async def story() -> None:
        setup = Setup("echo $$; exec sleep 60")
        setup.child.send(b"x" * (child_module.MAX_UNREAD + 1_000_000))
        assert setup.child.is_clogged
        await setup.pid()
        setup.child.send(b"x" * 100_000)
        assert setup.child.is_clogged
        await setup.stop()

    play(loop, story)


def test_lines_of_a_babbling_child_leave_others_their_turn(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each line the time is up: something else runs before the next one is read."""
    monkeypatch.setattr(child_module, "READING_TIME", -1.0)

    async def story() -> None:
        setup = Setup("seq 1 500; echo last; read line")
        turns = 0
        while await setup.owner.line() != b"last":
            turns += setup.owner.lines.empty()
            await asyncio.sleep(0)
        assert turns > 400
        assert await setup.stop() == "clean"

    play(loop, story)


def test_what_a_child_wrote_before_its_end_is_read_whole_before_it_is_lost(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_module, "READING_TIME", -1.0)

    async def story() -> None:
        setup = Setup("seq 1 20000")  # reading each in a turn of its own takes longer than its end
        await setup.end()
        assert setup.owner.lines.qsize() == 20000

    play(loop, story)


def test_a_line_that_is_too_long_is_counted_and_the_next_one_read(loop: Loop) -> None:
    async def story() -> None:
        setup = Setup("echo 1234567890; echo 12345; read line", max_line=5)
        assert await setup.owner.line() == b"12345"
        assert setup.lives.unread == ["too_large"]
        await setup.stop()

    play(loop, story)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"], indirect=True)
def test_what_a_child_has_not_read_is_known(loop: Loop) -> None:
    async def story() -> None:
        setup = Setup("echo up; read line; echo $line; exec sleep 60")
        setup.child.send(b"early")
        assert setup.child.unread == 6
        assert await setup.owner.line() == b"up"
        assert await setup.owner.line() == b"early"
        assert setup.child.unread == 0
        setup.child.send(b"x" * 99)
        assert setup.child.unread == 100
        setup.child.send(b"x" * 1_000_000)
        assert setup.child.unread == setup.child.sent - 6 == 1_000_101
        await setup.stop()
        assert setup.child.unread == 0

    play(loop, story)


def test_a_child_may_take_the_place_of_another_once_that_is_gone(loop: Loop) -> None:
    async def story() -> None:
        first = Setup("echo $$; cat; sleep 0.2")
        pid = await first.pid()
        second = Setup("echo $$; read line", after=first.child.stop())
        second.child.send(b"go")
        await second.pid()
        assert not is_alive(pid)
        await second.end()

    play(loop, story)


def test_a_child_that_waits_for_a_place_may_be_stopped(loop: Loop) -> None:
    async def story() -> None:
        first = Setup("exec cat")
        second = Setup("exec cat", after=first.child.stop())
        await second.child.stop()
        assert not second.lives.started

    play(loop, story)


class ClosedInput:
    """The pipe of a child that was quicker than its start."""

    def is_closing(self) -> bool:
        return True

    def write(self, _: bytes) -> None:
        raise RuntimeError("the handler is closed")


class Started:
    """The transport of a process."""

    def get_pid(self) -> int:
        return 4_000_000

    def get_pipe_transport(self, _: int) -> ClosedInput:
        return ClosedInput()


def test_what_waits_for_a_child_that_closed_its_input_at_once_is_dropped(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: object) -> None:
        """Leave the start to the test."""

    async def story() -> None:
        setup = Setup("exec cat")
        setup.child.send(b"too early")
        setup.child.connection_made(cast("asyncio.SubprocessTransport", Started()))
        assert setup.child.unread == 0
        assert setup.lives.started == [4_000_000]

    monkeypatch.setattr("exporter.transport.process.spawn.start", never)
    play(loop, story)


# Ends


@pytest.mark.parametrize(
    ("script", "text", "reason"),
    [
        ("exit 0", "exited with code 0", "clean"),
        ("read line; exit 3", "exited with code 3", "error"),
        ("exec <&- >&-; sleep 0.4; exit 3", "exited with code 3", "error"),
        ("kill -9 $$", "was ended by SIGKILL", "signal"),
        ("kill -TERM $$", "was ended by SIGTERM", "signal"),
        ("kill -40 $$", "was ended by", "signal"),
    ],
)
def test_a_lost_child_says_how_it_ended(loop: Loop, script: str, text: str, reason: str) -> None:
    async def story() -> None:
        setup = Setup(script)
        setup.child.send(b"go")
        error = await setup.end()
        assert text in str(error)
        assert error.fault is Fault.EXIT
        assert setup.lives.exits == [reason]
        setup.child.send(b"too late")

    play(loop, story)


@pytest.mark.parametrize(
    ("server", "text"),
    [
        (Server("a", "stdio", command="no-such-command"), "no-such-command was not found on PATH"),
        (Server("a", "stdio", command="/etc/passwd"), "Permission denied"),
        (Server("a", "stdio", command="a\0b"), "a\0b"),
        (
            Server("a", "stdio", command="/bin/sh", cwd="/no/dir"),
            "cwd '/no/dir' is not a directory",
        ),
    ],
)
def test_a_child_that_cannot_be_started_says_why(loop: Loop, server: Server, text: str) -> None:
    async def story() -> None:
        setup = Setup(server=server)
        setup.child.send(b"never read")
        error = await setup.end()
        assert str(error).startswith("could not be started: ")
        assert text in str(error)
        assert error.fault is Fault.CONNECTION
        assert not setup.lives.started
        assert not setup.lives.exits

    play(loop, story)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"], indirect=True)
@pytest.mark.parametrize(("closing", "name"), [("exec >&-", "output"), ("exec <&-", "input")])
def test_a_child_that_closes_a_stream_is_lost(
    loop: Loop,
    impatient: None,  # noqa: ARG001
    closing: str,
    name: str,
) -> None:
    """uvloop leaves its own processes a second copy of the pipe: there it is seen only at exit."""

    async def story() -> None:
        setup = Setup(f"echo $$; {closing}; exec sleep 60")
        pid = await setup.pid()
        assert str(await setup.end()) == f"closed its {name}"
        assert not is_alive(pid)

    play(loop, story)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("exec cat", "clean"),
        ("cat; exit 5", "clean"),
        ("echo $$; exec sleep 60", "clean"),
        ("trap '' TERM; echo $$; while :; do sleep 60; done", "killed"),
    ],
)
def test_a_child_is_asked_before_it_is_forced(
    loop: Loop,
    impatient: None,  # noqa: ARG001
    script: str,
    reason: str,
) -> None:
    async def story() -> None:
        setup = Setup(script)
        if "echo" in script:
            await setup.pid()
        assert await setup.stop() == reason

    play(loop, story)


def test_a_child_may_be_stopped_before_it_runs_and_more_than_once(loop: Loop) -> None:
    async def story() -> None:
        setup = Setup("exec cat")
        assert setup.child.stop() is setup.child.stop()
        assert await setup.stop() == "clean"

    play(loop, story)


@pytest.mark.parametrize("end", ["stop", "exit"])
def test_what_a_child_started_ends_with_it(loop: Loop, impatient: None, end: str) -> None:  # noqa: ARG001
    async def story() -> None:
        setup = Setup("sleep 60 & echo $!; sleep 60 >&- & echo $!; read line; exit 1")
        grandchildren = [await setup.pid(), await setup.pid()]
        assert all(map(is_alive, grandchildren))
        if end == "stop":
            await setup.stop()
        else:
            setup.child.send(b"go")
            await setup.end()
        for pid in grandchildren:
            await until_gone(pid)

    play(loop, story)


def test_a_child_leaves_no_file_open(loop: Loop) -> None:
    async def story() -> None:
        first = Setup("exec cat")
        await first.stop()
        before = psutil.Process().num_fds()
        for _ in range(5):
            setup = Setup("exec cat")
            setup.child.send(b"x")
            await setup.owner.line()
            await setup.stop()
        await asyncio.sleep(0)
        assert psutil.Process().num_fds() <= before

    play(loop, story)


# Standard error and environment


def test_stderr_is_logged_under_the_name_of_the_server(
    loop: Loop, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    async def story() -> None:
        setup = Setup("echo 'two words' >&2; echo again >&2; echo out; read line")
        await setup.owner.line()
        await setup.stop()

    play(loop, story)
    logged = [record for record in caplog.records if record.message.startswith("stderr: ")]
    assert [record.message for record in logged] == ["stderr: two words", "stderr: again"]
    assert {vars(record)["server"] for record in logged} == {"demo"}


class WithoutTimers:
    """An event loop on which nothing is put off."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        assert name not in ("call_later", "call_at")
        return getattr(self._loop, name)


def test_a_flood_on_stderr_holds_up_nothing_and_is_cut_in_the_log(
    loop: Loop, caplog: pytest.LogCaptureFixture
) -> None:
    """The child is not made to wait for what is not logged: no timer lets it go on."""
    caplog.set_level(logging.INFO)

    async def story() -> None:
        setup = Setup("yes 0123456789 | head -c 4000000 >&2; echo done; read line")
        setup.child._loop = cast("asyncio.AbstractEventLoop", WithoutTimers(setup.child._loop))
        assert await setup.owner.line() == b"done"
        setup.child._loop = asyncio.get_running_loop()
        await setup.stop()

    play(loop, story)
    assert 20 <= len([r for r in caplog.records if r.message.startswith("stderr: ")]) < 200


def test_a_child_sees_nothing_of_the_environment_that_is_not_its_own(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTHER_SECRET", "hidden")
    monkeypatch.setenv("LANG", "C.UTF-8")

    async def story() -> None:
        server = Server(
            "demo", "stdio", command="/bin/sh", args=("-c", "env; echo END"), env={"TOKEN": "mine"}
        )
        setup = Setup(server=server)
        seen = set()
        while (line := await setup.owner.line()) != b"END":
            seen.add(line.partition(b"=")[0])
        await setup.end()
        assert b"OTHER_SECRET" not in seen
        assert {b"TOKEN", b"LANG", b"PATH"} <= seen

    play(loop, story)


def test_what_is_configured_goes_before_what_is_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/bin")
    assert environment({"PATH": "/mine", "X": "y"})["PATH"] == "/mine"
    assert environment({})["PATH"] == os.environ["PATH"]
