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
