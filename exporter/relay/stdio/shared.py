"""The shared child of a stdio server (2026-07-28): many clients, one process.

At this version a process is not a session, so all clients may share one. Their request ids and
progress tokens would collide: towards the child they are numbers of the exporter's own, and
everything that comes back bears the client's again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic

import msgspec
from msgspec import UNSET

from exporter.protocol import errors, jsonrpc
from exporter.protocol.failures import UpstreamError
from exporter.protocol.jsonrpc import SUBSCRIPTION_KEY, Id, Message
from exporter.protocol.label_values import Outcome
from exporter.protocol.spec import DISCOVER, LISTEN
from exporter.relay.stdio.envelope import STATUS_OF_CODE
from exporter.relay.stdio.http_response import ResponseTimers, StdioResponse
from exporter.relay.stdio.session import one_line
from exporter.telemetry.exchange import Exchange, Pending
from exporter.telemetry.observer import Observer
from exporter.transport.http.request import Request
from exporter.transport.process.child import Child

DISCOVER_TIMEOUT = 5.0
"""Seconds: an older server may leave what it does not know unanswered."""

_OLDER_ERA = frozenset({errors.METHOD_NOT_FOUND, errors.INVALID_REQUEST, errors.INVALID_PARAMS})


class IdMapping:
    """One request on its way through the shared child: what the client called it by."""

    __slots__ = ("answer", "client_id", "method", "number", "pending", "request_id", "token")

    def __init__(
        self, number: int, message: Message, answer: StdioResponse, pending: Sequence[Pending]
    ):
        self.number = number
        self.method = message.method
        self.request_id: Id = None if message.id is UNSET else message.id
        self.answer = answer
        self.pending = pending
        self.client_id = msgspec.Raw(b"null")
        self.token: msgspec.Raw | None = None

    def disguise(self, body: bytes) -> bytes:
        """The request as the child sees it: with a number for its id and progress token."""
        number = msgspec.Raw(b"%d" % self.number)
        members = jsonrpc.members(body)
        self.client_id, members["id"] = members["id"], number
        meta = jsonrpc.members(params["_meta"]) if "_meta" in (params := _params(members)) else {}
        if "progressToken" in meta:
            self.token, meta["progressToken"] = meta["progressToken"], number
            params["_meta"] = _raw(meta)
            members["params"] = _raw(params)
        return msgspec.json.encode(members)


class SharedChild:
    """One child that serves every 2026-07-28 client; it owns the child, and gives the answers."""

    def __init__(
        self, observer: Observer, timeout: float, on_end: Callable[[SharedChild, str], None]
    ) -> None:
        self.child: Child | None = None
        self.last_used = monotonic()
        self.is_useful = False
        self.has_failed = False
        self.refused_discover: int | None = None
        self._observer = observer
        self._exchange = Exchange(observer.recorder)
        self._timeout = timeout
        self._clocks = ResponseTimers(timeout, asyncio.get_running_loop())
        self._on_end = on_end
        self._tickets: dict[int, IdMapping] = {}
        self._by_answer: dict[StdioResponse, IdMapping] = {}
        self._last = 0
        self._slow = 0
        self._ended = False

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits for anything of it."""
        return not self._tickets

    def post(self, request: Request, message: Message) -> None:
        """Pass a request on to the child. It has been checked, and bears an id."""
        now = self.last_used = request.received
        self._last += 1
        numbered = msgspec.structs.replace(message, id=self._last)
        begun = self._observer.client_sent(self._exchange, [numbered], len(request.body), now)
        is_timed = message.method != LISTEN
        request_id: Id = None if message.id is UNSET else message.id
        answer = StdioResponse(
            request, self, self._clocks, [request_id], begun or (), has_deadline=is_timed
        )
        ticket = IdMapping(self._last, message, answer, begun or ())
        self._tickets[self._last] = self._by_answer[answer] = ticket
        if message.method == DISCOVER and not self.is_useful:
            loop = asyncio.get_running_loop()
            loop.call_later(DISCOVER_TIMEOUT, self._presume_older, self._last)
        if self.child is not None:
            self.child.send(ticket.disguise(one_line(request.body)))
        answer.inside = monotonic() - now

    def end_streams(self) -> None:
        """End the streams on which clients listen."""
        for ticket in [t for t in self._tickets.values() if t.method == LISTEN]:
            self._cancel(ticket.answer, Outcome.CLIENT_GONE)
            ticket.answer.end()

    def end(self, outcome: Outcome, text: str) -> None:
        """The child is over: answer what waits."""
        if self._ended:
            return
        self._ended = True
        self._observer.abandon(self._exchange, outcome, monotonic())
        for ticket in list(self._tickets.values()):
            ticket.answer.fail(502, errors.CONNECTION_LOST, text)
        self._tickets.clear()
        self._by_answer.clear()
        self._clocks.close()
        if self.child is not None:
            self.child.stop()
        self._on_end(self, text)

    # What the child says

    def child_said(self, line: bytes) -> None:
        """Pass one message of the child on to the request that it belongs to."""
        arrived = monotonic()
        message = jsonrpc.read(line)
        if message is not None and message.is_reply:
            self._reply(message, line, arrived)
        elif message is not None and message.is_notification:
            self._notify(message, line)
        self._observer.server_said(self._exchange, line, arrived, message)

    def child_lost(self, error: UpstreamError) -> None:
        """The child is gone."""
        self.has_failed = not self.is_useful
        self._observer.upstream_lost(str(error))
        self.end(Outcome.UPSTREAM_ERROR, f"the server {error}")

    # What happens to answers

    def answer_gone(self, answer: StdioResponse) -> None:
        """The client closed its stream: at this version that cancels the request."""
        self._cancel(answer, Outcome.CANCELLED)

    def answer_paused(self, paused: bool) -> None:
        """The child waits with its slowest client: nothing is piled up here."""
        self._slow += 1 if paused else -1
        if self.child is not None:
            self.child.pause(self._slow > 0)

    def answer_expired(self, answer: StdioResponse) -> None:
        """No reply within the server's timeout."""
        self._cancel(answer, Outcome.TIMEOUT)
        answer.fail(504, errors.TIMEOUT, f"no reply within {self._timeout:g} s")

    # Inside

    def _cancel(self, answer: StdioResponse, outcome: Outcome) -> None:
        ticket = self._by_answer.pop(answer, None)
        if ticket is None:
            return
        del self._tickets[ticket.number]
        self._observer.settle(self._exchange, ticket.pending, outcome, monotonic())
        if self.child is not None:
            notice = {"requestId": ticket.number}
            text = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": notice}
            self.child.send(msgspec.json.encode(text))

    def _reply(self, message: Message, line: bytes, arrived: float) -> None:
        ticket = self._tickets.pop(message.id, None) if isinstance(message.id, int) else None
        if ticket is None:
            return
        del self._by_answer[ticket.answer]
        data = _replace(line, ("id",), ticket.client_id)
        if ticket.method == LISTEN:
            data = _replace(data, ("result", "_meta", SUBSCRIPTION_KEY), ticket.client_id)
        code = None if message.error is UNSET else int(message.error.code)
        status = 200 if code is None else STATUS_OF_CODE.get(code, 200)
        ticket.answer.reply(ticket.request_id, data, status)
        self._observer.recorder.spent(ticket.answer.inside + monotonic() - arrived)
        if ticket.method == DISCOVER and code in _OLDER_ERA and not self.is_useful:
            self._give_way(code)
        self.is_useful = True

    def _give_way(self, code: int | None) -> None:
        """The server is of an older era: its clients will open sessions, this child is useless."""
        self.refused_discover = code
        if not self._tickets:
            asyncio.get_running_loop().call_soon(self.end, Outcome.CLIENT_GONE, "it is older")

    def _presume_older(self, number: int) -> None:
        """The server says nothing to ``server/discover``: reply what it would mean."""
        ticket = self._tickets.get(number)
        if ticket is None or self.is_useful:
            return
        self._cancel(ticket.answer, Outcome.PROTOCOL_ERROR)
        text = f"the server did not reply to {DISCOVER} within {DISCOVER_TIMEOUT:g} s"
        ticket.answer.fail(404, errors.METHOD_NOT_FOUND, text)
        self._give_way(errors.METHOD_NOT_FOUND)
        self.is_useful = True  # silent it may be, but it did not fail

    def _notify(self, message: Message, line: bytes) -> None:
        params = message.params
        if params is None:
            return
        if params.progress_token is not UNSET:
            ticket = self._ticket(params.progress_token)
            if ticket is not None and ticket.token is not None:
                ticket.answer.send(_replace(line, ("params", "progressToken"), ticket.token))
        elif params.meta is not None and params.meta.subscription_id is not UNSET:
            ticket = self._ticket(params.meta.subscription_id)
            if ticket is not None:
                place = ("params", "_meta", SUBSCRIPTION_KEY)
                ticket.answer.send(_replace(line, place, ticket.client_id))
        elif message.method == "notifications/message" and self._tickets:
            self._latest().answer.send(line)

    def _ticket(self, number: object) -> IdMapping | None:
        return self._tickets.get(number) if isinstance(number, int) else None

    def _latest(self) -> IdMapping:
        # A log message says nothing of its request: with several in flight the newest gets it.
        calls = [t for t in self._tickets.values() if t.method != LISTEN]
        return (calls or list(self._tickets.values()))[-1]


def _replace(data: bytes | msgspec.Raw, path: tuple[str, ...], value: msgspec.Raw) -> bytes:
    """Change one member; every other one keeps its bytes. A missing place stays missing."""
    name, *rest = path
    try:
        members = jsonrpc.members(data)
    except ValueError:
        return bytes(data)  # no object, though the peer should have sent one
    if name not in members:
        return bytes(data)
    members[name] = msgspec.Raw(_replace(members[name], tuple(rest), value)) if rest else value
    return msgspec.json.encode(members)


def _params(members: dict[str, msgspec.Raw]) -> dict[str, msgspec.Raw]:
    return jsonrpc.members(members["params"]) if "params" in members else {}


def _raw(members: dict[str, msgspec.Raw]) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(members))
