"""Every link in the documents leads somewhere, and every command in them is one that there is."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from exporter.cli.main import parser
from tests.support.paths import ROOT

DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "prometheus/*.md", "deploy/**/*.md", ".github/*.md")
    for path in ROOT.glob(pattern)
)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
OF_THE_MACHINE = frozenset(
    {
        *("curl", "docker", "echo", "eval", "export", "install", "python3", "systemctl"),
        *("$EDITOR", "helm", "kubectl", "pip", "pipx", "git", "uv", "cosign", "sha256sum", "gh"),
    }
)
"""Programs that are not ours: what is said to them is tested where it is used, if at all."""


def _prose(path: Path) -> str:
    """A document without what is in fences."""
    return FENCE.sub("", path.read_text(encoding="utf-8"))


def _anchors(path: Path) -> set[str]:
    """The anchors that the headings of a document get, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", _prose(path), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
    return set(plain) | set(re.findall(r'<a (?:id|name)="([^"]+)"', path.read_text("utf-8")))


def _broken(path: Path) -> Iterator[str]:
    for link in LINK.findall(_prose(path)):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        is_page = target.is_file() and target.suffix == ".md"
        is_lost = anchor and is_page and anchor not in _anchors(target)
        if is_lost or not target.exists():
            yield link


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_to_something_that_is_there(path: Path) -> None:
    assert list(_broken(path)) == []


def test_the_site_has_every_document_of_ours() -> None:
    named = re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text())
    top = {path.relative_to(ROOT).as_posix() for path in DOCUMENTS if ".github" not in path.parts}
    assert len(named) == len(set(named))
    assert {name for name in top if not name.startswith("deploy/")} == set(named)


def _commands() -> Iterator[tuple[str, str]]:
    """Each command with the document that it is in; of a block of ``console`` those after ``$``."""
    for path in DOCUMENTS:
        for language, body in FENCE.findall(path.read_text(encoding="utf-8")):
            joined = re.sub(r"\\\n\s*", "", body)
            lines = [line.removeprefix("$ ") for line in joined.splitlines() if line[:2] == "$ "]
            if language in {"sh", "bash"}:
                lines = [line for line in joined.splitlines() if line and line[0] not in " #}"]
            yield from ((str(path.relative_to(ROOT)), line) for line in lines)


def _steps(line: str) -> Iterator[list[str]]:
    """The words of each program that a line starts, without comment and redirection."""
    words = shlex.split(line, comments=True) if line.count("'") % 2 == 0 else line.split()
    words = words[: words.index(">")] if ">" in words else words
    step: list[str] = []
    for word in [*words, "&&"]:
        if word in {"&&", "|", ";"}:
            yield step
            step = []
        elif step or not re.fullmatch(r"[A-Z_]+=.*", word):
            step.append(word)


STEPS = [(path, step) for path, line in _commands() for step in _steps(line) if step]


def _ours(program: str) -> list[tuple[str, list[str]]]:
    return [(path, words[1:]) for path, words in STEPS if Path(words[0]).name == program]


def test_the_documents_start_our_programs_and_those_of_the_machine() -> None:
    paths = {
        words[0] for _, words in STEPS if "/" in words[0] and not words[0].startswith(("/", "."))
    }
    assert [name for name in paths if not (ROOT / name).exists()] == []
    names = {Path(words[0]).name for _, words in STEPS} - {Path(path).name for path in paths}
    assert names - OF_THE_MACHINE == {"make", "mcp-exporter", "python"}


def test_every_make_target_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+)(?: [a-z-]+)?:", makefile, re.MULTILINE)) | {"check"}
    asked = {words[0] for _, words in _ours("make") if words}
    assert asked
    assert asked <= targets


def test_every_module_exists() -> None:
    modules = {words[1] for _, words in _ours("python") if words[0] == "-m"}
    assert modules
    assert [name for name in modules if find_spec(name) is None] == []


@pytest.mark.parametrize(
    "words", [words for _, words in _ours("mcp-exporter")], ids=lambda words: " ".join(words)[:60]
)
def test_every_command_line_is_accepted(words: list[str]) -> None:
    parser().parse_args(words)  # else it exits, and says why


def test_every_service_named_to_compose_exists() -> None:
    services = set(yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"])
    asked = [words for _, words in _ours("docker") if words[0] == "compose"]
    named = {words[-1] for words in asked if words[1] in {"restart", "kill"}}
    assert named
    assert named <= services
