"""What was said in a probe: masked, bounded, in order."""

from __future__ import annotations

from unittest.mock import patch

import pytest

from exporter.config.model import HIDDEN, Server
from exporter.config.redact import Redactor
from exporter.probe.transcript import (
    STEPS_KEPT,
    TEXT_LENGTH,
    UNASKED_KEPT,
    Transcript,
    describe_headers,
)
from tests.support.fakes import FakeClock

SERVER = Server("files", "stdio", command="x", env={"KEY": "hush-hush"})


def transcript() -> Transcript:
    return Transcript(Redactor(SERVER))


def test_steps_have_their_times() -> None:
    with patch("exporter.probe.transcript.monotonic", FakeClock()) as clock:
        said = transcript()
        clock.advance(0.25)
        said.note("sent", "a")
        clock.advance(0.5)
        said.note("received", b"b")
        found = [(step.seconds, step.kind, step.text) for step in said.steps]
    assert found == [(0.25, "sent", "a"), (0.75, "received", "b")]


def test_a_step_is_masked_and_then_cut() -> None:
    said = transcript()
    said.note("received", "x" * (TEXT_LENGTH - 4) + "hush-hush" + "y" * 100)
    (step,) = said.steps
    assert "hush" not in step.text
    assert step.text.startswith("x" * (TEXT_LENGTH - 4) + HIDDEN[:4])
    assert step.text.endswith(f"… ({TEXT_LENGTH + 105} in all)")


def test_bytes_that_are_no_text_are_shown_as_well_as_can_be() -> None:
    said = transcript()
    said.note("received", b"\xff{}")
    assert said.steps[0].text == "\ufffd{}"


def test_of_what_nobody_asked_for_only_the_first_lines_are_kept() -> None:
    said = transcript()
    for number in range(1000):
        said.note_unasked("stderr", b"line %d" % number)
        said.note_unasked("noise", b"zzz")
    said.note("sent", "asked")
    steps = said.steps
    assert len(steps) == 2 * UNASKED_KEPT + 1 + 2
    assert [s.text for s in steps if s.kind == "sent"] == ["asked"]
    assert steps[-2].text == steps[-1].text == f"… {1000 - UNASKED_KEPT} more such lines"


def test_of_very_many_steps_the_first_and_the_last_are_kept() -> None:
    said = transcript()
    for number in range(1000):
        said.note("sent", f"{number}")
    steps = [step.text for step in said.steps]
    half = STEPS_KEPT // 2
    assert steps[:half] == [f"{number}" for number in range(half)]
    assert steps[half] == f"… {1000 - STEPS_KEPT} more steps"
    assert steps[half + 1 :] == [f"{number}" for number in range(1000 - half, 1000)]


@pytest.mark.parametrize("hidden", ["\x1b[2J", "\r", "\u202e", "\x07"])
def test_what_would_steer_a_terminal_is_written_out(hidden: str) -> None:
    said = transcript()
    said.note("stderr", f"a{hidden}b\nc".encode())
    assert hidden not in said.steps[0].text
    assert said.steps[0].text.endswith("b\nc")


def test_headers_are_shown_without_secrets() -> None:
    headers = [(b"Content-Type", b"x"), (b"X-Own", b"abc"), (b"Mcp-Session-Id", b"123")]
    shown = describe_headers(headers, frozenset({b"x-own"}))
    assert shown == f"Content-Type: x\nX-Own: {HIDDEN}\nMcp-Session-Id: {HIDDEN}"
