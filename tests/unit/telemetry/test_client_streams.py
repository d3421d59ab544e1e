"""Whether a server of the 2024-11-05 transport still talks to a client."""

from __future__ import annotations

from exporter.telemetry.client_streams import ClientStreams


def test_what_was_said_counts_while_a_stream_is_open() -> None:
    streams = ClientStreams()
    assert not streams.heard_since(0.0)
    streams.opened()
    streams.opened()
    assert streams.are_open
    assert not streams.heard_since(0.0)
    streams.heard(5.0)
    assert streams.heard_since(5.0)
    assert not streams.heard_since(5.1)
    streams.closed()
    assert streams.heard_since(5.0)
    streams.closed()
    assert not streams.are_open
    assert not streams.heard_since(5.0)
