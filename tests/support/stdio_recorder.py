"""Runs a stdio server and keeps what passes: python -m tests.support.stdio_recorder FOLDER COMMAND…

``heard`` is what came from the client, ``said`` what the server answered. It ends with the server.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from threading import Thread

CHUNK = 64 * 1024


def main() -> int:
    folder, command = Path(sys.argv[1]), sys.argv[2:]
    folder.mkdir(parents=True, exist_ok=True)
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, bufsize=0) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        heard = (0, server.stdin.fileno(), folder / "heard")
        said = (server.stdout.fileno(), 1, folder / "said")
        Thread(target=copy, args=heard, daemon=True).start()
        copy(*said)
        return server.wait()


def copy(source: int, sink: int, file: Path) -> None:
    with file.open("wb", buffering=0) as kept, contextlib.suppress(OSError):
        while data := os.read(source, CHUNK):
            kept.write(data)
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(sink, rest) :]
    os.close(sink)


if __name__ == "__main__":
    os._exit(main())  # the thread may still wait for the client
