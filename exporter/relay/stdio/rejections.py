"""Why a stdio server's child does not see a request."""

from __future__ import annotations

from exporter.protocol import errors, jsonrpc
from exporter.protocol.jsonrpc import Message
from exporter.relay.rejection import Rejection
from exporter.telemetry.recorder import ServerRecorder
from exporter.transport.http.request import Request

NOT_A_MESSAGE = Rejection(400, "bad_request", "this is not a JSON-RPC message")
TOO_MANY_MESSAGES = Rejection(
    400, "bad_request", f"this is a batch of more than {jsonrpc.BATCH} messages"
)
NOT_ONE_REQUEST = Rejection(400, "bad_request", "this is not one request")
NO_SESSION_ID = Rejection(
    400, "bad_request", "the header Mcp-Session-Id is missing; begin with initialize"
)
UNKNOWN_SESSION = Rejection(
    404, "unknown_session", "there is no such session (any more); begin with initialize"
)
ONLY_POST = Rejection(
    405, "bad_method", "only POST is served at this version", headers=((b"Allow", b"POST"),)
)


def of_clogged(server: str) -> Rejection:
    """A server that does not read what it is sent."""
    text = f"server {server!r} does not read what it is sent"
    return Rejection(503, "server_not_reading", text, errors.CONNECTION_LOST)


def reject(
    recorder: ServerRecorder, request: Request, rejection: Rejection, message: Message | None = None
) -> None:
    """Count a rejection, and respond with it."""
    recorder.rejected(message.method if message else None, rejection.reason)
    reply = errors.error(rejection.code, rejection.text, message.id if message else None)
    request.respond(rejection.status, reply, errors.JSON, list(rejection.headers))
