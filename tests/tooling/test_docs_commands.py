"""Every command in the documents is one that there is, said as its program understands it.

Those of a stranger's first minutes are run (``test_dist.py``).
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.cli.flags import ENVIRONMENT
from exporter.cli.main import parser
from tests.support import chart
from tests.support.documents import DOCUMENTS, commands, prose, spans, steps
from tests.support.paths import ROOT

OURS = frozenset({"make", "mcp-exporter", "python", "python3", "alertmanager.sh"})
OF_OTHERS: Mapping[str, frozenset[str]] = {
    "docker": frozenset({"build", "compose", "push", "run"}),
    "helm": frozenset({"install", "package", "show", "template", "uninstall", "upgrade"}),
    "kubectl": frozenset({"auth", "create", "logs", "port-forward"}),
    "pip": frozenset({"install"}),
    "pipx": frozenset({"install"}),
    "git": frozenset({"tag", "push"}),
    "systemctl": frozenset({"enable", "reload", "start", "stop"}),
}
"""Programs of others, and which of their commands are told; their operands are looked at below."""
PLAIN = frozenset({"$EDITOR", "curl", "echo", "eval", "install"})
COMPOSE = frozenset({"down", "exec", "kill", "logs", "ps", "restart", "run", "up"})
FLAGS_OF_OTHERS = frozenset(
    {"--storage.path", "--storage.tsdb.retention.time", "--web.console.templates"}
)
"""Dotted flags of Prometheus and Alertmanager."""
VARIABLES_OF_OTHERS = frozenset({"MCP_EXPORTER_CONFIG", "MCP_EXPORTER_INPUT_ID"})
"""Compose's own, and VS Code's inputs."""
COMMAND = re.compile(r"(make|mcp-exporter|docker|helm|kubectl|systemctl|pip|python) ")
WORDS_OF_THE_LOG = frozenset({"has", "is"})
"""What follows the program's name in lines of its log."""

TYPED = [
    (path, step) for path in DOCUMENTS for line in commands(path) for step in steps(line) if step
]
MENTIONED = [
    (path, span.split()) for path in DOCUMENTS for span in spans(path) if COMMAND.match(span)
]


def _said(program: str, told: Sequence[tuple[Path, list[str]]]) -> list[list[str]]:
    return [words[1:] for _, words in told if Path(words[0]).name == program]


def _said_to(program: str) -> list[list[str]]:
    """What is said to a program, in fences and in the text."""
    return _said(program, TYPED) + _said(program, MENTIONED)


def _title(words: list[str]) -> str:
    return " ".join(words)[:60]


def test_the_documents_start_our_programs_and_those_of_the_machine() -> None:
    paths = {
        words[0] for _, words in TYPED if "/" in words[0] and not words[0].startswith(("/", "."))
    }
    assert [name for name in paths if not (ROOT / name).exists()] == []
    assert {Path(words[0]).name for _, words in TYPED} <= OURS | PLAIN | OF_OTHERS.keys()


@pytest.mark.parametrize("program", OF_OTHERS)
def test_programs_of_others_are_told_commands_that_they_have(program: str) -> None:
    unknown = [words for words in _said_to(program) if not OF_OTHERS[program] & set(words)]
    assert unknown == []


def _variables() -> set[str]:
    return set(re.findall(r"\$[({]([A-Z_]+)[)}]", (ROOT / "Makefile").read_text())) | {
        "BASE_PYTHON"
    }


def _targets() -> set[str]:
    text = (ROOT / "Makefile").read_text()
    lines = re.findall(r"^([a-z][a-z0-9 -]*):", text, re.MULTILINE)
    return {target for line in lines for target in line.split()}


@pytest.mark.parametrize("words", _said_to("make"), ids=_title)
def test_every_make_target_and_variable_exists(words: list[str]) -> None:
    set_ = {word.partition("=")[0] for word in words if "=" in word}
    assert set_ <= _variables()
    assert {word for word in words if "=" not in word} <= _targets()


class _AcceptedError(Exception):
    """A program has read its words and was about to begin."""


def _modules() -> Iterator[list[str]]:
    """The words after ``python -m``, those included that make passes on."""
    yield from (words[1:] for words in _said_to("python") + _said_to("python3") if words[0] == "-m")
    given = (word for words in _said_to("make") for word in words if word.startswith("BENCH="))
    yield from (["bench", *shlex.split(word.partition("=")[2])] for word in given)


def _run_until_accepted(module: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Raises ``_AcceptedError`` where the module's parser takes the words, else ``SystemExit``."""
    parse = argparse.ArgumentParser.parse_args

    def stop(self: argparse.ArgumentParser, args: Any = None, namespace: Any = None) -> None:
        parse(self, args, namespace)
        raise _AcceptedError

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    monkeypatch.setattr(sys, "argv", [module, *words])
    found = import_module(module)
    program = import_module(f"{module}.__main__") if hasattr(found, "__path__") else found
    program.main()


@pytest.mark.parametrize("words", list(_modules()), ids=_title)
def test_every_module_exists_and_takes_what_it_is_given(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    module, *given = words
    if module in {"pytest", "venv"}:  # not ours; what they are given are paths
        assert all((ROOT / word).exists() for word in given if word.startswith("tests/"))
    elif "--help" in given or not given:
        assert find_spec(module)
    else:
        with pytest.raises(_AcceptedError):
            _run_until_accepted(module, given, monkeypatch)


@pytest.mark.parametrize("words", _said("mcp-exporter", TYPED), ids=_title)
def test_every_command_line_is_accepted(words: list[str]) -> None:
    parser().parse_args(words)  # else it exits, and says why


def _subcommands() -> Mapping[str, argparse.ArgumentParser]:
    (commands,) = (each.choices for each in parser()._actions if isinstance(each.choices, dict))
    return commands


def _flags(command: argparse.ArgumentParser) -> set[str]:
    """The flags of a command and of those below it."""
    below = [each.choices for each in command._actions if isinstance(each.choices, dict)]
    inner = (_flags(each) for choices in below for each in choices.values())
    return set(command._option_string_actions).union(*inner)


@pytest.mark.parametrize("words", _said("mcp-exporter", MENTIONED), ids=_title)
def test_every_command_that_is_mentioned_has_its_flags(words: list[str]) -> None:
    if words[0] not in WORDS_OF_THE_LOG:
        known = _flags(_subcommands()[words[0]])
        assert {word for word in words if word.startswith("--")} <= known


def test_every_flag_and_variable_that_is_mentioned_exists() -> None:
    flags = set().union(*map(_flags, _subcommands().values()))
    text = "\n".join(path.read_text(encoding="utf-8") for path in DOCUMENTS)
    dotted = set(re.findall(r"(?<![\w-])--[a-z]+\.[\w.-]*\w", text))
    assert dotted - flags - FLAGS_OF_OTHERS == set()
    of_flags = {f"{ENVIRONMENT}{re.sub('[.-]', '_', flag[2:]).upper()}" for flag in flags}
    named = set(re.findall(rf"\b{ENVIRONMENT}[A-Z_]*[A-Z]\b", text))
    assert named - of_flags - VARIABLES_OF_OTHERS == set()


def _compose() -> Any:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


@pytest.mark.parametrize(
    "words",
    [words[1:] for words in _said_to("docker") if words[:1] == ["compose"] and words[1:]],
    ids=_title,
)
def test_compose_is_told_its_commands_and_the_services_of_ours(words: list[str]) -> None:
    command, *rest = words
    assert command in COMPOSE
    named = [word for word in rest if word[0] != "-" and word != "HUP"]
    if command in {"exec", "run", "kill", "logs", "ps", "restart"} and named:
        assert named[0] in _compose()["services"]
    if command == "run":
        parser().parse_args(named[1:])


def _runs_of_the_image() -> list[list[str]]:
    return [words for words in _said("docker", TYPED) if words[0] == "run"]


@pytest.mark.parametrize("words", _runs_of_the_image(), ids=_title)
def test_the_image_is_run_with_what_it_knows(words: list[str]) -> None:
    """Its variables are tested above, with all the others."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    after = {flag: [value for word, value in pairwise(words) if word == flag] for flag in words}
    exposed = re.search(r"^EXPOSE (.+)$", dockerfile, re.MULTILINE)
    assert exposed
    assert [port.rpartition(":")[2] for port in after["-p"]] == exposed[1].split()
    (mounted,) = after["-v"]
    assert f"{ENVIRONMENT}CONFIG_FILE={mounted.split(':')[1]}\n" in dockerfile
    built = [each[-2] for each in _said("docker", TYPED) if each[0] == "build"]
    assert words[-1] in built


def test_every_file_of_ours_that_is_named_exists() -> None:
    ours = {path.name for path in ROOT.iterdir() if path.is_dir()}
    told = [word for _, words in [*TYPED, *MENTIONED] for word in words if "/" in word]
    named = {word for word in told if word.partition("/")[0] in ours - {"build", "dist"}}
    assert named >= {"deploy/helm/mcp-exporter", "prometheus/objectives.yml"}
    assert [word for word in named if not (ROOT / word).exists()] == []


def test_the_secret_of_the_example_is_the_one_that_it_reads() -> None:
    (created,) = (words for words in _said_to("kubectl") if "create" in words)
    example = yaml.safe_load((ROOT / "deploy/kubernetes/gateway.yaml").read_text())
    assert created[created.index("generic") + 1] == example["existingTokenSecret"]
    (key,) = re.findall(r"--from-literal=([\w.]+)=", " ".join(created))
    (deployment,) = chart.of_kind(
        "Deployment", chart.documents(chart.render(chart.values("gateway")))
    )
    assert f"/{key}'" in str(deployment["spec"])


def test_what_is_installed_is_what_the_unit_reads() -> None:
    unit = (ROOT / "deploy" / "mcp-exporter.service").read_text()
    targets = {words[-1] for words in _said_to("install")}
    assert len(targets) == 3
    assert all(f"{path} " in unit or f"{path}\n" in unit for path in targets if path[-1] != "/")
    named = {word for words in _said("systemctl", TYPED) for word in words[1:] if word[0] != "-"}
    assert named == {"mcp-exporter"}


def test_every_extra_exists() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = {
        extra
        for path in DOCUMENTS
        for extra in re.findall(r"(?:mcp-exporter|\.whl\)\")\[(\w+)\]", path.read_text("utf-8"))
    }
    assert {"client", "kubernetes", "tracing"} <= asked <= extras["optional-dependencies"].keys()


def test_every_secret_file_is_one_that_alertmanager_heeds() -> None:
    script = (ROOT / "prometheus" / "alertmanager.sh").read_text()
    names = re.search(r'^names="(.+)"', script, re.MULTILINE)
    assert names
    text = "\n".join(path.read_text("utf-8") for path in DOCUMENTS)
    asked = set(re.findall(r"prometheus/secrets/(\w+)", text))
    assert asked
    assert asked <= {*names[1].split(), "smtp"}


def test_every_address_here_is_one_that_something_of_ours_has() -> None:
    defaults = re.findall(r"\$\{[A-Z_]+PORT:-(\d+)\}", (ROOT / "docker-compose.yml").read_text())
    text = "\n".join(prose(path) for path in DOCUMENTS)
    assert re.findall(r"127\.0\.0\.1:9090/\w+", text) == []  # Debian's has its pages below /classic
    collector = "4318"  # what OTLP over HTTP has everywhere
    assert set(re.findall(r"http://127\.0\.0\.1:(\d+)", text)) <= {*defaults, collector}
