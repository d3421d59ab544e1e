"""The files of desktop clients are found where each system keeps them."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.cli.desktop import locations

EVERYWHERE = [
    ("Claude Code", ".claude.json"),
    ("Codex", ".codex/config.toml"),
    ("Cursor", ".cursor/mcp.json"),
    ("Windsurf", ".codeium/windsurf/mcp_config.json"),
]


@pytest.mark.parametrize(
    ("platform", "settings"),
    [
        ("linux", ".config"),
        ("darwin", "Library/Application Support"),
        ("win32", "AppData/Roaming"),
    ],
)
def test_each_system_has_its_own_places(platform: str, settings: str, tmp_path: Path) -> None:
    own = [
        ("Claude Desktop", f"{settings}/Claude/claude_desktop_config.json"),
        ("VS Code", f"{settings}/Code/User/mcp.json"),
    ]
    for _, name in (*EVERYWHERE, *own):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    home = {"USERPROFILE" if platform == "win32" else "HOME": str(tmp_path)}
    found = locations.find(platform, home, tmp_path / "nowhere")
    assert {(each.client, str(each.path.relative_to(tmp_path))) for each in found} == {
        *EVERYWHERE,
        *own,
    }


def test_a_projects_files_are_found_and_none_twice(tmp_path: Path) -> None:
    (tmp_path / ".vscode").mkdir()
    (tmp_path / ".vscode" / "mcp.json").write_text("{}")
    (tmp_path / ".cursor").mkdir()
    (tmp_path / ".cursor" / "mcp.json").write_text("{}")
    found = list(locations.find("linux", {"HOME": str(tmp_path)}, tmp_path))
    assert [each.client for each in found] == ["Cursor", "VS Code"]
    assert [each.is_project for each in found] == [False, True]


def test_profiles_packaged_programs_and_settings_of_a_project_are_found(tmp_path: Path) -> None:
    names = [
        "AppData/Roaming/Code/User/profiles/-1a2b/mcp.json",
        "AppData/Local/Packages/Claude_x1/LocalCache/Roaming/Claude/claude_desktop_config.json",
        ".copilot/mcp-config.json",
        "work/.vscode/settings.json",
    ]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    found = locations.find("win32", {"USERPROFILE": str(tmp_path)}, tmp_path / "work")
    assert {str(each.path.relative_to(tmp_path)) for each in found} == set(names)


def test_codex_may_have_another_home(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "config.toml").write_text("")
    environ = {"HOME": str(tmp_path), "CODEX_HOME": str(tmp_path / "elsewhere")}
    (found,) = locations.find("linux", environ, tmp_path)
    assert (found.client, found.path.parent.name) == ("Codex", "elsewhere")
