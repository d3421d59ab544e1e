"""A stdio server that misbehaves: ``python -m tests.misbehaving.stdio_server MODE``."""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from collections.abc import Callable

from tests.misbehaving import messages
from tests.misbehaving.messages import Json

SLOW_START = 1.5
"""Seconds that the slow starter takes."""

FOREVER = 3600.0

LARGE = 9 * 1024 * 1024
"""More than what is kept of a message for reading."""


def say(message: Json) -> None:
    """Send one message."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def legacy(message: Json) -> None:
    """Behaves, in the older era."""
    if "id" in message and "method" in message:
        say(messages.legacy(message))


def modern(message: Json) -> None:
    """Behaves, in the newer era."""
    if message.get("method") == "initialize":
        say(messages.error(message, -32022, "connection is serving the 2026-07-28 protocol"))
    elif "id" in message and "method" in message:
        say(messages.modern(message))


def ignores_discover(message: Json) -> None:
    """Says nothing to what it does not know."""
    if message.get("method") != "server/discover":
        legacy(message)


def exits_after_handshake(message: Json) -> None:
    """Is gone as soon as it is known."""
    legacy(message)
    if message.get("method") == "notifications/initialized":
        sys.exit(0)


def refuses(message: Json) -> None:
    """Replies to everything with an error."""
    if "id" in message:
        say(messages.error(message, -32603, "out of order"))


def silent(message: Json) -> None:
    """Says nothing."""


def garbage(message: Json) -> None:  # noqa: ARG001
    """Replies with what should be JSON."""
    sys.stdout.write('{"jsonrpc": "2.0", "id": 1, "resu\n')
    sys.stdout.flush()


def noisy(message: Json) -> None:
    """Prints what does not belong there, between its replies."""
    sys.stdout.write('Listening...\n\n[1, 2\n{"level": "info"}\n\x00\x01\n')
    legacy(message)
    sys.stdout.write("handled\n")
    sys.stdout.flush()


def asks_back(message: Json) -> None:
    """Wants to be sure of its client before it replies to ``ping``."""
    if message.get("method") == "ping":
        say({"jsonrpc": "2.0", "id": "are-you-there", "method": "ping"})
        waiting.append(message)
    elif message.get("id") == "are-you-there" and message.get("result") == {}:
        say(messages.legacy(waiting.pop()))
    else:
        legacy(message)


def text_ids(message: Json) -> None:
    """Replies with ids as text."""
    if "id" in message:
        say({**messages.legacy(message), "id": str(message["id"])})


def large(message: Json) -> None:
    """Replies to calls with more than is kept for reading."""
    if message.get("method") != "tools/call":
        return legacy(message)
    return say(messages.result(message, content=[{"type": "text", "text": "x" * LARGE}]))


def loud(message: Json) -> None:
    """Writes 4 MB to its standard error before it replies to a call."""
    if message.get("method") == "tools/call":
        for _ in range(40_000):
            os.write(2, b"x" * 99 + b"\n")
    legacy(message)


waiting: list[Json] = []


def exit_at_start() -> None:
    """Misses what it needs."""
    sys.stderr.write("WEATHER_KEY is not set\n")
    sys.exit(3)


def start_slowly() -> None:
    """Has much to do first."""
    time.sleep(SLOW_START)


def flood() -> None:
    """Writes to standard error without end."""
    line = b"x" * 100 + b"\n"

    def write() -> None:
        while True:
            os.write(2, line * 600)

    threading.Thread(target=write, daemon=True).start()


def babble() -> None:
    """Writes to standard output without end."""

    def write() -> None:
        while True:
            os.write(1, b"debug: nothing to see here\n" * 100)
            time.sleep(0.001)

    threading.Thread(target=write, daemon=True).start()


Answer = Callable[[Json], None]
MODES: dict[str, tuple[Callable[[], None] | None, Answer]] = {
    "legacy": (None, legacy),
    "modern": (None, modern),
    "ignores_discover": (None, ignores_discover),
    "exits_at_start": (exit_at_start, silent),
    "exits_after_handshake": (None, exits_after_handshake),
    "starts_slowly": (start_slowly, legacy),
    "floods_stderr": (flood, legacy),
    "babbles": (babble, legacy),
    "refuses": (None, refuses),
    "silent": (None, silent),
    "garbage": (None, garbage),
    "noisy": (None, noisy),
    "asks_back": (None, asks_back),
    "text_ids": (None, text_ids),
    "large": (None, large),
    "loud": (None, loud),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", choices=MODES)
    begin, answer = MODES[parser.parse_args().mode]
    if begin is not None:
        begin()
    for line in sys.stdin:
        answer(json.loads(line))


if __name__ == "__main__":
    main()
