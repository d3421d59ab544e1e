"""One request, sent again and again: a small load test.

The SDK writes the request once. To let it write each of them would mostly measure the SDK, whose
own work is some milliseconds a call.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from msgspec import UNSET

from exporter.probe.http_client import Reply
from exporter.protocol.failures import UpstreamError
from exporter.transport.http.head import Headers
from exporter.transport.http.pool import Pool

NO_TEXT = "an error without a text"

_SHARES = (0.5, 0.9, 0.95, 0.99, 1.0)
_LONGEST = 200
_FIRST_ID = 1_000_000  # far from those that the SDK still gives in the same session

_OF_THE_CONNECTION = {b"accept-encoding", b"connection", b"content-length", b"transfer-encoding"}


@dataclass(slots=True)
class LoadResult:
    """What became of a row of calls; ``seconds`` of each that was timed, whatever its outcome."""

    calls: int = 0
    seconds: list[float] = field(default_factory=list)
    failures: int = 0
    first_failure: str = ""

    def note(self, seconds: float | None, failure: str | None) -> None:
        """One call has ended; ``None`` seconds: it does not belong to the figures."""
        self.calls += 1
        if seconds is not None:
            self.seconds.append(seconds)
        if failure is not None:
            self.failures += 1
            self.first_failure = self.first_failure or failure

    def summary(self, elapsed: float) -> str:
        """The figures, as text."""
        ordered = sorted(self.seconds)
        timed = len(ordered)
        pace = f"{timed} timed, in {elapsed:.2f} s ({timed / elapsed:.0f}/s)"
        lines = [f"{self.calls} calls, {self.failures} failed; {pace}"]
        for share in _SHARES:
            value = ordered[min(timed - 1, int(share * timed))]
            name = "max" if share == 1.0 else f"p{share * 100:g}"
            lines.append(f"  {name:<4} {value * 1000:9.2f} ms")
        if self.first_failure:
            words = " ".join(self.first_failure.split())
            lines.append(f"first failure: {words[:_LONGEST]}")
        return "\n".join([*lines, ""])


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """A request as the SDK wrote it."""

    headers: Headers
    message: dict[str, Any]

    @classmethod
    def read(cls, headers: Headers, body: bytes) -> RecordedRequest:
        """Take it over, without what belongs to its connection."""
        kept = [each for each in headers if each[0].lower() not in _OF_THE_CONNECTION]
        return cls(kept, json.loads(body))

    def again(self, target: bytes, number: int) -> bytes:
        """The same request with another id."""
        body = json.dumps({**self.message, "id": number}).encode()
        length = (b"Content-Length", b"%d" % len(body))
        fields = [b"%b: %b" % each for each in (*self.headers, length)]
        return b"\r\n".join([b"POST %b HTTP/1.1" % target, *fields, b"", body])


class Load:
    """Sends a request to ``url`` as often as is asked."""

    def __init__(self, url: str, recorded: RecordedRequest, result: LoadResult) -> None:
        self._pool = Pool(url, asyncio.get_running_loop())
        self._recorded = recorded
        self._result = result

    async def run(self, calls: int, concurrency: int, show: Callable[[int], None]) -> None:
        """Make the calls, so many at once; ``show`` is called with the number so far."""
        left = iter(range(_FIRST_ID, _FIRST_ID + calls))
        try:
            await asyncio.gather(*(self._work(left, show) for _ in range(concurrency)))
        finally:
            self._pool.close()

    async def _work(self, left: Iterator[int], show: Callable[[int], None]) -> None:
        for number in left:
            reply = Reply(number)
            request = self._recorded.again(self._pool.target, number)
            began = monotonic()
            reply.pending = self._pool.send(request, reply)
            lost = await _lost(reply)
            seconds = monotonic() - began
            self._result.note(seconds, lost or _failure(reply))
            show(self._result.calls)


async def _lost(reply: Reply) -> str | None:
    try:
        await reply.arrived
    except UpstreamError as error:
        return str(error)
    return None


def _failure(reply: Reply) -> str | None:
    message = reply.message
    if message is None:
        return str(reply.failure())
    if message.error is not UNSET:
        return str(json.loads(reply.data)["error"].get("message"))
    if message.result is UNSET or not message.result.is_error:
        return None
    contents = json.loads(reply.data)["result"].get("content")
    parts = contents if isinstance(contents, list) else []
    texts = (part.get("text") for part in parts if isinstance(part, dict))
    return " ".join(text for text in texts if isinstance(text, str)) or NO_TEXT
