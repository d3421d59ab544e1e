"""What an import linter cannot say: libraries, purity, guards, and a test for each module.

Which package may import which is in pyproject.toml, and `make lint` checks it.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.support.paths import ROOT

PACKAGE = ROOT / "exporter"
UNIT = ROOT / "tests" / "unit"


def _name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


MODULES = {_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}

ONLY_IN = {
    "prometheus_client": {
        "app",
        "cli.discover.command",
        "cli.discover.metrics",
        "cli.status_source",
        "probe.explain",
        "telemetry.exposition",
        "telemetry.metrics",
        "telemetry.process_usage",
        "telemetry.series",
    },
    "httptools": {"transport.http.pool", "transport.http.parser"},
    "psutil": {"telemetry.process_usage"},
    "uvloop": {"cli.serve"},
    "yaml": {"config.document", "config.redacted", "config.toml_nodes"},
    "bcrypt": {"web.passwords"},
    "mcp": {"cli.call"},
    "requests": {"cli.status_source"},
    "httpx2": {"cli.call", "cli.discover.api"},
    "opentelemetry": {"telemetry.spans.otlp"},
    "google": {"telemetry.spans.otlp"},
    "urllib3": {"telemetry.spans.collector"},
    "shtab": {"cli.main"},
}
"""Who may use which library. The SDK is for clients and demonstration servers: we carry bytes."""

PURE = {
    "cli.discover.services",
    "config.client_keys",
    "config.document",
    "config.tracing",
    "config.jsonc",
    "config.limits",
    "config.toml_nodes",
    "config.toml_spans",
    "config.validators",
    "probe.identity",
    "probe.replies",
    "probe.tool_diff",
    "probe.tool_inventory",
    "protocol.errors",
    "protocol.failures",
    "protocol.header_encoding",
    "protocol.jsonrpc",
    "protocol.printable",
    "protocol.label_values",
    "protocol.spec",
    "protocol.sse",
    "protocol.surrogates",
    "protocol.tool_page",
    "protocol.trace_context",
    "relay.http.endpoint",
    "relay.http.reply_reader",
    "relay.http.sessions",
    "relay.cors",
    "relay.oauth",
    "relay.rejection",
    "relay.routes",
    "relay.stdio.envelope",
    "relay.stdio.param_headers",
    "telemetry.call",
    "telemetry.exchange",
    "telemetry.health",
    "telemetry.labels",
    "telemetry.observer",
    "telemetry.spans.otlp",
    "telemetry.spans.details",
    "telemetry.spans.wire",
    "transport.http.head",
    "transport.http.origin",
    "transport.http.request",
    "transport.http.response",
    "transport.http.inflate",
    "transport.http.upstream_headers",
}
IMPURE = {"asyncio", "logging", "os", "signal", "socket", "subprocess", "threading", "time"}
"""What a pure module does without: messages and times come in, values go out."""

GUARDS = {
    "cli.call",
    "probe.prober",
    "telemetry.exchange",
    "telemetry.guard",
    "telemetry.observer",
    "telemetry.recorder",
    "telemetry.spans.sender",
    "web.scrape",
    "web.server",
    "wrap.process",
    "wrap.reader",
    "wrap.receiver",
}
"""Where everything may be caught: observation must not hurt traffic."""

TESTED_ELSEWHERE = {
    "protocol.failures": "unit/transport/http/test_pool.py",
    "telemetry.call": "unit/telemetry/test_exchange.py",
    "telemetry.spans.metrics": "unit/telemetry/spans/test_sender.py",
    "transport.http.inflate": "unit/relay/http/test_reply_reader.py",
}
"""Modules without a test of their own, and the test that needs them."""

MOST_ROOT_MODULES = 8
MOST_MODULES = 20
"""How many modules a reader can find his way among; what is more is a package of its own."""

TESTS_OF_A_COMMAND = {"cli.completion"}
"""Unit tests of what is made of several modules."""


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text())


def imported(module: str) -> Iterator[str]:
    """The top-level names of everything that a module imports, also inside functions."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: a relative import"
            yield (node.module or "").partition(".")[0]


def test_every_module_named_here_is_there() -> None:
    named = frozenset().union(*ONLY_IN.values()) | PURE | GUARDS | TESTED_ELSEWHERE.keys()
    assert named <= MODULES.keys()


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_is_used_where_it_belongs(library: str) -> None:
    assert {module for module in MODULES if library in imported(module)} <= ONLY_IN[library]


@pytest.mark.parametrize("module", sorted(PURE))
def test_a_pure_module_has_no_clock_and_no_input_or_output(module: str) -> None:
    assert IMPURE.isdisjoint(imported(module))


def _catches_everything(node: ast.AST) -> bool:
    if not isinstance(node, ast.ExceptHandler):
        return False
    return node.type is None or ast.unparse(node.type) in ("Exception", "BaseException")


def test_few_guards_catch_everything() -> None:
    guards = {name for name in MODULES if any(map(_catches_everything, ast.walk(tree(name))))}
    assert guards <= GUARDS


@pytest.mark.parametrize("module", MODULES)
def test_no_module_changes_names_of_its_own(module: str) -> None:
    nodes = ast.walk(tree(module))
    assert not any(isinstance(node, ast.Global | ast.Nonlocal) for node in nodes)


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_what_it_is(module: str) -> None:
    assert ast.get_docstring(tree(module))


def test_no_package_is_too_large_to_look_through() -> None:
    sizes = {path: len(list(path.glob("*.py"))) for path in [PACKAGE, *PACKAGE.rglob("*")]}
    assert sizes.pop(PACKAGE) <= MOST_ROOT_MODULES
    assert max(sizes.values()) <= MOST_MODULES


def test_no_class_name_stands_twice() -> None:
    names = [
        node.name
        for module in MODULES
        for node in ast.walk(tree(module))
        if isinstance(node, ast.ClassDef)
    ]
    assert sorted(names) == sorted(set(names))


def _test_of(module: str) -> Path:
    *packages, leaf = module.split(".")
    return UNIT.joinpath(*packages, f"test_{leaf}.py")


@pytest.mark.parametrize("module", [name for name in MODULES if not name.endswith("__init__")])
def test_every_module_has_its_test(module: str) -> None:
    elsewhere = TESTED_ELSEWHERE.get(module)
    assert _test_of(module).is_file() is (elsewhere is None)
    assert elsewhere is None or (ROOT / "tests" / elsewhere).is_file()


def test_every_unit_test_has_its_module() -> None:
    expected = {_test_of(module) for module in MODULES.keys() | TESTS_OF_A_COMMAND}
    assert set(UNIT.rglob("test_*.py")) <= expected


def test_without_tracing_nothing_is_loaded_that_writes_or_sends_spans() -> None:
    serve = "import sys, exporter.app, exporter.cli.serve; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", serve], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "exporter" in loaded
    assert not loaded & {"opentelemetry", "google", "urllib3"}
