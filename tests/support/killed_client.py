"""A client to be killed: ``python -m tests.support.killed_client URL SESSIONS``.

It opens that many sessions. Some of them wait for a reply, some listen, some do nothing; it says
when it has opened them.
"""

from __future__ import annotations

import contextlib
import sys
import time

from tests.support.raw_client import (
    call,
    legacy,
    modern,
    modern_call,
    open_reply,
    open_session,
    sent,
)


def main(url: str, sessions: int) -> None:
    """Open the sessions, and stay."""
    with contextlib.ExitStack() as stack:
        for number in range(sessions):
            session = open_session(url)
            if number % 3 == 0:
                stack.enter_context(sent(url, call(1, "wait"), legacy(session)))
            elif number % 3 == 1:
                stack.enter_context(open_reply(url, None, legacy(session), "GET"))
        headers = modern("tools/call", "act")
        stack.enter_context(sent(url, modern_call(1, "wait"), headers))
        print("all are open", flush=True)
        time.sleep(3600)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
