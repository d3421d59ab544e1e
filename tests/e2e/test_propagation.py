"""With ``propagate`` 16 digits of a request differ, without it none, over every transport.

A request of 2026-07-28 to a stdio server is written anew in any case: there it is one member.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_fidelity import ENVELOPE, REQUESTS, RESULTS
from tests.support import raw_server
from tests.support.exporting import Exporter, exporter, scripted_stdio
from tests.support.raw_client import ACCEPTED, ask, legacy, modern, open_session
from tests.support.raw_server import RawServer, whole
from tests.support.trace_receiver import TraceReceiver, receiving

pytestmark = pytest.mark.e2e

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
CONTEXT = f"00-{TRACE}-{PARENT}-01"
UNSAMPLED = f"00-{TRACE}-{PARENT}-00"
PLACES: Mapping[str, dict[str, Any]] = {"observed": {}, "joined": {"propagate": True}}


class Bench:
    """An exporter before a server that keeps what it gets, once observed and once joined."""

    def __init__(self, running: Exporter, server: RawServer, receiver: TraceReceiver) -> None:
        self.running = running
        self.server = server
        self.receiver = receiver

    def get(self, place: str, body: bytes, **headers: str) -> tuple[bytes, list[bytes]]:
        """The body and the trace contexts that the server gets."""
        assert ask(self.running.url(place), body, {**ACCEPTED, **headers}).status == 202
        return self.server.last.body, self.server.last.values(b"traceparent")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with receiving() as receiver, raw_server.serving(lambda _: whole(202, b"")) as server:
        servers = {place: {"url": server.url, **more} for place, more in PLACES.items()}
        tracing = {"endpoint": receiver.url}
        folder = tmp_path_factory.mktemp("propagation")
        with exporter(folder, servers, tracing=tracing) as running:
            yield Bench(running, server, receiver)


def with_context(params: bytes, context: str) -> bytes:
    meta = b'{"x":1e400,"traceparent":"%b","tracestate":"a=1"}' % context.encode()
    return b'{"id":1,"method":"tools/call","params":{"n":%b,"_meta":%b} ,"jsonrpc":"2.0"}' % (
        params,
        meta,
    )


def parent_of(text: bytes) -> bytes:
    found = re.search(rb"00-%b-([0-9a-f]{16})-0[01]" % TRACE.encode(), text)
    assert found is not None, text
    return found[1]


@pytest.mark.parametrize("place", PLACES)
def test_what_has_no_sampled_context_goes_up_as_it_came(bench: Bench, place: str) -> None:
    for name, body in REQUESTS.items():
        assert bench.get(place, body) == (body, []), name
    for name, params in RESULTS.items():
        body = with_context(params, UNSAMPLED)
        assert bench.get(place, body, traceparent=UNSAMPLED) == (body, [UNSAMPLED.encode()]), name


@pytest.mark.parametrize("params", RESULTS.values(), ids=RESULTS.keys())
def test_in_the_message_of_a_joined_server_sixteen_digits_differ(
    bench: Bench, params: bytes
) -> None:
    body = with_context(params, CONTEXT)
    other = CONTEXT.replace("4bf9", "0000").encode()
    assert bench.get("observed", body, traceparent=other.decode()) == (body, [other])
    got, headers = bench.get("joined", body, traceparent=other.decode())
    assert got == body.replace(PARENT.encode(), parent_of(got))
    assert parent_of(got) != PARENT.encode()
    assert headers == [other]


@pytest.mark.parametrize("name", ["traceparent", "Traceparent", "TRACEPARENT"])
def test_in_the_header_of_a_joined_server_sixteen_digits_differ(bench: Bench, name: str) -> None:
    body = REQUESTS["escapes"]
    for _ in range(2):  # the first time the head is read, and then it is known
        assert bench.get("observed", body, **{name: CONTEXT}) == (body, [CONTEXT.encode()])
        got, (header,) = bench.get("joined", body, **{name: CONTEXT})
        assert got == body
        assert header == CONTEXT.encode().replace(PARENT.encode(), parent_of(header))
        assert parent_of(header) != PARENT.encode()


def test_what_is_in_doubt_goes_up_as_it_came(bench: Bench) -> None:
    twice = with_context(b'"%b"' % CONTEXT.encode(), CONTEXT)
    assert bench.get("joined", twice) == (twice, [])
    escaped = with_context(b"1", CONTEXT).replace(b"-4bf9", rb"-\u0034bf9")
    assert bench.get("joined", escaped) == (escaped, [])


@pytest.fixture(scope="module")
def stdio(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Exporter, Mapping[str, Path]]]:
    folders = {place: tmp_path_factory.mktemp(place) for place in PLACES}
    servers = {
        place: {**scripted_stdio("--record", str(folders[place])), **more}
        for place, more in PLACES.items()
    }
    with receiving() as receiver:
        tracing = {"endpoint": receiver.url}
        with exporter(tmp_path_factory.mktemp("stdio"), servers, tracing=tracing) as running:
            yield running, folders


CALL = b'{"jsonrpc":"2.0","id":"own","method":"tools/call","params":{"name":"act",%b}}'
PARAMS = b'"arguments":{"how":"ok"},"x":[1e400,-0],'


@pytest.mark.parametrize("place", PLACES)
def test_a_session_s_child_gets_sixteen_other_digits_where_it_is_joined(
    stdio: tuple[Exporter, Mapping[str, Path]], place: str
) -> None:
    running, folders = stdio
    session = open_session(running.url(place))
    for context in (CONTEXT, UNSAMPLED):
        body = CALL % (PARAMS + b'"_meta":{"a":-0,"traceparent":"%b"}' % context.encode())
        assert ask(running.url(place), body, legacy(session)).status == 200
        heard = (folders[place] / "heard").read_bytes().splitlines()[-1]
        assert heard == body.replace(PARENT.encode(), parent_of(heard))
        is_joined = place == "joined" and context == CONTEXT
        assert (parent_of(heard) != PARENT.encode()) is is_joined


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("given", ["in the message", "in the header", "not at all"])
def test_the_shared_child_gets_one_member_where_it_is_joined(
    stdio: tuple[Exporter, Mapping[str, Path]], place: str, given: str
) -> None:
    running, folders = stdio
    own = b',"traceparent":"%b"' % CONTEXT.encode() if given == "in the message" else b""
    body = CALL % (PARAMS + ENVELOPE % own)
    headers = {"traceparent": CONTEXT} if given == "in the header" else {}
    assert ask(running.url(place), body, modern("tools/call", "act", **headers)).status == 200
    heard = (folders[place] / "heard").read_bytes().splitlines()[-1]
    number = re.search(rb'"id":(\d+)', heard)
    assert number is not None
    expected = body.replace(b'"id":"own"', b'"id":' + number[1])
    if place == "joined":
        told = json.loads(heard.replace(b"1e400", b"1"))["params"]["_meta"]["traceparent"]
        assert (told[3:35] == TRACE) is (given != "not at all")
        assert told[36:52] != PARENT
        member = b',"traceparent":"%b"' % told.encode()
        if own:
            expected = expected.replace(own, member)
        else:
            end = expected.rindex(b"}}}")  # of _meta
            expected = expected[:end] + member + expected[end:]
    assert heard == expected
