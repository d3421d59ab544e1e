"""Where ``wrap`` and the exporter meet: a Unix socket that only its owner can use.

Clients start their servers with few environment variables (not with ``XDG_RUNTIME_DIR``), so the
place follows from the user's id alone, and both sides find the same. Where Python has no Unix
sockets, it is a port that a file names (``loopback``).
"""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False  # typing alone takes milliseconds to load, and so does socket
if TYPE_CHECKING:
    import socket

NAME = "wrap.sock"

PORT_FILE = ".port"
"""How the path of a file ends that names a port, where there are Unix sockets too."""

CONNECT_TIME = 2.0

MAX_PATH = 103
"""Bytes that the path of a Unix socket can have on every system."""


def default_path() -> str:
    """The user's own place; empty where the system does not say where that is."""
    if os.name != "posix":
        folder = os.environ.get("LOCALAPPDATA")
        return os.path.join(folder, "mcp-exporter", f"wrap{PORT_FILE}") if folder else ""  # noqa: PTH118
    user = os.getuid()
    runtime = f"/run/user/{user}"
    if _is_private(runtime):
        return f"{runtime}/mcp-exporter/{NAME}"
    return f"/tmp/mcp-exporter-{user}/{NAME}"  # noqa: S108  its owner is checked on both sides


def is_port(path: str) -> bool:
    """Whether a file names a port here, and this is no Unix socket."""
    return os.name != "posix" or path.endswith(PORT_FILE)


def connect(path: str) -> socket.socket:
    """Reach the exporter. Raises ``OSError`` where there is none that can be trusted."""
    if is_port(path):
        from exporter.wrap import loopback

        return loopback.call(path)
    import socket

    if not is_trusted(path):
        raise FileNotFoundError(path)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(CONNECT_TIME)
    try:
        connection.connect(path)
    except OSError:
        connection.close()
        raise
    return connection


def is_trusted(path: str) -> bool:
    """Whether no other user can have put the socket there."""
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISSOCK(found.st_mode) and found.st_uid == os.getuid()


def listen(path: str) -> socket.socket:
    """Open the socket, readable and writable for its owner alone; or a port.

    Raises ``OSError``: ``FileExistsError`` where another exporter listens there.
    """
    if is_port(path):
        from exporter.wrap import loopback

        return loopback.listen(path)
    import socket

    if len(os.fsencode(path)) > MAX_PATH:
        raise OSError(f"the path is longer than {MAX_PATH} bytes")
    folder = os.path.dirname(os.path.abspath(path))  # noqa: PTH100, PTH120
    os.makedirs(folder, mode=0o700, exist_ok=True)  # noqa: PTH103
    if path == default_path() and not _is_private(folder):
        raise PermissionError(f"{folder} is not a folder of this user alone")
    _clear(path)
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        opened.bind(path)
        opened.listen(128)
    except OSError:
        opened.close()
        raise
    finally:
        os.umask(before)
    opened.setblocking(False)
    return opened


def _clear(path: str) -> None:
    """Remove what a dead exporter left."""
    if not is_trusted(path):
        return
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        caller.settimeout(0.5)
        try:
            caller.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)  # noqa: PTH108
        except OSError:  # it is slow, so it is alive
            raise FileExistsError("another exporter listens there") from None
        else:
            raise FileExistsError("another exporter listens there")


def _is_private(folder: str) -> bool:
    try:
        found = os.lstat(folder)
    except OSError:
        return False
    is_own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    return is_own and not found.st_mode & 0o077
