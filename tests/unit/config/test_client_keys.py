"""The tables of what clients write."""

from __future__ import annotations

from exporter.config import client_keys
from exporter.config.model import Limits, ProbeSettings, Server


def test_a_key_without_effect_is_no_key_with_one() -> None:
    with_effect = {"probe", "timeout", "idle_timeout", "limits", *Server.__slots__} - {"name"}
    assert not client_keys.SERVER_KEYS & (client_keys.ALIASES | with_effect)
    assert not client_keys.FILE_KEYS & {"servers", "mcpServers", *with_effect}


def test_no_key_without_effect_hides_a_setting() -> None:
    settings = {*ProbeSettings.__slots__, *Limits.__slots__}
    assert not (client_keys.SERVER_KEYS | client_keys.FILE_KEYS) & settings


def test_every_name_of_a_transport_is_in_lower_case() -> None:
    assert all(name == name.lower() for name in client_keys.TRANSPORTS)
