"""What the exporter is told shows no secret of its own accord."""

from __future__ import annotations

import pytest

from exporter.config.model import Server, Values, masked_url

SECRET = "planted-secret"


def test_a_server_made_by_hand_is_masked_too() -> None:
    server = Server("a", "stdio", env={"KEY": SECRET}, headers={"Authorization": SECRET})
    assert SECRET not in repr(server)


def test_values_act_as_a_mapping() -> None:
    values = Values({"A": "1", "B": "2"})
    assert dict(values) == {"A": "1", "B": "2"}
    assert values == {"B": "2", "A": "1"}
    assert len(values) == 2
    assert values.get("C") is None


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("https://host/mcp", "https://host/mcp"),
        ("https://user@host:1/mcp", "https://<secret>@host:1/mcp"),
        ("https://host/mcp?a=b#c", "https://host/mcp?<secret>"),
    ],
)
def test_a_masked_url_keeps_only_the_address(url: str, masked: str) -> None:
    assert masked_url(url) == masked
