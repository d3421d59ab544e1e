"""Serves clients of 2026-07-28: all of them share one child."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from math import inf
from time import monotonic

from exporter.config.model import Server
from exporter.protocol import errors, jsonrpc
from exporter.protocol.jsonrpc import Message
from exporter.protocol.label_values import Outcome
from exporter.protocol.spec import DISCOVER
from exporter.relay.stdio import rejections
from exporter.relay.stdio.children import Children
from exporter.relay.stdio.envelope import STATUS_OF_CODE, ModernRequest, Violation
from exporter.relay.stdio.host import ChildHost
from exporter.relay.stdio.param_headers import ParamHeaders
from exporter.relay.stdio.rejections import reject
from exporter.relay.stdio.shared import SharedChild
from exporter.telemetry.exchange import Exchange
from exporter.telemetry.observer import Observer
from exporter.transport.http.request import Request

_DISCOVER_MEMORY = 60.0
_MOST_REFUSED = 64

log = logging.getLogger(__name__)


class ModernEndpoint:
    """The shared child of one stdio server."""

    def __init__(
        self, server: Server, observer: Observer, children: Children, param_headers: ParamHeaders
    ) -> None:
        self._server = server
        self._observer = observer
        self._recorder = observer.recorder
        self._children = children
        self._param_headers = param_headers
        self._refused: dict[bytes, tuple[float, int]] = {}
        """When, and with which code, the server refused a ``server/discover`` of this digest: how
        a client words its own must not decide what the others are told."""
        self.shared: SharedChild | None = None

    def handle(self, request: Request, messages: Sequence[Message]) -> None:
        """Serve one POST."""
        if request.method != b"POST":
            reject(self._recorder, request, rejections.ONLY_POST)
            return
        if len(messages) != 1 or not messages[0].method or jsonrpc.is_batch(request.body):
            reject(self._recorder, request, rejections.NOT_ONE_REQUEST)
            return
        message = messages[0]
        if message.is_notification:
            # A request is cancelled by closing its stream; nothing else is told a server here.
            self._recorder.notified(message.method, to_server=True)
            request.respond(202, b"", b"")
            return
        modern = ModernRequest(request, message)
        violation = modern.check() or self._check_params(modern)
        if violation is None:
            self._post(modern)
            return
        self._recorder.rejected(message.method, "bad_envelope")
        reply = errors.error(violation.code, violation.text, message.id, violation.data)
        request.respond(violation.status, reply, errors.JSON)

    def sweep(self, oldest: float) -> None:
        """End the child where it is idle and was not used since ``oldest``."""
        if self.shared and self.shared.is_idle and self.shared.last_used < oldest:
            self.shared.end(Outcome.CLIENT_GONE, "it was idle")

    # HostEvents

    def host_ended(self, host: ChildHost, text: str) -> None:
        """The shared child is over."""
        log.debug("shared child ended: %s", text, extra={"server": self._server.name})
        if self.shared is host:
            self.shared = None
        if isinstance(host, SharedChild) and host.refused_discover is not None:
            digest, code = host.refused_discover
            self._refused.pop(digest, None)
            self._refused[digest] = monotonic(), code
            if len(self._refused) > _MOST_REFUSED:
                del self._refused[next(iter(self._refused))]
        self._children.stop(host)

    # Inside

    def _check_params(self, modern: ModernRequest) -> Violation | None:
        tool, arguments = modern.message.tool, modern.arguments
        fault = self._param_headers.check(modern.http, tool, arguments)
        return Violation(errors.HEADER_MISMATCH, fault) if fault else None

    def _post(self, modern: ModernRequest) -> None:
        request, message = modern.http, modern.message
        if message.method == DISCOVER and self._is_legacy_only(modern):
            return
        if self.shared is None:
            if self._children.is_backing_off(request, message):
                return
            start = self._children.starter("shared")
            self.shared = SharedChild(self._observer, self._server.timeout, start, self)
        if self.shared.child.is_clogged:
            reject(self._recorder, request, rejections.of_clogged(self._server.name), message)
        else:
            self.shared.post(modern)

    def _is_legacy_only(self, modern: ModernRequest) -> bool:
        """Reply to ``server/discover`` as the server did, without a child started just for that."""
        when, code = self._refused.get(modern.digest(), (-inf, 0))
        if monotonic() - when > _DISCOVER_MEMORY:
            return False
        request, message = modern.http, modern.message
        exchange = Exchange(self._recorder)
        size = len(request.body)
        begun = self._observer.client_sent(
            exchange, [message], size, request.received, request.traceparent
        )
        reply = errors.error(code, f"{DISCOVER}: the server refused this before", message.id)
        self._observer.settle(exchange, begun, Outcome.PROTOCOL_ERROR, monotonic())
        request.respond(STATUS_OF_CODE.get(code, 200), reply, errors.JSON)
        return True
