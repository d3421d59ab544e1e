"""``mcp-exporter import``: shows, rewrites and brings back the files of desktop clients."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from exporter.cli.desktop import locations, own_config, restore, rewrite
from exporter.cli.desktop.locations import ClientFile
from exporter.cli.desktop.own_config import OwnConfig
from exporter.cli.desktop.rewrite import ExporterRoute, Found
from exporter.cli.desktop.syntax import syntax_of
from exporter.config import files
from exporter.config.errors import ConfigError
from exporter.protocol.printable import printable

_MARK = ".mcp-exporter-"

_ISOLATED = (sys.executable, "-E", "-P", "-m", "exporter")
"""Starts this program though ``PYTHONPATH`` leads elsewhere, as it does for many servers."""


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What the command line says."""

    path: Path | None
    is_written: bool
    is_undone: bool
    is_forced: bool
    config_file: Path
    base_url: str
    """How clients reach the MCP listener."""


def url_of(host: str, port: int) -> str:
    """How a client on this machine reaches a listener."""
    if host in ("0.0.0.0", "::"):  # noqa: S104  every address: loopback is one
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run(options: ImportOptions) -> int:
    """Do it; return the exit code. Raises ``ConfigError`` where there is nothing to do it to."""
    found = _files(options.path)
    own = OwnConfig(options.config_file, options.base_url)
    if options.is_undone:
        return max(_undo(each.path, options.is_forced, own) for each in found)
    if options.is_written:
        _tell(own, [each for each in found if not each.is_project])
    remotes = own.remotes()
    code = max(_import(each, remotes, options.is_written) for each in found)
    if not options.is_written:
        _say("Nothing was written; --write does it, after a backup, and --undo brings it back.")
    return code


def _files(path: Path | None) -> list[ClientFile]:
    if path is not None:
        if not path.is_file():
            raise ConfigError(f"{path}: there is no such file; name a client's configuration")
        return [ClientFile("", path, is_project=False)]
    found = list(locations.find(sys.platform, os.environ, Path.cwd()))
    if not found:
        raise ConfigError(
            "import: found no file of Claude Desktop, Claude Code, Codex, Cursor, VS Code or "
            "Windsurf; name one: mcp-exporter import PATH"
        )
    return found


def _tell(own: OwnConfig, files: Iterable[ClientFile]) -> None:
    """Write the exporter's configuration, where there is none yet."""
    if own.is_there:
        return
    remotes: dict[str, Mapping[str, object]] = {}
    for each in files:
        with contextlib.suppress(ValueError):
            route = ExporterRoute(_program(), {})
            found = rewrite.find(_read(each.path), route, syntax_of(each.path))
            for server in found:
                remotes.setdefault(server.name, own.entry(server.remote or {}, each.path))
    for line in own.write({name: entry for name, entry in remotes.items() if entry}):
        _say(line)


def _import(file: ClientFile, remotes: Mapping[str, tuple[str, str]], is_written: bool) -> int:
    _say(f"{file.client}: {file.path}" if file.client else str(file.path))
    route = ExporterRoute(_program(), remotes, _ISOLATED, own_config.expander(file.path))
    try:
        text = _read(file.path)
        found = rewrite.find(text, route, syntax_of(file.path))
    except ValueError as problem:
        _say(f"  left alone: {problem}")
        return 1
    _show(found)
    new = rewrite.apply(text, found)
    if file.is_project and new != text:
        _say("  a project's file, and may be a stranger's: name it to have it rewritten")
    elif is_written and new != text:
        backup = _replace(file.path.resolve(), text.encode(), new.encode())
        _say(f"  written; it was kept as {backup.name}")
    return 0


def _show(found: Sequence[Found]) -> None:
    if not found:
        _say("  no servers")
    width = max((len(each.name) for each in found), default=0)
    for each in found:
        _say(f"  {each.name:<{width}}  {each.transport:<5}  {each.fate}")


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    except OSError as error:
        raise ValueError(f"it cannot be read: {error.strerror}") from None


def _replace(path: Path, old: bytes, new: bytes) -> Path:
    """Write a file whole or not at all; return where the old one is kept.

    The name of the backup says what was written, so that undo knows whether that is still so.
    """
    now = datetime.now().astimezone()
    backup = path.with_name(f"{path.name}{_MARK}{now:%Y%m%d-%H%M%S-%f}-{_sum(new)}.bak")
    try:
        before = path.stat()
        files.create(backup, old, stat.S_IMODE(before.st_mode))
        os.utime(backup, ns=(before.st_atime_ns, before.st_mtime_ns))
        files.replace(path, new)
    except OSError as error:
        raise _unwritable(path, error) from None
    return backup


def _unwritable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(f"{path}: cannot be written: {error.strerror}; nothing changed")


def _undo(path: Path, is_forced: bool, own: OwnConfig) -> int:
    path = path.resolve()
    found = path.parent.glob(f"{_escaped(path.name)}{_MARK}*-*.bak")
    backups = sorted(each for each in found if not each.is_symlink())  # ours are files
    if not backups:
        _say(f"{path}: nothing to undo")
        return 0
    last = backups[-1]
    if not is_forced and not last.stem.endswith(_sum(path.read_bytes())):
        return _take_out(path, last, own)
    last.replace(path)
    _say(f"{path}: is again what it was")
    return 0


def _take_out(path: Path, last: Path, own: OwnConfig) -> int:
    """Bring back the servers of a file that has changed since, and keep the changes."""
    try:
        syntax = syntax_of(path)
        text, written = _read(path), restore.urls(_read(last), syntax)
        remotes = {
            name: (written.get(name, url), ours) for name, (url, ours) in own.remotes().items()
        }
        new = rewrite.exchange(text, restore.find(text, remotes, syntax))
    except ValueError as problem:
        _say(
            f"{path}: left alone, for it changed since; --force brings back {last.name}: {problem}"
        )
        return 1
    if new != text:
        try:
            files.replace(path, new.encode())
        except OSError as error:
            raise _unwritable(path, error) from None
    kept = last.rename(last.with_suffix(".kept"))
    _say(f"{path}: changed since, so only its servers are what they were; see also {kept.name}")
    return 0


def _escaped(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def _sum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _program() -> list[str]:
    """How a client starts this program; by its full path, for clients have another PATH."""
    program = Path(sys.argv[0]).name.startswith("mcp-exporter") and shutil.which(sys.argv[0])
    if not program:
        beside = Path(sys.executable).parent / "mcp-exporter"
        program = str(beside) if beside.exists() else ""
    return [os.path.abspath(program)] if program else [sys.executable, "-m", "exporter"]  # noqa: PTH100


def _say(line: str) -> None:
    # Names and problems are a file's own words, and the file may be a stranger's.
    sys.stdout.write(f"{printable(line)}\n")
