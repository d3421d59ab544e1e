"""Which Services are MCP servers; what an owner writes leads nowhere but to his own Service."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.cli.discover.services import DiscoveredServer, ServiceError, read
from tests.support.fake_kubernetes import service

DOMAIN = "cluster.local"
HOST = "http://search.team-a.svc.cluster.local"
TWO = [{"name": "web", "port": 80}, {"name": "mcp", "port": 8000}]


def _read(**said: Any) -> DiscoveredServer | None:
    return read(service("team-a", "search", **said), DOMAIN)


@pytest.mark.parametrize(
    ("said", "url", "transport"),
    [
        ({"scraped": {"scrape": "true"}}, f"{HOST}:8000/mcp", "http"),
        ({"scraped": {"scrape": "True", "path": "/v1/mcp/"}}, f"{HOST}:8000/v1/mcp/", "http"),
        ({"scraped": {"scrape": "true", "transport": "sse"}}, f"{HOST}:8000/sse", "sse"),
        ({"scraped": {"scrape": "true"}, "ports": TWO}, f"{HOST}:8000/mcp", "http"),
        ({"scraped": {"scrape": "true", "port": "web"}, "ports": TWO}, f"{HOST}:80/mcp", "http"),
        ({"scraped": {"scrape": "true", "port": "80"}, "ports": TWO}, f"{HOST}:80/mcp", "http"),
        (
            {"ports": [{"port": 9, "appProtocol": "agentgateway.dev/mcp"}]},
            f"{HOST}:9/mcp",
            "http",
        ),
        (
            {
                "ports": [{"port": 9, "appProtocol": "agentgateway.dev/mcp-sse"}, {"port": 10}],
                "annotations": {"agentgateway.dev/mcp-path": "/events"},
            },
            f"{HOST}:9/events",
            "sse",
        ),
        ({"labels": {"kagent.dev/mcp-service": "true"}}, f"{HOST}:8000/mcp", "http"),
        (
            {
                "labels": {"kagent.dev/mcp-service": "true"},
                "annotations": {
                    "kagent.dev/mcp-service-path": "/tools",
                    "kagent.dev/mcp-service-port": "80",
                    "kagent.dev/mcp-service-protocol": "STREAMABLE_HTTP",
                },
                "ports": TWO,
            },
            f"{HOST}:80/tools",
            "http",
        ),
    ],
)
def test_a_server_is_found_by_what_its_service_says(said: Any, url: str, transport: str) -> None:
    assert _read(**said) == DiscoveredServer("team-a/search", url, transport)


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"scraped": {"path": "/mcp"}},
        {"scraped": {"scrape": "false"}, "labels": {"kagent.dev/mcp-service": "true"}},
        {"ports": [{"port": 80, "appProtocol": "http"}]},
    ],
)
def test_others_are_none(said: Any) -> None:
    assert _read(**said) is None


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"type": "ExternalName"}, "leads out of the cluster"),
        ({"scraped": {"transport": "stdio"}}, "neither http nor sse"),
        ({"scraped": {"name": "../../etc"}}, "is no name"),
        ({"scraped": {"name": "a\x1b[2J"}}, "is no name"),
        ({"scraped": {"path": "mcp"}}, "path"),
        ({"scraped": {"path": "/${file:/etc/passwd}"}}, "path"),
        ({"scraped": {"path": "/$HOME"}}, "path"),
        ({"scraped": {"path": "/mcp?token=1"}}, "path"),
        ({"scraped": {"path": "/mcp\n"}}, "path"),
        ({"scraped": {"path": "/" + 600 * "a"}}, "path"),
        ({"scraped": {"port": "9"}}, "port"),
        ({"scraped": {"port": "8000@evil.example"}}, "port"),
        ({"ports": [{"port": 53, "protocol": "UDP"}]}, "port"),
        ({"ports": [{"port": 1}, {"port": 2}]}, "port"),
        ({"ports": []}, "port"),
    ],
)
def test_what_cannot_be_followed_is_refused_with_its_reason(said: Any, reason: str) -> None:
    said = {**said, "scraped": {"scrape": "true", **said.get("scraped", {})}}
    with pytest.raises(ServiceError, match=reason):
        _read(**said)


def test_a_name_of_its_own_stays_in_its_namespace() -> None:
    found = _read(scraped={"scrape": "true", "name": "Web.Search"})
    assert found is not None
    assert found.name == "team-a/Web.Search"


def test_a_command_a_header_and_a_token_are_nothing() -> None:
    said = {"scrape": "true", "command": "sh", "headers": "Authorization: x", "url": "http://evil"}
    found = _read(scraped=said)
    assert found is not None
    assert found.settings == {"url": f"{HOST}:8000/mcp"}


@given(
    st.dictionaries(st.sampled_from(["transport", "path", "port", "name"]), st.text()), st.text()
)
def test_whatever_is_written_leads_to_the_service_or_nowhere(
    said: dict[str, str], name: str
) -> None:
    hostile = service("team-a", name, scraped={"scrape": "true", **said})
    try:
        found = read(hostile, DOMAIN)
    except ServiceError:
        return
    assert found is not None
    assert found.url.startswith(f"http://{name}.team-a.svc.cluster.local:8000/")
    assert found.name.startswith("team-a/")
    assert "$" not in found.url
    assert found.name.isprintable()
