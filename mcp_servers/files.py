"""Reads and lists the files of one folder, and nothing outside it."""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

from exporter import __version__
from mcp_servers import serving

MAX_BYTES = 1024 * 1024
MAX_ENTRIES = 10_000
MAX_STEPS = 200

_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Folder:
    """A folder that no path leads out of.

    Each part of a path is opened below the one before, never through a link; a link is read and
    its parts are walked the same way. So a folder or link that is exchanged meanwhile cannot lead
    outside either. O_NONBLOCK keeps a named pipe from holding up the call."""

    def __init__(self, path: Path) -> None:
        self._root = os.open(path, _OPEN | os.O_DIRECTORY)

    def close(self) -> None:
        os.close(self._root)

    def read(self, path: str) -> str:
        """The text of a file. Raises ToolError where it is none, or larger than MAX_BYTES."""
        with self._opened(path) as (file, status):
            if not stat.S_ISREG(status.st_mode):
                kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a special file"
                raise ToolError(f"{path!r} is {kind}, not a file")
            with open(file, "rb", closefd=False) as stream:
                data = stream.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise ToolError(f"{path!r} is larger than {MAX_BYTES} bytes")
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise ToolError(f"{path!r} is not UTF-8 text") from None

    def list(self, path: str) -> list[str]:
        """The sorted names in a folder, those of folders with a slash at the end. Raises ToolError
        where it is none, or holds more than MAX_ENTRIES."""
        with self._opened(path) as (folder, status):
            if not stat.S_ISDIR(status.st_mode):
                raise ToolError(f"{path!r} is not a folder")
            with os.scandir(folder) as entries:
                names = sorted(_shown(entry) for entry in islice(entries, MAX_ENTRIES + 1))
        if len(names) > MAX_ENTRIES:
            raise ToolError(f"{path!r} holds more than {MAX_ENTRIES} entries")
        return names

    @contextmanager
    def _opened(self, path: str) -> Iterator[tuple[int, os.stat_result]]:
        parts = _parts(path)
        with ExitStack() as opened:
            try:
                descriptor = self._walk(parts, opened)
            except OSError as error:
                raise ToolError(f"{path!r}: {error.strerror}") from None
            yield descriptor, os.fstat(descriptor)

    def _walk(self, parts: deque[str], opened: ExitStack) -> int:
        trail = [self._root]
        for _ in range(MAX_STEPS):
            if not parts:
                return trail[-1]
            part = parts.popleft()
            if part == "..":  # from a link: the caller's own were refused
                trail.pop()
            elif part not in ("", ".") and not _followed(part, trail[-1], parts):
                trail.append(os.open(part, _OPEN, dir_fd=trail[-1]))
                opened.callback(os.close, trail[-1])
            if not trail:
                raise ToolError("the path has a link that leads out of the folder")
        raise ToolError("the path is too deep, or has a link to itself")


def _parts(path: str) -> deque[str]:
    parts = path.split("/")
    if path.startswith("/"):
        raise ToolError(f"{path!r} is absolute; paths start from the folder that is served")
    if ".." in parts:
        raise ToolError(f"{path!r} has a part '..', which is not allowed")
    if "\0" in path or any("\ud800" <= character <= "\udfff" for character in path):
        raise ToolError("the path has a character that no path can have")
    return deque(parts)


def _followed(part: str, folder: int, parts: deque[str]) -> bool:
    """Whether `part` is a link; then what it says is put in front of `parts`."""
    try:
        target = os.readlink(part, dir_fd=folder)
    except OSError as error:
        if error.errno == errno.EINVAL:
            return False
        raise
    if target.startswith("/"):
        raise ToolError("the path has a link that leads out of the folder")
    parts.extendleft(reversed(target.split("/")))
    return True


def _shown(entry: os.DirEntry[str]) -> str:
    name = os.fsencode(entry.name).decode(errors="replace")
    return f"{name}/" if entry.is_dir(follow_symlinks=False) else name


def build(folder: Folder) -> MCPServer[Any]:
    """The server of this folder."""
    server = MCPServer("files", version=__version__, log_level="WARNING")

    @server.tool()
    def read_file(path: str) -> str:
        """Read a text file. The path is relative to the folder that is served."""
        return folder.read(path)

    @server.tool()
    def list_files(path: str = ".") -> list[str]:
        """List the names in a folder; those of folders end with a slash."""
        return folder.list(path)

    return server


def main() -> None:
    parser = serving.arguments("files", __doc__)
    parser.add_argument(
        "--root",
        metavar="DIR",
        type=Path,
        default=Path(),
        help="the folder to serve (default: the current one)",
    )
    options = parser.parse_args()
    try:
        folder = Folder(options.root)
    except OSError as error:
        parser.error(f"--root {options.root}: {error.strerror}; name a folder")
    serving.serve(build(folder), options.http)


if __name__ == "__main__":
    main()
