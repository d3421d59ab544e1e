"""What `${…}` in a configuration stands for, and what an environment file says."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from exporter.config.errors import ConfigError
from exporter.config.model import HIDDEN

INPUT_PREFIX = "MCP_EXPORTER_INPUT_"

_GEMINI = ".gemini"
_EDITOR_FOLDERS = frozenset(
    {".vscode", ".cursor", ".windsurf", ".roo", ".kiro", ".amazonq", _GEMINI}
)

NOT_SECRET = frozenset(
    {"HOME", "LANG", "LOGNAME", "PATH", "PWD", "SHELL", "TMPDIR", "TZ", "USER", "USERPROFILE"}
)
"""Variables that every process has; whatever else one holds may be a secret."""

_REFERENCE = re.compile(r"\$(\$\{)|\$\{([^{}]*)(\}?)")
_BARE = re.compile(r"\$([A-Za-z_]\w*)", re.ASCII)
_FOREIGN = re.compile(r"(?<!\$)(?=\$\{file:)")
_VARIABLE = re.compile(r"(?:env:)?([A-Za-z_]\w*)(?::-(.*))?", re.ASCII | re.DOTALL)
_ENV_LINE = re.compile(
    r"""\s*(?:export\s+)?(?P<name>[A-Za-z_][\w.]*)\s*=\s*
    (?: "(?P<double>(?:[^"\\]|\\.)*+)"\s*(?:\#.*)? | '(?P<single>[^']*)'\s*(?:\#.*)?
    | (?P<bare>(?!["']).*?)(?:\s+\#.*)? )\s*""",
    re.ASCII | re.VERBOSE,
)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


@dataclass(frozen=True, slots=True)
class Variables:
    """Expands `${NAME}`, `${NAME:-default}` and the editors' own variables; `$${` is `${`.

    `workspace` is where relative paths start, `secrets` gets each value that came from a variable
    or a file. With `is_bare`, `$NAME` is a variable too. Complaints never show a value."""

    environ: Mapping[str, str]
    workspace: Path
    read_file: Callable[[Path], str]
    is_bare: bool = False
    secrets: set[str] = field(default_factory=set)

    def expand(self, text: str) -> str:
        """`text` with its variables replaced. Raises ConfigError for one that has no value."""
        return _REFERENCE.sub(self._replacement, self._spelled_out(text))

    def masked(self, text: str) -> str:
        """The same, with `<secret>` for each value that came from a variable or a file."""

        def shown(match: re.Match[str]) -> str:
            value = self._replacement(match)
            return HIDDEN if value in self.secrets else value

        return _REFERENCE.sub(shown, self._spelled_out(text))

    def read_env_file(self, path: str) -> dict[str, str]:
        """The variables of a file of NAME=VALUE lines. Raises ConfigError."""
        found = {}
        for number, line in enumerate(self.read_file(self.workspace / path).splitlines(), 1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            match = _ENV_LINE.fullmatch(line)
            if match is None:
                raise ConfigError(f"{path}:{number}: not NAME=VALUE; mend or comment out the line")
            found[match["name"]] = self._secret(_env_value(match))
        return found

    def _spelled_out(self, text: str) -> str:
        if not self.is_bare:
            return text
        known = self.environ.keys()
        return _BARE.sub(lambda m: f"${{{m[1]}}}" if m[1] in known else m[0], text)

    def _replacement(self, match: re.Match[str]) -> str:
        literal, body, closing = match.groups()
        if literal:
            return str(literal)
        if not closing:
            raise ConfigError('has a "${" without its "}" (or one inside another); write "$${" '
                              'for a literal "${"')  # fmt: skip
        return self._value(str(body))

    def _value(self, body: str) -> str:
        if body in ("workspaceFolder", "workspaceFolderBasename"):
            return str(self.workspace) if body == "workspaceFolder" else self.workspace.name
        if body == "userHome":
            return self._environment("HOME", None)
        if body in ("/", "pathSeparator"):
            return os.sep
        if body.startswith("input:"):
            return self._input(body.removeprefix("input:"))
        if body.startswith("file:"):
            text = self.read_file(self.workspace / body.removeprefix("file:"))
            return self._secret(text.rstrip("\r\n"))
        match = _VARIABLE.fullmatch(body)
        if match is None:
            raise ConfigError('has a "${…}" that is no variable; write "${NAME}", or "$${" for a '
                              'literal "${"')  # fmt: skip
        return self._environment(match[1], match[2])

    def _environment(self, name: str, default: str | None) -> str:
        # As in a shell, ":-" also stands in for a variable that is set but empty.
        value = self.environ.get(name, "") or default
        if value is None and name not in self.environ:
            raise ConfigError(f"${{{name}}} is not set; set it, or write ${{{name}:-default}}")
        if name not in NOT_SECRET and self.environ.get(name):
            self._secret(self.environ[name])
        return value or ""

    def _input(self, name: str) -> str:
        variable = INPUT_PREFIX + re.sub(r"\W", "_", name, flags=re.ASCII).upper()
        if variable not in self.environ:
            raise ConfigError(f"${{input:{name}}} cannot be asked for here; set {variable}")
        return self._secret(self.environ[variable])

    def _secret(self, value: str) -> str:
        self.secrets.add(value)
        return value


def variables_of(
    path: Path, environ: Mapping[str, str], read_file: Callable[[Path], str]
) -> Variables:
    """What the variables in a file stand for: Gemini CLI's file has `$NAME` too."""
    return Variables(environ, workspace(path), read_file, is_bare=path.parent.name == _GEMINI)


def foreign_as_literal(text: str, path: Path) -> str:
    """What a client's file says, for a file of the exporter's own: the client's variables are
    variables, and `${file:…}`, which no client expands, stays the text that it is to the client."""
    if path.parent.name == _GEMINI:
        text = _BARE.sub(r"${\1}", text)
    return _FOREIGN.sub("$", text)


def workspace(path: Path) -> Path:
    """The folder that relative paths of this configuration start from: its own, or the one above
    where its own is an editor's (`.vscode/mcp.json`)."""
    folder = path.absolute().parent
    return folder.parent if folder.name in _EDITOR_FOLDERS else folder


def _env_value(match: re.Match[str]) -> str:
    if match["double"] is not None:
        return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), match["double"])
    return str(match["single"] if match["single"] is not None else match["bare"])
