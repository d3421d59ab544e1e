"""A stdio server that does what each call tells it to: ``python -I -S scripted_stdio_server.py``.

It stands on few modules of the standard library, so that hundreds start within seconds. It
serves both eras, keeps both sides' lines where ``--record`` says, and refuses to start as long
as the file of ``--fail-while`` exists.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from typing import Any

Json = dict[str, Any]

INFO = {"name": "scripted_stdio", "version": "1"}
QUESTION = "question-of-the-server"
FOREVER = 3600
FAILED_AT_START = 3

_ID = re.compile(rb'"id"\s*:\s*("(?:[^"\\]|\\.)*"|[-+.0-9eE]+|null)')


class Server:
    """One process: requests come in line by line, and are answered one after the other."""

    def __init__(self, record: str) -> None:
        self._record = record
        self._asking: object = None
        self._call: Json = {}
        self._line = b""

    def serve(self) -> None:
        """Read until the input ends."""
        for line in sys.stdin.buffer:
            self._note("heard", line)
            self._take(line, json.loads(line.decode("utf-8", "surrogatepass")))

    def say(self, line: bytes) -> None:
        """Write one line, or what is none."""
        self._note("said", line)
        os.write(1, line)

    def reply(self, request_id: object, **members: object) -> None:
        """Write one reply."""
        self.tell(id=request_id, **members)

    def tell(self, **members: object) -> None:
        """Write one message."""
        self.say(json.dumps({"jsonrpc": "2.0", **members}).encode() + b"\n")

    def _take(self, line: bytes, message: object) -> None:
        if not isinstance(message, dict):
            for part in message if isinstance(message, list) else []:
                self._take(json.dumps(part).encode(), part)
        elif message.get("id") == QUESTION:
            text = json.dumps(message.get("result"))
            self.reply(self._asking, result=_content(text))
        elif message.get("method") == "tools/call":
            arguments = message["params"].get("arguments", {})
            self._call, self._line = message, line
            getattr(self, f"do_{arguments.get('how', 'ok')}")(**_rest(arguments))
        elif "id" in message and "method" in message:
            result = GREETINGS.get(message["method"], {})
            self.reply(message["id"], result={"resultType": "complete", **result})

    def _note(self, side: str, line: bytes) -> None:
        if self._record:
            with open(os.path.join(self._record, side), "ab") as file:  # noqa: PTH118, PTH123
                file.write(line)

    # What a call may tell it to do

    def do_ok(self) -> None:
        self.reply(self._call["id"], result=_content("done"))

    def do_fail(self) -> None:
        self.reply(self._call["id"], result={"isError": True, "content": []})

    def do_fault(self) -> None:
        self.reply(self._call["id"], error={"code": -32603, "message": "inside"})

    def do_ask(self) -> None:
        result = {"resultType": "input_required", "inputRequests": {}}
        self.reply(self._call["id"], result=result)

    def do_slow(self, seconds: float) -> None:
        """Reply, but not at once; nothing else is served meanwhile."""
        time.sleep(seconds)
        self.do_ok()

    def do_wait(self) -> None:
        """Never reply."""

    def do_progress(self) -> None:
        """Report progress, and never reply."""
        token = self._call["params"]["_meta"]["progressToken"]
        params = {"progressToken": token, "progress": 1}
        self.tell(method="notifications/progress", params=params)

    def do_die(self, code: int = 70) -> None:
        os._exit(code)

    def do_kill(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def do_elicit(self) -> None:
        """Ask the client, and reply with what it said."""
        self._asking = self._call["id"]
        self.tell(id=QUESTION, method="elicitation/create", params={"message": "Sure?"})

    def do_babble(self, noise: str) -> None:
        """Write what is no message, and reply."""
        self.say(noise.encode() + b"\n")
        self.do_ok()

    def do_shout(self, lines: int) -> None:
        """Write so many lines to stderr, and reply."""
        os.write(2, b"".join(b"line %d of many\n" % number for number in range(lines)))
        self.do_ok()

    def do_raw(self, file: str) -> None:
        """Write the lines of a file, with the id of the call in the place of ``@ID@``."""
        found = _ID.search(self._line)
        with open(file, "rb") as given:  # noqa: PTH123
            self.say(given.read().replace(b"@ID@", found[1] if found else b"null"))

    def do_close_input(self) -> None:
        """Reply, and read nothing any more."""
        self.do_ok()
        os.close(0)
        time.sleep(FOREVER)

    def do_fork(self) -> None:
        """Start a process that cares for nothing; reply with its id."""
        pid = os.fork()
        if not pid:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(FOREVER)
        self.reply(self._call["id"], result=_content(str(pid)))

    def do_stubborn(self) -> None:
        """Reply, and from then on care for nothing: neither for the input's end nor for SIGTERM."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self.do_pid()
        time.sleep(FOREVER)

    def do_mute(self) -> None:
        """Close the output, and live on."""
        os.close(1)
        time.sleep(FOREVER)

    def do_flood(self) -> None:
        """Write one line without an end."""
        while True:
            os.write(1, b"x" * 65536)

    def do_pid(self) -> None:
        self.reply(self._call["id"], result=_content(str(os.getpid())))


def _content(text: str) -> Json:
    return {"content": [{"type": "text", "text": text}]}


def _rest(arguments: Json) -> Json:
    return {name: value for name, value in arguments.items() if name != "how"}


GREETINGS: Json = {
    "initialize": {
        "protocolVersion": "2025-11-25",
        "capabilities": {"tools": {}},
        "serverInfo": INFO,
    },
    "server/discover": {
        "supportedVersions": ["2026-07-28"],
        "capabilities": {"tools": {}},
        "ttlMs": 0,
        "cacheScope": "private",
    },
    "tools/list": {
        "tools": [{"name": "act", "inputSchema": {"type": "object"}}],
        "ttlMs": 0,
        "cacheScope": "private",
    },
}


def _option(name: str) -> str:
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else ""


if __name__ == "__main__":
    obstacle = _option("--fail-while")
    if obstacle and os.path.exists(obstacle):  # noqa: PTH110
        sys.stderr.write("cannot start now\n")
        sys.exit(FAILED_AT_START)
    Server(_option("--record")).serve()
