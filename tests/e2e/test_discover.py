"""Services of a fake API server become servers of a real exporter, and stay while it is away."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.fake_kubernetes import TOKEN, FakeKubernetes, service, serving
from tests.support.running import free_address, running, wait_for

pytestmark = pytest.mark.e2e
PROGRAM: list[str | Path] = [sys.executable, "-m", "exporter"]
SECRET = "nobody may see this"
SOON = 60.0


def _wanted(service_name: str, /, **said: str) -> dict[str, Any]:
    return service("team-a", service_name, scraped={"scrape": "true", **said})


@contextmanager
def _discovering(folder: Path, url: str, *flags: str, token: str = TOKEN) -> Iterator[str]:
    """Where it is scraped."""
    (folder / "token").write_text(token)
    output, address = folder / "servers.d" / "kubernetes.yml", free_address()
    output.parent.mkdir(exist_ok=True)
    words = [*PROGRAM, "discover", "kubernetes", "--kubernetes.namespaces", "team-a"]
    files: list[str | Path] = ["--kubernetes.token-file", folder / "token", "--kubernetes.ca-file="]
    where: list[str | Path] = [
        "--kubernetes.url",
        url,
        "--output",
        output,
        "--web.listen-address",
        address,
    ]
    with running(
        [*words, *files, *where, *flags],
        f"http://{address}/metrics",
        folder / "discover.log",
        SECRET_OF_THE_POD=SECRET,
    ):
        yield f"http://{address}/metrics"


def _written(folder: Path) -> dict[str, Any]:
    try:
        read = json.loads((folder / "servers.d" / "kubernetes.yml").read_text())
    except FileNotFoundError:
        return {}
    servers: dict[str, Any] = read["servers"]
    return servers


@pytest.fixture
def fake() -> FakeKubernetes:
    return FakeKubernetes("team-a")


def test_the_exporter_has_what_the_cluster_has(fake: FakeKubernetes, tmp_path: Path) -> None:
    fake.put(_wanted("first"))
    mcp, web = free_address(), free_address()
    with serving(fake) as url, _discovering(tmp_path, url):
        wait_for(lambda: set(_written(tmp_path)) == {"team-a/first"}, 60, "the list")
        command = [
            *PROGRAM,
            *("serve", "--config.file=", "--config.directory", tmp_path / "servers.d"),
            *("--config.reload-interval", "200ms", "--wrap.socket="),
            *("--mcp.listen-address", mcp, "--web.listen-address", web),
        ]
        with running(command, f"http://{web}/-/ready", tmp_path / "serve.log"):
            fake.put(_wanted("second"))
            wait_for(lambda: "team-a/second" in _written(tmp_path), 60, "a Service that came")
            wait_for(lambda: 'server="team-a/second"' in _metrics(web), 60, "its series")
            fake.put(_wanted("second", path="/v2"))
            wait_for(lambda: _url(tmp_path, "second").endswith("/v2"), 60, "a Service that changed")
            fake.delete("first")
            wait_for(lambda: "team-a/first" not in _written(tmp_path), 60, "a Service that went")
            wait_for(lambda: 'server="team-a/first"' not in _metrics(web), 60, "no series")
            assert 'server="team-a/second"' in _metrics(web)


def _metrics(address: str) -> str:
    return requests.get(f"http://{address}/metrics", timeout=60).text


def _url(folder: Path, name: str) -> str:
    return str(_written(folder)[f"team-a/{name}"]["url"])


def test_an_api_server_that_goes_away_takes_nobody_with_it(
    fake: FakeKubernetes, tmp_path: Path
) -> None:
    fake.put(_wanted("first"))
    with serving(fake) as url, _discovering(tmp_path, url) as metrics:
        wait_for(lambda: "team-a/first" in _written(tmp_path), 60, "the list")
        fake.go_away()
        down = 'mcp_exporter_discovery_up{namespace="team-a"} 0.0'
        wait_for(lambda: down in requests.get(metrics, timeout=60).text, 60, "that it is away")
        fake.put(_wanted("meanwhile"))
        assert set(_written(tmp_path)) == {"team-a/first"}
        fake.go_away(is_away=False)
        wait_for(lambda: "team-a/meanwhile" in _written(tmp_path), 60, "the next list")
        assert "team-a/first" in _written(tmp_path)


def test_without_the_right_token_nothing_is_written_and_said_why(
    fake: FakeKubernetes, tmp_path: Path
) -> None:
    fake.put(_wanted("first"))
    log = tmp_path / "discover.log"
    with serving(fake) as url, _discovering(tmp_path, url, token="another"):
        wait_for(lambda: "HTTP 401: Unauthorized" in log.read_text(), 60, "the reason")
        assert _written(tmp_path) == {}
    assert "another" not in log.read_text()


def test_hostile_services_show_no_secret(fake: FakeKubernetes, tmp_path: Path) -> None:
    fake.put(_wanted("good"))
    for number, path in enumerate(
        ("/${SECRET_OF_THE_POD}", "/\x1b[2J", "/\x85\u2028", "http://evil", "/a\nservers: {}")
    ):
        fake.put(_wanted(f"hostile-{number}", path=path))
    fake.put(_wanted("hostile-command", command="sh", args="-c id", headers="a: b"))
    with serving(fake) as url, _discovering(tmp_path, url) as metrics:
        wait_for(lambda: len(_written(tmp_path)) == 2, 60, "the two that are good")
        fake.put(_wanted("hostile-later", path="/\x85"))
        fake.put(_wanted("last"))
        wait_for(lambda: "team-a/last" in _written(tmp_path), 60, "the one after")
        text = (tmp_path / "servers.d" / "kubernetes.yml").read_text()
        assert SECRET not in text + requests.get(metrics, timeout=60).text
        assert {tuple(each) for each in _written(tmp_path).values()} == {("url",)}
    assert SECRET not in (tmp_path / "discover.log").read_text()


SAID = (
    {"path": "/${SECRET_OF_THE_POD}"},
    {"path": "/${file:/etc/passwd}"},
    {"path": "/\x1b[2J\x85\u2028"},
    {"path": "//evil.example/mcp"},
    {"port": "1\nservers: {}"},
    {"transport": "stdio", "command": "sh"},
    {"name": "../../etc/passwd"},
    {"name": "x" * 10_000},
    {"command": "sh", "args": "-c id", "env": "A=b", "headers": "a: ${SECRET_OF_THE_POD}"},
    {"url": "http://evil.example/mcp", "proxy": "http://evil.example"},
)
"""Of each ten Services: the last two are right but for words that mean nothing, and the fourth is
a path of its own."""
HOSTILE, LIMIT = 10_000, 100


def test_ten_thousand_hostile_services_cost_no_server_no_series_and_no_secret(
    fake: FakeKubernetes, tmp_path: Path
) -> None:
    fake.put(_wanted("zz-good"))
    (tmp_path / "mcp.yml").write_text("probe: {enabled: false}\n")
    mcp, web = free_address(), free_address()
    command = [
        *PROGRAM,
        *("serve", "--config.file", tmp_path / "mcp.yml"),
        *("--config.directory", tmp_path / "servers.d", "--config.reload-interval", "200ms"),
        *("--mcp.listen-address", mcp, "--web.listen-address", web, "--wrap.socket="),
    ]
    with serving(fake) as url, _discovering(tmp_path, url, f"--limit={LIMIT}") as metrics:
        wait_for(lambda: "team-a/zz-good" in _written(tmp_path), SOON, "the good one")
        with running(command, f"http://{web}/-/ready", tmp_path / "serve.log"):
            wait_for(lambda: 'server="team-a/zz-good"' in _metrics(web), SOON, "its series")
            for number in range(HOSTILE):
                fake.put(_wanted(f"h{number}", **SAID[number % len(SAID)]))
            fake.put(_wanted("h\x1b[2J\u202e"))
            fake.put(_wanted("last"))
            wait_for(lambda: _all_read(metrics), SOON, "all of them were read")
            wait_for(lambda: len(_served(web)) == LIMIT, SOON, "as many servers as may be")
            assert "team-a/zz-good" in _served(web)
            assert "mcp_exporter_config_files_failed 0.0" in _metrics(web)
            written = _written(tmp_path)
            texts = [_metrics(web), requests.get(metrics, timeout=10).text, json.dumps(written)]
    assert {tuple(each) for each in written.values()} == {("url",)}
    own = re.compile(r"http://[a-z0-9-]+\.team-a\.svc\.cluster\.local:8000/[!-#%-~]*")
    assert all(own.fullmatch(each["url"]) for each in written.values())
    texts += [(tmp_path / name).read_text() for name in ("discover.log", "serve.log")]
    for text in texts:
        assert SECRET not in text
        assert text.isprintable() or text.replace("\n", "").isprintable()


def _all_read(metrics: str) -> bool:
    text = requests.get(metrics, timeout=10).text
    counts = re.findall(r"^mcp_exporter_discovery_services\{.*\} (.*)$", text, re.MULTILINE)
    return sum(map(float, counts)) == HOSTILE + 3


def _served(address: str) -> set[str]:
    return set(re.findall(r'^mcp_server_up\{server="([^"]*)"\}', _metrics(address), re.MULTILINE))


def test_a_signal_ends_it_at_once(fake: FakeKubernetes, tmp_path: Path) -> None:
    with serving(fake) as url, _discovering(tmp_path, url):
        pass
    assert "Traceback" not in (tmp_path / "discover.log").read_text()


def test_a_wrong_port_is_one_line(fake: FakeKubernetes, tmp_path: Path) -> None:
    with serving(fake) as url, _discovering(tmp_path, url) as metrics:
        taken = metrics.removeprefix("http://").removesuffix("/metrics")
        words = ["discover", "kubernetes", "--kubernetes.namespaces", "team-a", "--kubernetes.url"]
        files: list[str | Path] = [
            "--kubernetes.token-file=",
            "--kubernetes.ca-file=",
            "--output",
            tmp_path / "o.yml",
        ]
        ended = subprocess.run(
            [*PROGRAM, *words, url, *files, "--web.listen-address", taken],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env=os.environ,
        )
    assert ended.returncode == 2
    assert "Address already in use" in ended.stderr
    assert ended.stderr.count("\n") == 1
