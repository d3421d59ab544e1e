"""Every process that the demo starts ends with it, whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from demo.interrupt import EndAskedError, Interrupt
from demo.processes import Part, PartError, Processes

pytestmark = pytest.mark.e2e

SLEEPS = "import time; time.sleep(600)"
FORKS = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', '{SLEEPS}']);"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);"


@pytest.fixture
def interrupt() -> Iterator[Interrupt]:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    # A test run in the background ignores some of these, and what is ignored stays so.
    before = {number: signal.signal(number, signal.SIG_DFL) for number in numbers}
    yield Interrupt()
    signal.set_wakeup_fd(-1)
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def processes(tmp_path: Path, interrupt: Interrupt) -> Processes:
    return Processes(tmp_path, tmp_path / "logs", interrupt)


def _part(program: str, is_ready: Callable[[], bool] = lambda: True, name: str = "a part") -> Part:
    return Part(name, [sys.executable, "-c", program], is_ready, seconds_to_start=10)


def _eventually(condition: Callable[[], bool], within: float = 10) -> None:
    given_up = time.monotonic() + within
    while not condition():
        assert time.monotonic() < given_up
        time.sleep(0.02)


def _is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_leaving_ends_a_part_and_what_it_started(processes: Processes) -> None:
    with processes:
        processes.start(_part(FORKS + SLEEPS))
        head = processes.pid("a part")
        _eventually(lambda: bool(psutil.Process(head).children()))
        (child,) = psutil.Process(head).children()
    assert _is_gone(head)
    _eventually(lambda: _is_gone(child.pid))


def test_a_part_that_ignores_the_polite_signal_is_killed(
    processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("demo.processes.SECONDS_TO_END", 0.2)
    ready = tmp_path / "ready"
    with processes:
        processes.start(_part(f"{STUBBORN} open({str(ready)!r}, 'w'); {SLEEPS}", ready.exists))
        head = processes.pid("a part")
    assert _is_gone(head)


def test_the_last_part_started_is_the_first_to_end(processes: Processes, tmp_path: Path) -> None:
    ends = tmp_path / "ends"
    for name in ("first", "second"):
        (tmp_path / name).unlink(missing_ok=True)
    program = (
        "import signal, sys, time\n"
        "def end(*_): open({ends!r}, 'a').write({name!r} + ' '); sys.exit()\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "open({name!r}, 'w')\n"
        "time.sleep(600)"
    )
    with processes:
        for name in ("first", "second"):
            source = program.format(ends=str(ends), name=name)
            processes.start(_part(source, (tmp_path / name).exists, name))
    assert ends.read_text() == "second first "


def test_a_part_that_fails_at_its_start_is_told_with_the_end_of_its_log(
    processes: Processes,
) -> None:
    with processes, pytest.raises(PartError) as error:
        processes.start(_part("import sys; sys.exit('no such flag')", lambda: False))
    assert "a part ended at its start, with exit code 1" in str(error.value)
    assert "no such flag" in str(error.value)
    assert "a-part.log" in str(error.value)


def test_a_part_that_is_never_ready_is_given_up_and_ended(processes: Processes) -> None:
    part = Part("slow", [sys.executable, "-c", SLEEPS], lambda: False, seconds_to_start=0.3)
    with processes:
        with pytest.raises(PartError, match="slow was not ready within"):
            processes.start(part)
        head = processes.pid("slow")
    assert _is_gone(head)


def test_a_program_that_does_not_exist_leaves_the_others_to_be_ended(processes: Processes) -> None:
    with processes:
        processes.start(_part(SLEEPS))
        head = processes.pid("a part")
        with pytest.raises(PartError, match=r"missing could not be started: .*No such file"):
            processes.start(Part("missing", ["/nonexistent/program"], lambda: True))
    assert _is_gone(head)


def test_the_wish_to_end_is_heard_while_a_part_starts(processes: Processes) -> None:
    def is_ready() -> bool:
        os.kill(os.getpid(), signal.SIGTERM)
        return False

    with processes:
        with pytest.raises(EndAskedError):
            processes.start(_part(SLEEPS, is_ready))
        head = processes.pid("a part")
    assert _is_gone(head)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_wish_that_came_earlier_is_not_forgotten(
    interrupt: Interrupt, number: signal.Signals
) -> None:
    interrupt.wait(0)
    os.kill(os.getpid(), number)
    with pytest.raises(EndAskedError):
        interrupt.wait(0)
    with pytest.raises(EndAskedError):
        interrupt.wait(10)


def test_a_signal_that_is_ignored_stays_so(interrupt: Interrupt) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    Interrupt()
    os.kill(os.getpid(), signal.SIGHUP)
    interrupt.wait(0)


def test_a_part_that_ends_by_itself_is_waited_for(processes: Processes, tmp_path: Path) -> None:
    with processes:
        processes.run(_part("open('done', 'w')"), within=10)
    assert (tmp_path / "done").exists()


def test_a_step_that_fails_is_told(processes: Processes) -> None:
    with processes, pytest.raises(PartError, match="a part failed, with exit code 3"):
        processes.run(_part("import sys; sys.exit(3)"), within=10)


def test_a_step_that_hangs_is_given_up_and_ended(processes: Processes) -> None:
    with processes:
        with pytest.raises(PartError, match="did not end within"):
            processes.run(_part(SLEEPS), within=0.3)
        head = processes.pid("a part")
    assert _is_gone(head)


def test_what_a_part_that_died_leaves_behind_is_ended_with_it(processes: Processes) -> None:
    with processes:
        processes.start(_part(FORKS + SLEEPS))
        head = processes.pid("a part")
        _eventually(lambda: bool(psutil.Process(head).children()))
        (child,) = psutil.Process(head).children()
        os.kill(head, signal.SIGKILL)
        _eventually(lambda: bool(processes.take_ended()))
        _eventually(lambda: _is_gone(child.pid))


def test_what_ended_is_told_once_and_how(processes: Processes) -> None:
    with processes:
        processes.start(_part(SLEEPS))
        assert processes.take_ended() == {}
        os.kill(processes.pid("a part"), signal.SIGKILL)
        ended: dict[str, str] = {}
        _eventually(lambda: bool(ended) or bool(ended.update(processes.take_ended())))
        assert ended == {"a part": "by SIGKILL"}
        assert processes.take_ended() == {}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's end")
def test_a_demo_that_is_killed_outright_leaves_nothing(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path\n"
        "from demo.interrupt import Interrupt; from demo.processes import Part, Processes\n"
        "processes = Processes(Path('.'), Path(sys.argv[1]), Interrupt())\n"
        f"processes.start(Part('p', [sys.executable, '-c', {SLEEPS!r}], lambda: True))\n"
        "print(processes.pid('p'), flush=True); time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as demo:
        assert demo.stdout is not None
        head = int(demo.stdout.readline())
        demo.kill()
    _eventually(lambda: _is_gone(head))
