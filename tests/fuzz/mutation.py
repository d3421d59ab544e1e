"""Changes kept inputs at random, the same for the same seed."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

LONGEST = 4096

WORDS: Sequence[bytes] = (
    *(b"{", b"}", b"[", b"]", b'"', b":", b",", b"\\", b"\\u", b"\\ud83d", b"\\ude00", b"null"),
    *(b"true", b"1e400", b"-0", b"99999999999999999999", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf"),
    *(b"\x00", b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\t", b" ", b"//", b"/*", b"*/", b"#", b"&a"),
    *(b"*a", b"<<: ", b"!!int ", b"- ", b"? ", b"| ", b"${", b"${HOME}", b"${file:x}"),
    *(b"data:", b"event: ", b"id: ", b"retry: ", b": ", b"\n\n", b"data: {}\n\n"),
    *(b"Content-Length: ", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"),
    *(b"Expect: 100-continue\r\n", b"Connection: close\r\n", b"Upgrade: h2c\r\n", b"0\r\n\r\n"),
    *(b"5\r\nabcde\r\n", b"ffffffffffffffff\r\n", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 ", b"GET / "),
    *(b"Content-Type: text/event-stream\r\n", b"Content-Encoding: gzip\r\n"),
    *(b"HTTP/1.1 100 C\r\n\r\n", b'"id":1', b'"id":"1"', b'"jsonrpc":"2.0"', b'"result":'),
    *(b'"error":', b'"method":', b'"_meta":'),
    *(b'"command"', b'"url"', b'"servers"', b'"mcpServers"', b'"args"', b'"x-mcp-header":"Region"'),
    *(b"=?base64?", b"?=", b"tools/call", b"notifications/cancelled", b"isError", b"resultType"),
)  # fmt: skip


class Mutator:
    """An endless source of inputs."""

    def __init__(self, seeds: Sequence[bytes], seed: int) -> None:
        self._seeds = seeds
        self._random = Random(seed)
        self._ways = (
            *(self._insert, self._insert, self._replace, self._delete, self._flip),
            *(self._repeat, self._splice, self._junk, self._cut),
        )

    def next(self) -> bytes:
        """One input; now and then a seed as it is."""
        data = self._random.choice(self._seeds)
        for _ in range(self._random.randrange(6)):
            data = self._random.choice(self._ways)(data)
        return data[:LONGEST]

    def _at(self, data: bytes) -> int:
        return self._random.randint(0, len(data))

    def _span(self, data: bytes) -> tuple[int, int]:
        start = self._at(data)
        return start, min(len(data), start + self._random.choice([1, 2, 5, 20, 100]))

    def _insert(self, data: bytes) -> bytes:
        at = self._at(data)
        return data[:at] + self._random.choice(WORDS) + data[at:]

    def _replace(self, data: bytes) -> bytes:
        start, end = self._span(data)
        return data[:start] + self._random.choice(WORDS) + data[end:]

    def _delete(self, data: bytes) -> bytes:
        start, end = self._span(data)
        return data[:start] + data[end:]

    def _flip(self, data: bytes) -> bytes:
        if not data:
            return b"\0"
        at = self._random.randrange(len(data))
        return data[:at] + bytes([data[at] ^ 1 << self._random.randrange(8)]) + data[at + 1 :]

    def _repeat(self, data: bytes) -> bytes:
        start, end = self._span(data)
        return data[:end] + data[start:end] * self._random.choice([1, 2, 9, 300]) + data[end:]

    def _splice(self, data: bytes) -> bytes:
        other = self._random.choice(self._seeds)
        return data[: self._at(data)] + other[self._at(other) :]

    def _junk(self, data: bytes) -> bytes:
        at = self._at(data)
        return data[:at] + self._random.randbytes(self._random.choice([1, 4, 30])) + data[at:]

    def _cut(self, data: bytes) -> bytes:
        return data[: self._at(data)]
