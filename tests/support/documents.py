"""The commands in the documents: those of fences, and those between backticks in the text."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from tests.support.paths import ROOT

DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "prometheus/*.md", "deploy/**/*.md", ".github/*.md")
    for path in ROOT.glob(pattern)
)
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`]+)`")


def prose(path: Path) -> str:
    """A document without what is in fences."""
    return FENCE.sub("", path.read_text(encoding="utf-8"))


def spans(path: Path) -> list[str]:
    """What stands between backticks in the text, on one line each."""
    return [" ".join(span.split()) for span in SPAN.findall(prose(path))]


def commands(path: Path) -> Iterator[str]:
    """Each command of a document's fences; of a block of ``console`` those after ``$``."""
    for language, body in FENCE.findall(path.read_text(encoding="utf-8")):
        lines = re.sub(r"\\\n\s*", "", body).splitlines()
        if language in {"sh", "bash"}:
            yield from (line for line in lines if line and line[0] not in " #}")
        else:
            yield from _typed(lines)


def _typed(lines: list[str]) -> Iterator[str]:
    """What follows each ``$``, with the lines on which its quoted text goes on."""
    for at, line in enumerate(lines):
        if line[:2] != "$ ":
            continue
        command = line[2:]
        for further in lines[at + 1 :]:
            if command.count("'") % 2 == 0:
                break
            command += f"\n{further}"
        yield command


def steps(line: str) -> Iterator[list[str]]:
    """The words of each program that a line starts, without comment and redirection."""
    words = shlex.split(line, comments=True)
    words = words[: words.index(">")] if ">" in words else words
    step: list[str] = []
    for word in [*words, "&&"]:
        if word in {"&&", "|", ";"}:
            yield step
            step = []
        elif step or not re.fullmatch(r"[A-Z_]+=.*", word):
            step.append(word)
