"""Clients of both eras that call, fail, wait, leave and cancel, and keep count."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from time import monotonic
from typing import Any

from tests.soak.http_client import Connection, CutError, Reply
from tests.soak.tally import OTHER, REJECTED, Tally, outcome_of
from tests.support.raw_client import (
    ACCEPTED,
    Json,
    call,
    envelope,
    initialize,
    legacy,
    modern,
    modern_call,
    request,
)
from tests.support.scripted_stdio_server import QUESTION

CALL = "tools/call"
HTTP_ALONE = ("large", "stream", "hang_up", "cut", "short", "refuse", "broken", "babble")
MOOD: Mapping[str, float] = {
    "ok": 80, "fail": 4, "fault": 2, "ask": 2, "large": 2, "stream": 6, "hang_up": 1, "cut": 1,
    "short": 1, "refuse": 1, "broken": 1, "babble": 1,
}  # fmt: skip
CALLS_OF_A_SESSION = 60
LEAVING_AFTER = 0.2


class Client(ABC):
    """One client of one server; ``is_steady`` says that nobody restarts that server.

    Only from a steady server does it leave early: elsewhere what it leaves might just have
    failed, and it would not know.
    """

    def __init__(
        self, host: tuple[str, int], server: str, tally: Tally, pause: float, is_steady: bool
    ) -> None:
        self._server = server
        self._host = host
        self._path = f"/{server}/mcp"
        self._tally = tally
        self._pause = pause
        self._is_steady = is_steady
        self._connection = Connection(host)
        self._second = Connection(host)
        self._ids = itertools.count(1)
        self._random = random.Random(f"{server} {pause}")
        is_http = not server.endswith("stdio")
        self._mood = {how: n for how, n in MOOD.items() if is_http or how not in HTTP_ALONE}

    async def run(self, over: asyncio.Event) -> None:
        """Call until it is over."""
        try:
            while not over.is_set():
                await self.turn()
                await self._rest()
        finally:
            await self.farewell()
            self._connection.close()
            self._second.close()

    @abstractmethod
    async def turn(self) -> None:
        """Do one thing."""

    @abstractmethod
    async def farewell(self) -> None:
        """Leave nothing behind."""

    def _how(self) -> str:
        return self._random.choices([*self._mood], [*self._mood.values()])[0]

    async def _rest(self) -> None:
        await asyncio.sleep(self._random.uniform(0.5, 1.5) * self._pause)

    async def _count(self, method: str, asking: Awaitable[Reply]) -> Reply | None:
        """Have a request answered, and count how that ended."""
        reply = None
        with contextlib.suppress(CutError):
            reply = await asking
        self._tally.count(self._server, method, outcome_of(reply))
        return reply

    async def _timed(self, asking: Awaitable[Reply]) -> None:
        start = monotonic()
        reply = await self._count(CALL, asking)
        if self._is_steady and reply is not None and len(reply.body) < 1000:
            self._tally.took(monotonic() - start)

    async def _leave(
        self, message: Json, headers: Mapping[str, str], outcome: str, *, after_a_word: bool
    ) -> None:
        """Go before the reply comes: after a first event, or after a while."""
        async with self._connection.sent(self._path, message, headers):
            if after_a_word:
                _, fields = await self._connection.head()
                async for _ in self._connection.parts(fields):
                    break
            else:
                await asyncio.sleep(LEAVING_AFTER)
        self._tally.count(self._server, CALL, outcome)


class Modern(Client):
    """A client of 2026-07-28: no session, closing is cancelling."""

    async def turn(self) -> None:
        """Mostly a call."""
        luck = self._random.random()
        if luck < 0.94:
            await self._call(self._how())
        elif luck < 0.97:
            await self._ask(self._random.choice(["tools/list", "server/discover"]))
        elif self._is_steady:
            odd: list[Callable[[], Awaitable[None]]] = [self._go, self._be_refused, self._wait]
            await self._random.choice(odd)()

    async def farewell(self) -> None:
        """There is nothing that could be left."""

    async def _call(self, how: str) -> None:
        message = modern_call(next(self._ids), how)
        asking = self._connection.ask(self._path, message, modern(CALL, "act"))
        await (self._timed(asking) if how == "ok" else self._count(CALL, asking))

    async def _wait(self) -> None:
        await self._call("wait")

    async def _ask(self, method: str) -> None:
        message = request(next(self._ids), method, _meta=envelope())
        await self._count(method, self._connection.ask(self._path, message, modern(method)))

    async def _go(self) -> None:
        how = self._random.choice(["wait", "progress"])
        message = modern_call(next(self._ids), how)
        message["params"]["_meta"]["progressToken"] = next(self._ids)
        after_a_word = how == "progress"
        headers = modern(CALL, "act")
        await self._leave(message, headers, "cancelled", after_a_word=after_a_word)

    async def _be_refused(self) -> None:
        headers = modern(CALL, "act")
        strange = {**headers, "Origin": "http://elsewhere.example"}
        for path, body, fields, server in (
            ("/nowhere/mcp", b"{}", headers, OTHER),
            (self._path, b"{not JSON", headers, self._server),
            (self._path, json.dumps(modern_call(1, "ok")).encode(), strange, self._server),
        ):
            reply = await self._connection.ask(path, body, fields)
            assert reply.status in (400, 403, 404), reply
            self._tally.count(server, OTHER, REJECTED)


class Legacy(Client):
    """A client of 2025-11-25: sessions, with a stream, cancelled calls and questions."""

    _session = ""
    _left = 0
    _listening: asyncio.Task[None] | None = None

    async def turn(self) -> None:
        """A session is opened, used and ended."""
        if not self._session:
            await self._open()
        elif self._left <= 0:
            await self.farewell()
        else:
            self._left -= 1
            await self._use()

    async def farewell(self) -> None:
        """End the session."""
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
            self._listening = None
        if self._session:
            session, self._session = self._session, ""
            await self._tell(None, legacy(session), "DELETE")

    async def _open(self) -> None:
        asking = self._connection.ask(self._path, initialize(next(self._ids)), ACCEPTED)
        reply = await self._count("initialize", asking)
        session = reply.headers.get("mcp-session-id", "") if reply else ""
        self._tally.sessions[self._server] += bool(session)
        if reply is None or reply.status != 200:
            return
        self._session, self._left = session, CALLS_OF_A_SESSION
        await self._notify("notifications/initialized")
        if self._session and self._random.random() < 0.5:
            self._listening = asyncio.create_task(self._listen(self._session))

    async def _listen(self, session: str) -> None:
        """Keep the stream for what belongs to no request."""
        stream = Connection(self._host)
        with contextlib.suppress(CutError):
            async with stream.sent(self._path, None, legacy(session), "GET"):
                status, fields = await stream.head()
                if status == 404 and self._server.endswith("stdio"):
                    self._tally.count(self._server, OTHER, REJECTED)
                async for _ in stream.parts(fields):
                    pass

    async def _use(self) -> None:
        luck = self._random.random()
        if luck < 0.9:
            await self._call(self._how())
        elif luck < 0.94:
            await self._ask(self._random.choice(["tools/list", "ping", "resources/list"]))
        elif luck < 0.96:
            await self._notify("notifications/roots/list_changed")
        elif self._is_steady:
            odd = [self._cancel, self._go, self._wait, self._be_asked]
            await self._random.choice(odd)()

    async def _call(self, how: str) -> None:
        asking = self._ask_in_session(call(next(self._ids), how))
        if how == "ok":
            await self._timed(asking)
        else:
            await self._count(CALL, asking)

    async def _wait(self) -> None:
        await self._call("wait")

    async def _ask(self, method: str) -> None:
        await self._count(method, self._ask_in_session(request(next(self._ids), method)))

    async def _ask_in_session(self, message: Json) -> Reply:
        reply = await self._connection.ask(self._path, message, legacy(self._session))
        self._lose_session_if(reply)
        return reply

    def _lose_session_if(self, reply: Reply) -> None:
        if reply.status == 404:
            self._session = ""

    async def _go(self) -> None:
        await self._leave(
            call(next(self._ids), "wait"), legacy(self._session), "client_gone", after_a_word=False
        )

    async def _cancel(self) -> None:
        """Cancel a call once it reports progress, and only then hang up."""
        number = next(self._ids)
        message = call(number, "progress")
        message["params"]["_meta"] = {"progressToken": f"token {number}"}
        async with self._connection.sent(self._path, message, legacy(self._session)):
            _, fields = await self._connection.head()
            async for _ in self._connection.parts(fields):
                break
            await self._notify("notifications/cancelled", requestId=number)
        self._tally.count(self._server, CALL, "cancelled")

    async def _be_asked(self) -> None:
        """Answer what the server asks before it replies."""
        if not self._server.endswith("stdio"):
            return
        message = call(next(self._ids), "elicit")
        async with self._connection.sent(self._path, message, legacy(self._session)):
            _, fields = await self._connection.head()
            parts = self._connection.parts(fields)
            assert b"elicitation/create" in await anext(parts)
            answer = {"jsonrpc": "2.0", "id": QUESTION, "result": {"action": "accept"}}
            await self._tell(answer, legacy(self._session))
            assert b"accept" in b"".join([part async for part in parts])
        self._tally.count(self._server, CALL, "ok")

    async def _notify(self, method: str, **params: Any) -> None:
        notice = {"jsonrpc": "2.0", "method": method, "params": params}
        reply = await self._tell(notice, legacy(self._session))
        if outcome_of(reply) == REJECTED:
            self._tally.count(self._server, method, REJECTED)
        else:
            self._tally.notifications[self._server, method] += 1

    async def _tell(
        self, message: Json | None, headers: Mapping[str, str], method: str = "POST"
    ) -> Reply | None:
        with contextlib.suppress(CutError):
            reply = await self._second.ask(self._path, message, headers, method)
            self._lose_session_if(reply)
            if method == "DELETE" and outcome_of(reply) == REJECTED:
                self._tally.count(self._server, OTHER, REJECTED)
            return reply
        return None
