"""An MCP server over stdio that costs as little as Python can."""

from __future__ import annotations

import os
import sys

from bench.servers.answers import answer


def main() -> None:
    """Answer lines until there are none; ``--cpu N`` says where, ``--tools N`` what is listed."""
    options = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
    if "--cpu" in options:
        os.sched_setaffinity(0, {int(options["--cpu"])})
    tools = int(options.get("--tools", "10"))
    lines = bytearray()
    while data := os.read(0, 1 << 18):
        lines += data
        if b"\n" not in data:
            continue
        *whole, rest = lines.split(b"\n")
        lines = rest
        reply(
            b"".join(b"%b\n" % message for line in whole for message in answer(bytes(line), tools))
        )


def reply(data: bytes) -> None:
    """Write all of it, for a pipe takes what it has room for."""
    while data:
        data = data[os.write(1, data) :]


if __name__ == "__main__":
    main()
