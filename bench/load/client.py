"""A client that does one thing after another: for sessions that are held, and for first calls."""

from __future__ import annotations

import socket
import time
from http.client import HTTPException, HTTPResponse
from typing import Self
from urllib.parse import urlsplit

from bench.load.messages import Http, Talk, WrongReplyError

SECONDS_TO_REPLY = 30.0


class Caller:
    """One session over one connection."""

    def __init__(self, url: str, talk: Talk) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "", parts.port or 80)
        self._http = Http(talk, parts.netloc, parts.path)
        self._session = b""
        self._socket: socket.socket | None = None

    def insist(self) -> None:
        """Make a call, again and again until it has its reply."""
        deadline = time.monotonic() + SECONDS_TO_REPLY
        while time.monotonic() < deadline:
            try:
                self.open()
                self.call()
            except (OSError, HTTPException, WrongReplyError):
                time.sleep(0.002)
            else:
                return
            finally:
                self.close()
        raise TimeoutError(f"no reply within {SECONDS_TO_REPLY:.0f} s")

    def open(self) -> Self:
        """Connect, and begin a session where the era has them."""
        self._socket = socket.create_connection(self._address, SECONDS_TO_REPLY)
        for request in self._http.greeting():
            self._ask(request)
            self._ask(self._http.initialized(self._session))
        return self

    def call(self) -> None:
        """Make one call. Raises ``WrongReplyError``."""
        number, request = next(self._http.calls(self._session))
        self._http.talk.check(self._ask(request), number)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()

    def leave(self) -> None:
        """End the session."""
        if self._session:
            self._ask(self._http.farewell(self._session))
        self.close()

    def _ask(self, request: bytes) -> bytes:
        if self._socket is None:
            raise WrongReplyError("not connected")
        self._socket.sendall(request)
        with HTTPResponse(self._socket) as response:
            response.begin()
            body = response.read()
        self._session = (response.getheader("Mcp-Session-Id") or "").encode() or self._session
        if response.status not in (200, 202, 204):
            raise WrongReplyError(f"status {response.status}")
        return body
