"""The house: who may import whom, and that every module has its test."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import exporter

PACKAGE = Path(exporter.__file__).parent
TESTS = Path(__file__).parent
MODULES = {path.stem: path for path in sorted(PACKAGE.glob("*.py"))}

FLOORS: tuple[frozenset[str], ...] = (
    frozenset({"call", "health", "inventory", "message", "request", "sse"}),
    frozenset({"document", "exchange", "labels", "pool", "refusal", "variables"}),
    frozenset({"answer", "fields", "metrics"}),
    frozenset({"config", "recorder"}),
    frozenset({"observation", "vitals"}),
    frozenset({"child", "envelope", "relay"}),
    frozenset({"http_upstream", "probe", "stdio_session"}),
    frozenset({"sse_upstream", "stdio_shared"}),
    frozenset({"stdio_upstream"}),
    frozenset({"gateway", "prober"}),
    frozenset({"reload", "web"}),
    frozenset({"app"}),
    frozenset({"cli"}),
)
"""From the ground to the roof: nobody uses, however indirectly, what stands above or beside it."""

ONLY_IN = {
    "prometheus_client": {
        *("app", "exposition", "facts", "metrics", "probe_pages", "processes", "series"),
    },
    "httptools": {"pool", "request_reader"},
    "psutil": {"processes"},
    "uvloop": {"cli"},
    "yaml": {"document", "shown_config"},
    "bcrypt": {"passwords"},
    "mcp": {"caller"},
    "requests": set[str](),
    "shtab": {"cli"},
}
"""Who may use which library. The SDK is for clients and demonstration servers: we carry bytes."""

PURE = {
    *("call", "clients", "document", "envelope", "exchange", "fields", "header_value", "health"),
    *("http_fields", "http_session", "inventory", "labels", "message", "oauth", "observation"),
    *("param_headers", "refusal", "reply_copy", "sse"),
}
IMPURE = {"asyncio", "logging", "os", "signal", "socket", "subprocess", "threading", "time"}
"""What a pure module does without: messages and times come in, values go out."""

TESTED_ELSEWHERE = {
    "__init__": "test_cli",
    "__main__": "test_cli",
    "call": "test_exchange",
    "access_flags": "test_cli",
    "facts": "test_status_e2e",
    "flags": "test_cli",
    "http_reply": "test_http_probe",
    "request_reader": "test_listener",
    "status_screen": "test_status_e2e",
    "wire_probe": "test_stdio_probe",
}


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text())


@cache
def imports(module: str) -> tuple[str, ...]:
    """Everything that a module imports, also inside functions; our own modules by their name."""
    return tuple(_imports(module))


def _imports(module: str) -> Iterator[str]:
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: a relative import"
            name = node.module or ""
            inner = (alias.name for alias in node.names if alias.name in MODULES)
            yield from inner if name == "exporter" else [name]


@cache
def own(module: str) -> frozenset[str]:
    """Which of our modules a module imports."""
    names = (name.removeprefix("exporter.") for name in imports(module))
    return frozenset(name for name in names if name in MODULES)


@cache
def used(module: str) -> frozenset[str]:
    """Which of our modules a module uses, directly or not."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        fresh = own(waiting.pop()) - found
        found |= fresh
        waiting += fresh
    return frozenset(found)


@pytest.mark.parametrize("module", MODULES)
def test_no_module_uses_itself_in_a_circle(module: str) -> None:
    assert module not in used(module)


@pytest.mark.parametrize("number", range(len(FLOORS)))
def test_a_floor_stands_on_lower_floors_alone(number: int) -> None:
    not_below = frozenset().union(*FLOORS[number:])
    for module in FLOORS[number]:
        wrong = used(module) & not_below
        assert not wrong, f"{module} uses {sorted(wrong)}"


def test_every_module_named_here_is_there() -> None:
    named = frozenset().union(*FLOORS, *ONLY_IN.values()) | PURE | TESTED_ELSEWHERE.keys()
    assert named <= MODULES.keys()


def test_the_roof_carries_nothing() -> None:
    assert {module for module in MODULES if "app" in own(module)} == {"cli"}
    assert {module for module in MODULES if "cli" in own(module)} == {"__main__"}


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_is_used_where_it_belongs(library: str) -> None:
    users = {
        module
        for module in MODULES
        if any(name.partition(".")[0] == library for name in imports(module))
    }
    assert users <= ONLY_IN[library]


@pytest.mark.parametrize("module", sorted(PURE))
def test_a_pure_module_has_no_clock_and_no_input_or_output(module: str) -> None:
    assert IMPURE.isdisjoint(name.partition(".")[0] for name in imports(module))


def test_few_guards_catch_everything() -> None:
    guards = []
    for module in MODULES:
        for node in ast.walk(tree(module)):
            if isinstance(node, ast.ExceptHandler):
                caught = ast.unparse(node.type) if node.type else ""
                if caught in ("", "Exception", "BaseException"):
                    guards.append(module)
    assert set(guards) <= {
        "caller",
        "harmless",
        "observation",
        "prober",
        "recorder",
        "reception",
        "watch",
        "wrap",
    }


@pytest.mark.parametrize("module", MODULES)
def test_no_module_changes_names_of_its_own(module: str) -> None:
    nodes = ast.walk(tree(module))
    assert not any(isinstance(node, ast.Global | ast.Nonlocal) for node in nodes)


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_what_it_is(module: str) -> None:
    assert ast.get_docstring(tree(module))


@pytest.mark.parametrize("module", MODULES)
def test_every_module_has_its_test(module: str) -> None:
    expected = TESTED_ELSEWHERE.get(module, f"test_{module}")
    assert (TESTS / f"{expected}.py").is_file()
