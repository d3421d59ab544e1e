"""``mcp-exporter import``: shows, rewrites and brings back the files of desktop clients."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from exporter.cli.desktop import locations, restore, rewrite
from exporter.cli.desktop.locations import ClientFile
from exporter.cli.desktop.rewrite import ExporterRoute, Found
from exporter.cli.terminal import printable
from exporter.config.errors import ConfigError
from exporter.config.load import load_config, parse_config

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
    mcp_address: str


def run(options: ImportOptions) -> int:
    """Do it; return the exit code. Raises ``ConfigError`` where there is nothing to do it to."""
    files = _files(options.path)
    if options.is_undone:
        remotes = _remotes(options)
        return max(_undo(each.path, options.is_forced, remotes) for each in files)
    if options.is_written:
        _write_config(files, options)
    route = ExporterRoute(_program(), _remotes(options), _ISOLATED)
    code = max(_import(each, route, options.is_written) for each in files)
    if not options.is_written:
        _say("Nothing was written; --write does it, after a backup, and --undo brings it back.")
    return code


def _files(path: Path | None) -> list[ClientFile]:
    if path is not None:
        if not path.is_file():
            raise ConfigError(f"{path}: there is no such file; name a client's configuration")
        return [ClientFile("", path)]
    found = list(locations.find(sys.platform, os.environ, Path.cwd()))
    if not found:
        raise ConfigError(
            "import: found no file of Claude Desktop, Claude Code, Cursor, VS Code or Windsurf; "
            "name one: mcp-exporter import PATH"
        )
    return found


def _import(file: ClientFile, route: ExporterRoute, is_written: bool) -> int:
    _say(f"{file.client}: {file.path}" if file.client else str(file.path))
    try:
        text = _read(file.path)
        found = rewrite.find(text, route)
    except ValueError as problem:
        _say(f"  left alone: {problem}")
        return 1
    _show(found)
    new = rewrite.apply(text, found)
    if is_written and new != text:
        backup = _replace(file.path.resolve(), new.encode())
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


def _replace(path: Path, data: bytes) -> Path:
    """Write a file whole or not at all; return where the old one is kept.

    The name of the backup says what was written, so that undo knows whether that is still so.
    """
    now = datetime.now().astimezone()
    backup = path.with_name(f"{path.name}{_MARK}{now:%Y%m%d-%H%M%S-%f}-{_sum(data)}.bak")
    try:
        shutil.copy2(path, backup)
    except OSError as error:
        raise _unwritable(path, error) from None
    _write(path, data)
    return backup


def _write(path: Path, data: bytes) -> None:
    fresh = path.with_name(f"{path.name}{_MARK}new")
    try:
        fresh.touch(mode=0o600)
        fresh.write_bytes(data)
        shutil.copymode(path, fresh)
        fresh.replace(path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(f"{path}: cannot be written: {error.strerror}; nothing changed")


def _undo(path: Path, is_forced: bool, remotes: Mapping[str, tuple[str, str]]) -> int:
    path = path.resolve()
    backups = sorted(path.parent.glob(f"{_escaped(path.name)}{_MARK}*-*.bak"))
    if not backups:
        _say(f"{path}: nothing to undo")
        return 0
    last = backups[-1]
    if not is_forced and not last.stem.endswith(_sum(path.read_bytes())):
        return _take_out(path, last, remotes)
    last.replace(path)
    _say(f"{path}: is again what it was")
    return 0


def _take_out(path: Path, last: Path, remotes: Mapping[str, tuple[str, str]]) -> int:
    """Bring back the servers of a file that has changed since, and keep the changes."""
    try:
        text = _read(path)
        new = rewrite.exchange(text, restore.find(text, remotes))
    except ValueError as problem:
        _say(
            f"{path}: left alone, for it changed since; --force brings back {last.name}: {problem}"
        )
        return 1
    if new != text:
        _write(path, new.encode())
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


def _remotes(options: ImportOptions) -> dict[str, tuple[str, str]]:
    """The URL of each remote server that the exporter serves, and the exporter's own for it."""
    if not options.config_file.exists():
        return {}
    loaded = load_config(options.config_file, os.environ)
    return {
        name: (server.url, f"http://{options.mcp_address}/{quote(name)}/{_place(server.transport)}")
        for name, server in loaded.servers.items()
        if server.url is not None
    }


def _place(transport: str) -> str:
    return "sse" if transport == "sse" else "mcp"


def _write_config(files: Iterable[ClientFile], options: ImportOptions) -> None:
    """Tell the exporter of the remote servers, where it has been told nothing yet."""
    if options.config_file.exists():
        return
    remotes: dict[str, Mapping[str, object]] = {}
    for each in files:
        try:
            found = rewrite.find(_read(each.path), ExporterRoute(_program(), {}))
        except ValueError:
            continue
        for server in found:
            if server.remote is not None and not _is_ours(server, options):
                remotes.setdefault(server.name, server.remote)
    if not remotes:
        return
    usable = {name: entry for name, entry in remotes.items() if _is_usable(name, entry, options)}
    if not usable:
        return
    text = _configuration(usable)
    options.config_file.touch(mode=0o600)  # headers may be secrets
    options.config_file.write_text(text)
    _say(f"{options.config_file}: written for the exporter, with {', '.join(usable)}")


def _is_usable(name: str, entry: Mapping[str, object], options: ImportOptions) -> bool:
    try:
        parse_config(_configuration({name: entry}), str(options.config_file), os.environ)
    except ConfigError as problem:
        _say(f"{name}: left alone, for the exporter could not use it: {problem}")
        return False
    return True


def _configuration(servers: Mapping[str, Mapping[str, object]]) -> str:
    return json.dumps({"servers": servers}, indent=2, ensure_ascii=False) + "\n"


def _is_ours(server: Found, options: ImportOptions) -> bool:
    url = str((server.remote or {}).get("url", ""))
    return url.startswith(f"http://{options.mcp_address}/")


def _say(line: str) -> None:
    # Names and problems are a file's own words, and the file may be a stranger's.
    sys.stdout.write(f"{printable(line)}\n")
