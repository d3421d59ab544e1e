"""The shared child of a stdio server (2026-07-28): many clients, one process.

At this version a process is not a session, so all clients may share one. Their request ids and
progress tokens would collide: towards the child they are numbers of the exporter's own, and
everything that comes back bears the client's again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from time import monotonic

import msgspec
from msgspec import UNSET, UnsetType

from exporter.config.limits import Timeout
from exporter.protocol import errors, jsonrpc
from exporter.protocol.jsonrpc import SUBSCRIPTION_KEY, Id, Message
from exporter.protocol.label_values import Outcome
from exporter.protocol.spec import DISCOVER, LISTEN
from exporter.relay.stdio.envelope import STATUS_OF_CODE, ModernRequest
from exporter.relay.stdio.host import ChildHost, HostEvents, StartChild
from exporter.relay.stdio.http_response import StdioResponse
from exporter.telemetry.exchange import Pending
from exporter.telemetry.observer import Observer

DISCOVER_TIMEOUT = 5.0
"""Seconds: an older server may leave what it does not know unanswered."""

STRAY_TIME = 60.0
"""Seconds after a request was given up, unless its reply came, in which a log message may be
about it: then none is passed on."""

_OLDER_ERA = frozenset({errors.METHOD_NOT_FOUND, errors.INVALID_REQUEST, errors.INVALID_PARAMS})


class SharedRequest:
    """One request on its way through the shared child."""

    __slots__ = (
        "client_id",
        "digest",
        "method",
        "number",
        "pending",
        "request_id",
        "response",
        "token",
    )

    def __init__(
        self,
        number: int,
        request: ModernRequest,
        response: StdioResponse,
        pending: Sequence[Pending],
    ) -> None:
        self.number = number
        """Its id and progress token towards the child."""
        self.method = request.message.method
        self.digest = request.digest() if self.method == DISCOVER else b""
        self.request_id = request.message.reply_id
        self.client_id = request.request_id
        """The client's id, as it was written."""
        self.token = request.progress_token
        """The client's token for progress, as it was written."""
        self.response = response
        self.pending = pending


class SharedChild(ChildHost):
    """One child that serves every 2026-07-28 client."""

    def __init__(
        self, observer: Observer, timeout: Timeout, start: StartChild, events: HostEvents
    ) -> None:
        self.refused_discover: tuple[bytes, int] | None = None
        """The digest of a request, and the error code with which the server showed by its reply
        that it is of an older era."""
        self._requests: dict[int, SharedRequest] = {}
        self._by_response: dict[StdioResponse, SharedRequest] = {}
        self._calls: dict[int, SharedRequest] = {}
        """Those of the requests that are not subscriptions."""
        self._given_up: dict[int, float] = {}
        """When requests were given up to which the child may still reply."""
        self._last = 0
        super().__init__(observer, timeout, start, events)

    @property
    def is_idle(self) -> bool:
        """Whether no client waits for anything of it."""
        return not self._requests

    def post(self, request: ModernRequest) -> None:
        """Pass a request on to the child. It has been checked, and bears an id."""
        http, message = request.http, request.message
        now = self.last_used = http.received
        self._last = number = self._last + 1
        numbered = msgspec.structs.replace(message, id=number)
        begun = self._observer.client_sent(
            self._exchange, [numbered], len(http.body), now, http.traceparent
        )
        is_call = message.method != LISTEN
        response = StdioResponse(
            http, self, self._timers, [message.reply_id], begun, has_deadline=is_call
        )
        shared = SharedRequest(number, request, response, begun)
        self._requests[number] = self._by_response[response] = shared
        if is_call:
            self._calls[number] = shared
        if message.method == DISCOVER and not self.is_useful:
            self._loop.call_later(DISCOVER_TIMEOUT, self._presume_older, number)
        told = None
        if begun and self._observer.tracing.tracer is not None:
            told = self._observer.told(http, message, begun[0])
        self.child.send(request.numbered(number, told))
        response.position = self.child.sent
        response.inside = monotonic() - now

    def end_streams(self) -> None:
        """End the streams on which clients listen."""
        for shared in [each for each in self._requests.values() if each.method == LISTEN]:
            self._give_up(shared.response, Outcome.CLIENT_GONE)
            shared.response.end()

    # ResponseOwner

    def response_gone(self, response: StdioResponse) -> None:
        """The client closed its stream: at this version that cancels the request."""
        self._give_up(response, Outcome.CANCELLED)

    def response_paused(self, paused: bool) -> None:
        """The child does not wait for one of its clients: the others would wait with it."""

    # Inside

    def _responses(self) -> Iterable[StdioResponse]:
        return self._by_response

    def _clear(self) -> None:
        self._requests.clear()
        self._by_response.clear()
        self._calls.clear()

    def _number(self, reply: Message) -> int:
        """The number of the request that a reply is to; 0 where it is to none."""
        given = jsonrpc.number_of(reply.id)  # as the official SDKs allow
        if given is not None:
            return given
        is_only = reply.id is None and reply.error is not UNSET and len(self._requests) == 1
        return next(iter(self._requests)) if is_only else 0

    def _take(self, number: int) -> SharedRequest | None:
        """Remove and return a request that waits."""
        shared = self._requests.pop(number, None)
        if shared is not None:
            del self._by_response[shared.response]
            self._calls.pop(shared.number, None)
        return shared

    def _give_up(self, response: StdioResponse, outcome: Outcome) -> None:
        shared = self._by_response.get(response)
        if shared is None:
            return
        self._take(shared.number)
        self._observer.settle(self._exchange, shared.pending, outcome, monotonic())
        self._forget_strays()
        self._given_up[shared.number] = monotonic()
        notice = {"requestId": shared.number}
        text = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": notice}
        self.child.send(msgspec.json.encode(text))

    def _pass_on(self, message: Message, data: bytes, arrived: float) -> None:
        if message.is_reply:
            self._reply(message, data, arrived)
        elif message.is_notification:
            self._notify(message, data)

    def _reply(self, message: Message, data: bytes, arrived: float) -> None:
        number = self._number(message)
        shared = self._take(number)
        if shared is None:
            self._given_up.pop(number, None)
            return
        data = _replace(data, ("id",), shared.client_id)
        if shared.method == LISTEN:
            data = _replace(data, ("result", "_meta", SUBSCRIPTION_KEY), shared.client_id)
        code = None if message.error is UNSET else int(message.error.code)
        status = 200 if code is None else STATUS_OF_CODE.get(code, 200)
        shared.response.reply(shared.request_id, data, status)
        self._observer.recorder.spent(shared.response.inside + monotonic() - arrived)
        is_discover = shared.method == DISCOVER
        if is_discover and code is not None and code in _OLDER_ERA and not self.is_useful:
            self._give_way(shared, code)
        self.is_useful = True

    def _give_way(self, shared: SharedRequest, code: int) -> None:
        """The server is of an older era: its clients will open sessions, this child is useless."""
        self.refused_discover = shared.digest, code
        if not self._requests:
            self._loop.call_soon(self.end, Outcome.CLIENT_GONE, "it is older")

    def _presume_older(self, number: int) -> None:
        """The server says nothing to ``server/discover``: reply what it would mean."""
        shared = self._requests.get(number)
        if shared is None or self.is_useful:
            return
        self._give_up(shared.response, Outcome.PROTOCOL_ERROR)
        text = f"the server did not reply to {DISCOVER} within {DISCOVER_TIMEOUT:g} s"
        shared.response.fail(404, errors.METHOD_NOT_FOUND, text)
        self._give_way(shared, errors.METHOD_NOT_FOUND)
        self.is_useful = True  # silent it may be, but it did not fail

    def _notify(self, message: Message, line: bytes) -> None:
        params = message.params
        if params is None:
            return
        if params.progress_token is not UNSET:
            shared = self._find(params.progress_token)
            if shared is not None and shared.token is not None:
                shared.response.progressed()
                shared.response.send(_replace(line, ("params", "progressToken"), shared.token))
        elif params.meta is not None and params.meta.subscription_id is not UNSET:
            shared = self._find(params.meta.subscription_id)
            if shared is not None:
                place = ("params", "_meta", SUBSCRIPTION_KEY)
                shared.response.send(_replace(line, place, shared.client_id))
        elif message.method == "notifications/message":
            self._pass_on_log(line)

    def _pass_on_log(self, line: bytes) -> None:
        """A log message does not name its request: it is passed on where it can be of one alone.

        No client may read what is another's.
        """
        self._forget_strays()
        if len(self._calls) == 1 and not self._given_up:
            next(iter(self._calls.values())).response.send(line)

    def _forget_strays(self) -> None:
        oldest = monotonic() - STRAY_TIME
        while self._given_up and next(iter(self._given_up.values())) < oldest:
            del self._given_up[next(iter(self._given_up))]

    def _find(self, token: Id | UnsetType) -> SharedRequest | None:
        return self._requests.get(jsonrpc.number_of(token) or 0)


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
