"""The exporter's own URL where a server names its own, and nowhere else."""

from __future__ import annotations

import json

import pytest

from exporter.relay.oauth import OwnUrl, ProtectedResource
from exporter.transport.http.request import Request
from tests.support.fakes import bare_request

WELL_KNOWN = "/.well-known/oauth-protected-resource"
OWN = b"http://localhost:6279/.well-known/oauth-protected-resource/files/mcp"


def sent_to(path: bytes) -> Request:
    request = bare_request(Host="localhost:6279")
    request.target = path
    return request


@pytest.mark.parametrize(
    ("external", "url"),
    [
        (None, "http://localhost:6279/files/mcp"),
        ("https://mcp.example", "https://mcp.example/files/mcp"),
        ("https://mcp.example/base/", "https://mcp.example/base/files/mcp"),
    ],
)
def test_a_server_is_at_the_exporter_as_the_client_knows_it(external: str | None, url: str) -> None:
    request = sent_to(b"/files/mcp")
    assert OwnUrl(external).of(request) == url


@pytest.mark.parametrize("prefix", [b"", WELL_KNOWN.encode()])
@pytest.mark.parametrize(
    ("path", "written"),
    [
        (b"/files/mcp", "/files/mcp"),
        (b"/files/sse", "/files/sse"),
        (b"/files/mcp/", "/files/mcp/"),
        (b"/my%20files%2F%C3%BC/mcp", "/my%20files%2F%C3%BC/mcp"),
        (b"/@scope/a:b~c/mcp", "/@scope/a:b~c/mcp"),
        (b"/%40scope/mcp", "/%40scope/mcp"),
        (b'/a"b/mcp', "/a%22b/mcp"),
        (b"/files/message/" + b"0123456789abcdef" * 2, "/files/sse"),
    ],
)
def test_the_url_is_the_one_that_the_client_used(prefix: bytes, path: bytes, written: str) -> None:
    assert OwnUrl(None).of(sent_to(prefix + path)) == f"http://localhost:6279{written}"


@pytest.mark.parametrize(
    ("external", "url"),
    [
        (None, f"http://localhost:6279{WELL_KNOWN}/files/mcp"),
        ("https://mcp.example", f"https://mcp.example{WELL_KNOWN}/files/mcp"),
        ("https://mcp.example/base", f"https://mcp.example{WELL_KNOWN}/base/files/mcp"),
    ],
)
def test_the_metadata_is_between_the_host_and_the_path(external: str | None, url: str) -> None:
    request = sent_to(b"/files/mcp")
    assert OwnUrl(external).metadata_of(request) == url


@pytest.mark.parametrize(
    ("challenge", "rewritten"),
    [
        (b'Bearer resource_metadata="http://up:8000/x"', b'Bearer resource_metadata="%b"' % OWN),
        (
            b'Bearer error="e", RESOURCE_METADATA="http://UP:8000/x?y", scope="a b"',
            b'Bearer error="e", RESOURCE_METADATA="%b", scope="a b"' % OWN,
        ),
        (b'Bearer resource_metadata="/relative"', b'Bearer resource_metadata="%b"' % OWN),
        (b"Bearer resource_metadata=http://up:8000/x", b'Bearer resource_metadata="%b"' % OWN),
        (
            b'Bearer error="e",resource_metadata=/x,scope="a"',
            b'Bearer error="e",resource_metadata="%b",scope="a"' % OWN,
        ),
        (b'Bearer resource_metadata\t= "/x"', b'Bearer resource_metadata="%b"' % OWN),
        (
            b'DPoP algs="ES256", resource_metadata="/x", Bearer resource_metadata="/x"',
            b'DPoP algs="ES256", resource_metadata="%b", Bearer resource_metadata="%b"'
            % (OWN, OWN),
        ),
        (b'Bearer resource_metadata="\\/x"', b'Bearer resource_metadata="%b"' % OWN),
        (
            b'Bearer error_description="say \\" resource_metadata=/x"',
            b'Bearer error_description="say \\" resource_metadata=/x"',
        ),
        (b"Bearer my-resource_metadata=/x", b"Bearer my-resource_metadata=/x"),
        (b'Bearer resource_metadata="http://[x"', b'Bearer resource_metadata="http://[x"'),
        (b"Bearer", b"Bearer"),
        (b"Basic realm=x", b"Basic realm=x"),
        (
            b'Bearer resource_metadata="https://other.example/x"',
            b'Bearer resource_metadata="https://other.example/x"',
        ),
        (
            b'Bearer resource_metadata="https://up:8000/x"',
            b'Bearer resource_metadata="https://up:8000/x"',
        ),
        (
            b'Bearer resource_metadata="http://up:99999999/x"',
            b'Bearer resource_metadata="http://up:99999999/x"',
        ),
    ],
)
def test_a_challenge_of_the_server_itself_points_to_the_exporter(
    challenge: bytes, rewritten: bytes
) -> None:
    resource = ProtectedResource("http://up:8000/mcp")
    assert resource.rewrite_challenge(challenge, OWN) == rewritten


def test_a_default_port_is_the_same_origin_with_and_without_it() -> None:
    resource = ProtectedResource("https://up/mcp")
    challenge = b'Bearer resource_metadata="https://up:443/x"'
    assert OWN in resource.rewrite_challenge(challenge, OWN)


@pytest.mark.parametrize(
    ("url", "targets"),
    [
        ("http://up/a/mcp", [f"{WELL_KNOWN}/a/mcp", WELL_KNOWN]),
        ("http://up/mcp/", [f"{WELL_KNOWN}/mcp", WELL_KNOWN]),
        ("http://up", [WELL_KNOWN]),
        ("http://up/", [WELL_KNOWN]),
    ],
)
def test_metadata_is_looked_for_beside_the_path_and_then_at_the_root(
    url: str, targets: list[str]
) -> None:
    assert ProtectedResource(url).targets() == [target.encode() for target in targets]


def test_metadata_is_where_the_server_announced_it() -> None:
    resource = ProtectedResource("http://up:8000/mcp")
    resource.rewrite_challenge(b'Bearer resource_metadata="http://up:8000/meta?v=1"', OWN)
    assert resource.targets() == [b"/meta?v=1"]
    resource.rewrite_challenge(b'Bearer resource_metadata="http://other/meta"', OWN)
    assert resource.targets() == [b"/meta?v=1"], "a foreign address is the client's own business"


@pytest.mark.parametrize(
    "meant", ["http://up:8000/mcp", "http://UP:8000/mcp/", "http://up:8000", "http://up:8000/"]
)
def test_metadata_of_the_server_speaks_of_the_exporter(meant: str) -> None:
    resource = ProtectedResource("http://up:8000/mcp")
    body = b'{"resource": "%b", "scopes": [ "a" ], "n": 1.00}' % meant.encode()
    rewritten = resource.rewrite_metadata(body, "http://own/files/mcp")
    assert rewritten == b'{"resource":"http://own/files/mcp","scopes":[ "a" ],"n":1.00}'


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"no json", b"[]", b"{}", b'{"resource":7}', b'{"resource":null}', b"\xff"),
        *(
            json.dumps({"resource": other}).encode()
            for other in ("http://other/mcp", "https://up:8000/mcp", "http://up:8000/mc", "::", "")
        ),
        b'{"resource":"http://up:8000/mcp/deeper"}',
    ],
)
def test_metadata_of_anything_else_stays_as_wrong_as_it_is(body: bytes) -> None:
    resource = ProtectedResource("http://up:8000/mcp")
    assert resource.rewrite_metadata(body, "http://own/files/mcp") == body
