"""What a client is told whose request no child saw, and how that is counted."""

from __future__ import annotations

from exporter.relay.stdio import rejections
from tests.support.fakes import (
    Downstream,
    Scribe,
    Telemetry,
    on_fake_time,
    parsed,
    post,
    request,
)


@on_fake_time
async def test_a_rejection_is_a_json_rpc_error_with_a_status_and_is_counted() -> None:
    telemetry, app = Telemetry(transport="stdio"), Scribe()
    client = Downstream(app)
    client.say(post(request(7, "tools/list")))
    message = parsed(request(7, "tools/list"))
    rejections.reject(telemetry.recorder, app.requests[0], rejections.of_clogged("files"), message)
    (reply,) = client.replies()
    assert (reply.status, reply.json["id"]) == (503, 7)
    assert "server 'files' does not read" in reply.json["error"]["message"]
    counted = telemetry.own("mcp_exporter_rejected_requests_total", reason="server_not_reading")
    assert counted == 1


@on_fake_time
async def test_without_a_message_the_error_bears_no_id() -> None:
    telemetry, app = Telemetry(transport="stdio"), Scribe()
    client = Downstream(app)
    client.say(post(b"[]"))
    rejections.reject(telemetry.recorder, app.requests[0], rejections.ONLY_POST)
    (reply,) = client.replies()
    assert reply.json["id"] is None
    assert reply.header(b"Allow") == b"POST"
