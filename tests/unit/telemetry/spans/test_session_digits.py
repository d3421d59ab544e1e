"""Sessions are told apart, and their ids are not given away."""

from __future__ import annotations

import subprocess
import sys

from exporter.telemetry.spans.session_digits import session_digits

SAY = "from exporter.telemetry.spans.session_digits import *; print(session_digits(b'key'))"


def test_a_session_has_its_digits_and_no_other_one_has_them() -> None:
    first, again, other = (session_digits(each) for each in (b"key", b"key", b"kez"))
    assert first == again != other
    assert len(bytes.fromhex(first)) == 8


def test_another_process_has_other_ones() -> None:
    said = subprocess.run([sys.executable, "-c", SAY], check=True, capture_output=True, text=True)
    assert said.stdout.strip() != session_digits(b"key")
    assert len(said.stdout.strip()) == 16
