"""Where desktop clients keep their servers, on Linux, macOS and Windows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ClientFile:
    """A client, and a file of its."""

    client: str
    path: Path
    is_project: bool
    """It lies in the current folder, and came with what is in it."""


_SETTINGS = (
    ("Claude Desktop", "Claude/claude_desktop_config.json"),
    ("VS Code", "Code/User/mcp.json"),
    ("VS Code", "Code/User/settings.json"),
    ("VS Code", "Code/User/profiles/*/mcp.json"),
    ("VS Code Insiders", "Code - Insiders/User/mcp.json"),
    ("VS Code Insiders", "Code - Insiders/User/settings.json"),
    ("VS Code Insiders", "Code - Insiders/User/profiles/*/mcp.json"),
)
"""In the folder where the system keeps the settings of programs."""

_PACKAGED = (
    ("Claude Desktop", "Packages/Claude_*/LocalCache/Roaming/Claude/claude_desktop_config.json"),
)
"""Where Windows keeps those of a program from its store."""

_HOME = (
    ("Claude Code", ".claude.json"),
    ("Cursor", ".cursor/mcp.json"),
    ("Windsurf", ".codeium/windsurf/mcp_config.json"),
    ("Windsurf", ".codeium/mcp_config.json"),
    ("VS Code", ".copilot/mcp-config.json"),
)

_CODEX = (("Codex", "config.toml"),)
"""In a folder that ``CODEX_HOME`` may name."""

_PROJECT = (
    ("Codex", ".codex/config.toml"),
    ("Claude Code", ".mcp.json"),
    ("Cursor", ".cursor/mcp.json"),
    ("VS Code", ".vscode/mcp.json"),
    ("VS Code", ".vscode/settings.json"),
)
"""In the folder of a project: the current one."""


def find(platform: str, environ: Mapping[str, str], project: Path) -> Iterator[ClientFile]:
    """The files that exist. ``platform`` as ``sys.platform`` says it."""
    seen = set()
    for each in _places(platform, environ, project):
        if each.path.is_file() and each.path.resolve() not in seen:
            seen.add(each.path.resolve())
            yield each


def _places(platform: str, environ: Mapping[str, str], project: Path) -> Iterator[ClientFile]:
    home = Path(environ.get("USERPROFILE" if platform == "win32" else "HOME") or "~").expanduser()
    places = [(_settings_folder(platform, environ, home), _SETTINGS), (home, _HOME)]
    places.append((Path(environ.get("CODEX_HOME") or home / ".codex"), _CODEX))
    if platform == "win32":
        places.append((Path(environ.get("LOCALAPPDATA") or home / "AppData" / "Local"), _PACKAGED))
    for folder, files in (*places, (project, _PROJECT)):
        for client, name in files:
            for path in sorted(folder.glob(name)):
                yield ClientFile(client, path, is_project=files is _PROJECT)


def _settings_folder(platform: str, environ: Mapping[str, str], home: Path) -> Path:
    if platform == "darwin":
        return home / "Library" / "Application Support"
    if platform == "win32":
        return Path(environ.get("APPDATA") or home / "AppData" / "Roaming")
    return Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
