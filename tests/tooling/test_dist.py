"""What ``make dist`` writes: twice the same, complete, and of use to somebody who has no more."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from exporter import __version__
from scripts import dist
from scripts.environment import PreparationError, tool_environment
from tests.support import alert_rules, chart
from tests.support.documents import commands
from tests.support.exporting import Scrape, scripted_stdio
from tests.support.paths import ROOT
from tests.support.running import free_address, running
from tests.support.tools import succeeds

NAME = f"mcp-exporter-{__version__}"
WHEEL = f"mcp_exporter-{__version__}-py3-none-any.whl"
SOURCES = f"mcp_exporter-{__version__}.tar.gz"
PERMISSIVE = {"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "MIT", "MIT-0", "PSF-2.0"}
WEAK_COPYLEFT = {"certifi": "MPL-2.0", "shtab": "MPL-2.0"}
"""Used as they are, which asks nothing of those who use us."""

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("dist") / "first"
    dist.build(folder)
    return folder


def test_two_builds_are_equal_byte_for_byte(made: Path, tmp_path: Path) -> None:
    dist.build(tmp_path / "second")
    sums = (made / "SHA256SUMS").read_text()
    assert (tmp_path / "second" / "SHA256SUMS").read_text() == sums
    listed = {name: sum_ for sum_, name in map(str.split, sums.splitlines())}
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in made.iterdir()}
    assert listed == {name: found[name] for name in found.keys() - {"SHA256SUMS"}}


def test_a_time_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    with pytest.raises(PreparationError, match="'yesterday', not seconds since 1970"):
        dist.build(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_wheel_and_sources_hold_every_module_and_the_licence(made: Path) -> None:
    modules = {
        str(path.relative_to(ROOT))
        for package in ("exporter", "mcp_servers")
        for path in (ROOT / package).rglob("*.py")
    }
    with zipfile.ZipFile(made / WHEEL) as wheel:
        names = set(wheel.namelist())
    assert {name for name in names if name.endswith(".py")} == modules
    assert f"mcp_exporter-{__version__}.dist-info/licenses/LICENSE" in names
    with tarfile.open(made / SOURCES) as sources:
        inside = {name.partition("/")[2] for name in sources.getnames()}
    assert modules | {"LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml"} <= inside


def test_the_packed_chart_is_the_chart(made: Path) -> None:
    values = chart.values("everything")
    assert chart.render(values, made / f"{NAME}.tgz") == chart.render(values)


def test_the_rules_are_one_valid_file(made: Path) -> None:
    path = made / f"{NAME}-rules.yml"
    succeeds("promtool", "check", "rules", path)
    groups = yaml.safe_load(path.read_text())["groups"]
    assert sorted(map(str, (rule for group in groups for rule in group["rules"]))) == sorted(
        map(str, alert_rules.rules())
    )


def test_every_dashboard_is_in_the_form_that_grafana_com_imports(
    made: Path, tmp_path: Path
) -> None:
    with tarfile.open(made / f"{NAME}-dashboards.tar.gz") as packed:
        packed.extractall(tmp_path, filter="data")
    documents = [json.loads(path.read_text()) for path in tmp_path.rglob("*.json")]
    assert len(documents) == len(list((ROOT / "grafana" / "dashboards").glob("*.json")))
    assert all(document["__inputs"] and document["__requires"] for document in documents)


def test_the_bill_of_materials_names_what_the_image_installs(made: Path) -> None:
    bill = json.loads((made / f"{NAME}.cdx.json").read_text())
    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == (
        "CycloneDX",
        "mcp-exporter",
    )
    locked = dict(
        re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / "requirements.lock").read_text(), re.M)
    )
    named = {each["name"].lower().replace("_", "-"): each["version"] for each in bill["components"]}
    assert named.items() <= {k.lower().replace("_", "-"): v for k, v in locked.items()}.items()
    assert {"mcp", "prometheus-client", "pyyaml", "requests", "protobuf"} <= named.keys()


def test_every_licence_in_the_image_lets_us_pass_it_on(made: Path) -> None:
    for line in (made / f"{NAME}-licences.txt").read_text().splitlines():
        package, licence = re.fullmatch(r"(\S+) \S+: (.+)", line).groups()  # type: ignore[union-attr]
        named = set(re.split(" AND | OR ", licence))
        assert named <= PERMISSIVE or WEAK_COPYLEFT.get(package) == licence, line


@contextmanager
def _served(program: Path, folder: Path) -> Iterator[tuple[str, str]]:
    """``mcp-exporter serve`` with a desktop client's own file; where it serves, and is scraped."""
    config = folder / "claude_desktop_config.json"
    config.write_text(json.dumps({"mcpServers": {"files": scripted_stdio()}}))
    mcp, web = free_address(), free_address()
    command = [str(program), "serve", f"--config.file={config}"]
    command += [f"--mcp.listen-address={mcp}", f"--web.listen-address={web}"]
    with running(command, f"http://{web}/-/ready", folder / "log"):
        yield f"http://{mcp}", f"http://{web}"


def _by_pip(folder: Path, wanted: str) -> Path:
    """The program in an empty environment into which this was installed, with what it asks for."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip = (folder / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "install")
    _run(*pip, "--quiet", wanted)
    return folder / "bin" / "mcp-exporter"


def _by_uv(folder: Path, wanted: str) -> Path:
    uv = tool_environment("installers").parent / "uv"
    install = (uv, "tool", "install", "--quiet", "--python", sys.executable, wanted)
    folders = {"UV_TOOL_DIR": "tools", "UV_TOOL_BIN_DIR": "bin", "UV_CACHE_DIR": "cache"}
    _run(*install, **{name: str(folder / below) for name, below in folders.items()})
    return folder / "bin" / "mcp-exporter"


def _run(*command: str | Path, **environ: str) -> None:
    environment = {**os.environ, **environ}
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, env=environment)


def _initialize() -> dict[str, Any]:
    client = {"name": "curl", "version": "8"}
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client}
    return {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}


@pytest.mark.parametrize("install", [_by_pip, _by_uv], ids=["pip", "uv"])
def test_a_stranger_installs_the_wheel_calls_and_scrapes(
    made: Path, tmp_path: Path, install: Callable[[Path, str], Path]
) -> None:
    program = install(tmp_path / "empty", str(made / WHEEL))
    with _served(program, tmp_path) as (mcp, web):
        fields = {"Accept": "application/json, text/event-stream"}
        reply = requests.post(f"{mcp}/files/mcp", json=_initialize(), headers=fields, timeout=60)
        assert reply.json()["result"]["serverInfo"]["name"] == "scripted_stdio"
        scrape = Scrape(requests.get(f"{web}/metrics", timeout=60).text)
        assert scrape.outcomes("files", method="initialize") == {"ok": 1}
        tools = [str(program), "tools", "files", f"--mcp.url={mcp}"]
        lacking = subprocess.run(tools, capture_output=True, text=True, check=False)
        assert lacking.returncode == 2
        assert "pip install 'mcp-exporter[client]'" in lacking.stderr


def test_the_sources_install_too_with_an_extra(made: Path, tmp_path: Path) -> None:
    program = _by_pip(tmp_path / "empty", f"mcp-exporter[client] @ {(made / SOURCES).as_uri()}")
    with _served(program, tmp_path) as (mcp, _):
        tools = [str(program), "tools", "files", f"--mcp.url={mcp}"]
        listed = subprocess.run(tools, capture_output=True, text=True, check=False)
        assert listed.returncode == 0, listed.stderr
        assert "act" in listed.stdout


def _told(start: str) -> str:
    """The command of the README that begins so, as it is written there."""
    (line,) = (line for line in commands(ROOT / "README.md") if line.startswith(start))
    return line


def _in_a_shell(line: str, folder: Path, environ: Mapping[str, str]) -> str:
    """What the line prints."""
    return subprocess.run(
        ["/bin/sh", "-c", line],
        cwd=folder,
        env=environ,
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout


def test_a_stranger_does_as_the_readme_says(made: Path, tmp_path: Path) -> None:
    """Word for word, but for the ports."""
    (tmp_path / "dist").symlink_to(made)
    programs = tmp_path / "bin", tool_environment("installers").parent
    mcp, web = free_address(), free_address()
    environ = {
        **os.environ,
        "PATH": os.pathsep.join(map(str, [*programs, os.environ["PATH"]])),
        "PIPX_HOME": str(tmp_path / "home"),
        "PIPX_BIN_DIR": str(tmp_path / "bin"),
        "MCP_EXPORTER_MCP_LISTEN_ADDRESS": mcp,
        "MCP_EXPORTER_WEB_LISTEN_ADDRESS": web,
    }
    shell = partial(_in_a_shell, folder=tmp_path, environ=environ)
    shell(_told("pipx install"))
    python = tmp_path / "home" / "venvs" / "mcp-exporter" / "bin" / "python"
    files = {"command": str(python), "args": ["-m", "mcp_servers.files", "--root", str(made)]}
    config = tmp_path / "mcp-exporter.yml"
    config.write_text(json.dumps({"mcpServers": {"files": files}}))
    shell(_told("mcp-exporter check"))
    serve = ["sh", "-c", f"cd '{tmp_path}' && exec {_told('mcp-exporter serve')}"]
    with running(serve, f"http://{web}/-/ready", tmp_path / "log", **environ):
        reply = json.loads(shell(_told("curl").replace("127.0.0.1:6279", mcp)))
        assert WHEEL in reply["result"]["structuredContent"]["result"]
        scrape = Scrape(requests.get(f"http://{web}/metrics", timeout=60).text)
        assert scrape.total("mcp_tool_calls_total", server="files", outcome="ok") == 1
