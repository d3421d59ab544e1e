"""What a request says."""

from __future__ import annotations

from tests.support.fakes import bare_request


def test_the_first_of_two_headers_counts_whatever_its_case() -> None:
    found = bare_request()
    found.headers = [(b"X-Name", b"first"), (b"x-name", b"second")]
    assert (found.header(b"x-name"), found.header(b"x-other")) == (b"first", None)


def test_the_target_has_a_path_and_a_query() -> None:
    found = bare_request()
    found.target = b"/a/mcp?x=1&y"
    assert (found.path, found.query) == (b"/a/mcp", b"x=1&y")


def test_another_trace_context_is_its_header_s_and_what_follows_it_stays() -> None:
    found = bare_request(traceparent="01-aa-bb-01-more", accept="x")
    assert found.header(b"traceparent") == b"01-aa-bb-01-more"
    found.have_traceparent("01-aa-cc-01")
    assert found.headers == [(b"traceparent", b"01-aa-cc-01-more"), (b"accept", b"x")]
    assert found.header(b"traceparent") == b"01-aa-cc-01-more"
