"""A scrape is rendered as its client reads it, and compressed where it says so."""

from __future__ import annotations

import gzip
from collections.abc import Iterator

import pytest

from exporter.transport.http.request import Request
from exporter.web.scrape import ScrapeReply, accepts_gzip, gzipped
from tests.support.fakes import Downstream, OpenApplication, on_fake_time, settle

PIECE = b"x" * 1000


class Site(OpenApplication):
    """Serves scrapes of many pieces, and counts those that were made."""

    def __init__(self, pieces: int = 1000, breaks_after: int | None = None) -> None:
        self.made = self.sent = 0
        self._pieces = pieces
        self._breaks_after = breaks_after
        self.client = Downstream(self)

    def handle(self, request: Request) -> None:
        ScrapeReply(request, self._render(), self.note_sent).start(
            [(b"Content-Type", b"text/plain")]
        )

    def reject(self, request: Request, status: int, reason: str) -> None:
        raise AssertionError((request, status, reason))

    def note_sent(self) -> None:
        self.sent += 1

    def _render(self) -> Iterator[bytes]:
        for _ in range(self._pieces):
            if self.made == self._breaks_after:
                raise ValueError("a collector broke")
            self.made += 1
            yield PIECE


SCRAPE = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"


@on_fake_time
async def test_a_whole_scrape_is_every_piece() -> None:
    site = Site(pieces=5)
    site.client.say(SCRAPE)
    await settle()
    (reply,) = site.client.replies()
    assert reply.body == PIECE * 5
    assert site.sent == 1


@on_fake_time
async def test_of_a_scrape_that_is_not_read_no_further_piece_is_made() -> None:
    site = Site()
    site.client.say(SCRAPE)
    site.client.protocol.pause_writing()
    await settle()
    assert site.made == 1
    site.client.protocol.resume_writing()
    await settle()
    assert site.made > 5


@on_fake_time
async def test_of_a_scrape_whose_client_is_gone_no_further_piece_is_made() -> None:
    site = Site()
    site.client.say(SCRAPE)
    site.client.abort()
    await settle()
    assert site.made <= 2
    assert site.sent == 0


@on_fake_time
async def test_a_scrape_that_breaks_is_cut_so_that_no_half_counts_as_whole(
    caplog: pytest.LogCaptureFixture,
) -> None:
    site = Site(breaks_after=2)
    site.client.say(SCRAPE)
    await settle()
    assert site.client.is_aborted
    assert caplog.records[0].message == "a scrape could not be rendered"


def test_gzip_loses_nothing() -> None:
    assert gzip.decompress(b"".join(gzipped([b"one", b"two"]))) == b"onetwo"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"gzip", True),
        (b"deflate, GZIP;q=0.5", True),
        (b"*", True),
        (b"gzip;q=0", False),
        (b"gzip; q=0.0, *", False),
        (b"identity, *;q=0", False),
        (b"notgzip", False),
        (b"gzip;q=much", False),
        (b"", False),
    ],
)
def test_gzip_is_sent_to_whom_takes_it(header: bytes, expected: bool) -> None:
    assert accepts_gzip(header) is expected
