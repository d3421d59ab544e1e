"""The files server: reads and lists one folder, and no way leads out of it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from mcp import Client
from mcp.server.mcpserver.exceptions import ToolError

from mcp_servers import files
from mcp_servers.files import MAX_BYTES, MAX_STEPS, Folder
from tests.support.demo_servers import Mode, http, stdio, text, with_client

OUTSIDE = "what nobody may read"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.txt").write_text(OUTSIDE)
    served = tmp_path / "served"
    (served / "notes" / "old").mkdir(parents=True)
    (served / "hello.txt").write_text("Grüße ✓\n", "utf-8")
    (served / "notes" / "a.txt").write_text("a")
    return served


@pytest.fixture
def folder(root: Path) -> Iterator[Folder]:
    folder = Folder(root)
    yield folder
    folder.close()


def refusal(folder: Folder, path: str) -> str:
    """Why the path can be neither read nor listed."""
    with pytest.raises(ToolError) as listing:
        folder.list(path)
    with pytest.raises(ToolError) as reading:
        folder.read(path)
    assert str(listing.value) == str(reading.value)
    return str(reading.value)


@pytest.mark.parametrize(
    ("path", "content"),
    [("hello.txt", "Grüße ✓\n"), ("./hello.txt", "Grüße ✓\n"), ("notes//./a.txt", "a")],
)
def test_a_file_is_read(folder: Folder, path: str, content: str) -> None:
    assert folder.read(path) == content


@pytest.mark.parametrize("path", ["", ".", "./", "notes/.//"])
def test_a_folder_is_listed(folder: Folder, path: str) -> None:
    expected = ["a.txt", "old/"] if "notes" in path else ["hello.txt", "notes/"]
    assert folder.list(path) == expected


@pytest.mark.parametrize(
    "path",
    ["..", "../outside/secret.txt", "notes/../../outside/secret.txt", "notes/..", "./../served"],
)
def test_a_path_cannot_go_up(folder: Folder, path: str) -> None:
    assert refusal(folder, path) == f"{path!r} has a part '..', which is not allowed"


def test_an_absolute_path_is_refused(folder: Folder, root: Path) -> None:
    for path in ("/", "/etc/passwd", "//etc/passwd", str(root / "hello.txt")):
        assert "is absolute; paths start from the folder that is served" in refusal(folder, path)


@pytest.mark.parametrize("path", ["a\0b", "\0", "hello.txt\0.md", "\ud800", "a\udcffb"])
def test_a_character_that_no_path_has_is_refused(folder: Folder, path: str) -> None:
    assert refusal(folder, path) == "the path has a character that no path can have"


def test_a_link_inside_the_folder_is_followed(folder: Folder, root: Path) -> None:
    (root / "link.txt").symlink_to("notes/a.txt")
    (root / "notes" / "up.txt").symlink_to("../hello.txt")
    (root / "notes" / "old" / "chain").symlink_to("../../notes/../link.txt")
    (root / "folder").symlink_to("notes")
    assert folder.read("link.txt") == "a"
    assert folder.read("notes/up.txt") == "Grüße ✓\n"
    assert folder.read("folder/old/chain") == "a"
    assert folder.list("folder") == ["a.txt", "old/", "up.txt"]


@pytest.mark.parametrize(
    "target",
    ["../outside/secret.txt", "../outside", "..", "notes/../../outside/secret.txt", "../../../etc"],
)
def test_a_link_that_leads_out_is_refused(folder: Folder, root: Path, target: str) -> None:
    (root / "link").symlink_to(target)
    assert refusal(folder, "link") == "the path has a link that leads out of the folder"
    assert "leads out" in refusal(folder, "link/secret.txt")


def test_an_absolute_link_is_refused_wherever_it_leads(folder: Folder, root: Path) -> None:
    (root / "out").symlink_to(root.parent / "outside" / "secret.txt")
    (root / "in").symlink_to(root / "hello.txt")
    for path in ("out", "in"):
        assert refusal(folder, path) == "the path has a link that leads out of the folder"


def test_a_link_to_itself_is_refused(folder: Folder, root: Path) -> None:
    (root / "loop").symlink_to("loop")
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("a")
    for path in ("loop", "a", "a/b"):
        assert refusal(folder, path) == "the path is too deep, or has a link to itself"


def test_a_deep_path_is_refused_before_it_takes_all_descriptors(folder: Folder) -> None:
    assert "too deep" in refusal(folder, "./" * (MAX_STEPS + 1))


def test_a_folder_exchanged_for_a_link_meanwhile_leads_nowhere(
    folder: Folder, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "notes" / "secret.txt").write_text("harmless")
    looked_at = files._followed

    def exchange(part: str, *rest: object) -> bool:
        found = looked_at(part, *rest)  # type: ignore[arg-type]
        if part == "notes":
            (root / "notes").rename(root / "moved")
            (root / "notes").symlink_to("../outside")
        return found

    monkeypatch.setattr(files, "_followed", exchange)
    with pytest.raises(ToolError):
        folder.read("notes/secret.txt")


def test_a_folder_moved_out_meanwhile_still_gives_only_its_own(
    folder: Folder, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "notes" / "up").symlink_to("../hello.txt")
    looked_at = files._followed

    def move(part: str, *rest: object) -> bool:
        if part == "up":
            (root / "notes").rename(root.parent / "outside" / "notes")
            (root.parent / "outside" / "hello.txt").write_text(OUTSIDE)
        return looked_at(part, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(files, "_followed", move)
    assert folder.read("notes/up") == "Grüße ✓\n"


def test_what_is_missing_is_said(folder: Folder) -> None:
    assert refusal(folder, "missing.txt") == "'missing.txt': No such file or directory"
    assert refusal(folder, "hello.txt/deeper") == "'hello.txt/deeper': Not a directory"
    assert "File name too long" in refusal(folder, "n" * 300)


def test_a_folder_is_not_read_and_a_file_not_listed(folder: Folder) -> None:
    with pytest.raises(ToolError, match="'notes' is a folder, not a file"):
        folder.read("notes")
    with pytest.raises(ToolError, match=r"'hello\.txt' is not a folder"):
        folder.list("hello.txt")


def test_a_special_file_neither_hangs_nor_is_read(folder: Folder, root: Path) -> None:
    os.mkfifo(root / "pipe")
    with pytest.raises(ToolError, match="'pipe' is a special file, not a file"):
        folder.read("pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        previous = Path.cwd()
        os.chdir(root)  # the path of a socket must be short
        try:
            listener.bind("socket")
        finally:
            os.chdir(previous)
        with pytest.raises(ToolError, match="'socket'"):
            folder.read("socket")


def test_a_file_up_to_the_bound_is_read_and_no_larger_one(folder: Folder, root: Path) -> None:
    (root / "full.txt").write_bytes(b"x" * MAX_BYTES)
    (root / "over.txt").write_bytes(b"x" * (MAX_BYTES + 1))
    os.truncate(root / "over.txt", 1 << 40)
    assert len(folder.read("full.txt")) == MAX_BYTES
    with pytest.raises(ToolError, match=rf"'over\.txt' is larger than {MAX_BYTES} bytes"):
        folder.read("over.txt")


def test_a_file_that_is_no_text_is_refused(folder: Folder, root: Path) -> None:
    (root / "image.png").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(ToolError, match=r"'image\.png' is not UTF-8 text"):
        folder.read("image.png")


def test_a_folder_with_too_many_entries_is_refused(
    folder: Folder, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MAX_ENTRIES", 2)
    assert len(folder.list("")) == 2
    (root / "third").touch()
    with pytest.raises(ToolError, match="holds more than 2 entries"):
        folder.list("")


def test_a_name_that_is_no_text_is_listed_readably(folder: Folder, root: Path) -> None:
    (root / os.fsdecode(b"caf\xe9")).touch()
    assert folder.list("") == ["caf\ufffd", "hello.txt", "notes/"]


def test_every_descriptor_is_closed_again(folder: Folder, root: Path) -> None:
    (root / "out").symlink_to("..")
    before = len(list(Path("/proc/self/fd").iterdir()))
    folder.read("notes/a.txt")
    folder.list("notes/old")
    for path in ("notes/old/missing", "out", "notes/old/" + "./" * MAX_STEPS):
        refusal(folder, path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_root_that_is_no_folder_is_refused(root: Path) -> None:
    for path in (root / "hello.txt", root / "missing"):
        with pytest.raises(OSError, match=r"Not a directory|No such file"):
            Folder(path)


async def use_files(client: Client) -> list[str]:
    tools = (await client.list_tools()).tools
    listed = await client.call_tool("list_files", {"path": "notes"})
    read = await client.call_tool("read_file", {"path": "hello.txt"})
    refused = await client.call_tool("read_file", {"path": "../outside/secret.txt"})
    assert (listed.is_error, read.is_error, refused.is_error) == (False, False, True)
    assert listed.structured_content == {"result": ["a.txt", "old/"]}
    return [*(tool.name for tool in tools), text(read), text(refused)]


EXPECTED = [
    "read_file",
    "list_files",
    "Grüße ✓\n",
    "Error executing tool read_file: '../outside/secret.txt' has a part '..', which is not allowed",
]


@pytest.mark.e2e
@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_it_serves_over_stdio(root: Path, mode: Mode) -> None:
    assert with_client(stdio("files", "--root", str(root)), use_files, mode) == EXPECTED


@pytest.mark.e2e
def test_it_serves_over_http_in_every_era(root: Path) -> None:
    modes: list[Mode] = ["auto", "legacy", "2026-07-28"]
    with http("files", "--root", str(root)) as server:
        for mode in modes:
            assert with_client(server.url, use_files, mode) == EXPECTED
