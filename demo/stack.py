"""The parts of the demo: how each is started, and when it is ready."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import requests
import yaml

from demo import addresses, configuration
from demo.processes import Part, PartError
from scripts.monitoring import BIN

ROOT = Path(__file__).resolve().parent.parent
RETENTION = "35d"
"""The objectives look 30 days back."""
DAY_MINUTES = 24.0
SECONDS_TO_READ = 15.0
"""Until the day begins: what was just reported stays true for a moment."""
GRAFANA_HOMES = ("/usr/share/grafana", "/opt/homebrew/share/grafana", "/usr/local/share/grafana")


@dataclass(frozen=True)
class Stack:
    """Where the parts listen, and the folder for their data and logs."""

    addresses: Mapping[str, str]
    state: Path

    def url(self, name: str, path: str = "") -> str:
        return f"http://{self.addresses[name]}{path}"

    def inbox(self) -> Part:
        address = self.addresses["inbox"]
        command = [sys.executable, "-m", "demo.inbox", "--listen", address]
        command += ["--keep", str(self.state / "mail")]
        return Part("inbox", command, _accepts(address), to_terminal=True)

    def traces(self) -> Part:
        address = self.addresses["traces"]
        command = [sys.executable, "-m", "demo.traces", "--listen", address]
        return Part("trace store", command, _accepts(address))

    def echo(self) -> Part:
        address = self.addresses["echo"]
        command = [sys.executable, "-m", "mcp_servers.echo", "--http", address]
        return Part("echo server", command, _accepts(address))

    def exporter(self) -> Part:
        document = configuration.exporter(sys.executable, ROOT, self.addresses, self._mode_file)
        # What an earlier run left in it would hold here.
        self._mode_file.write_text("ok\n")
        program = Path(sys.executable).with_name("mcp-exporter")
        command = [str(program), "serve", "--config.file", self._write("exporter.yml", document)]
        command += ["--mcp.listen-address", self.addresses["mcp"]]
        command += ["--web.listen-address", self.addresses["exporter"]]
        environment = configuration.spans_to(self.addresses["traces"])
        return Part("exporter", command, _answers(self.url("exporter", "/-/ready")), environment)

    def alertmanager(self) -> Part:
        source = self._with_receivers()
        document = configuration.alertmanager(source, self.addresses["inbox"])
        command = [
            str(BIN / "alertmanager"),
            f"--config.file={self._write('alertmanager.yml', document)}",
            f"--storage.path={self.state / 'alertmanager'}",
            f"--web.listen-address={self.addresses['alertmanager']}",
            f"--web.external-url={self.url('alertmanager')}",
            "--cluster.listen-address=",
        ]
        return Part("Alertmanager", command, _answers(self.url("alertmanager", "/-/ready")))

    def prometheus(self) -> Part:
        folder = ROOT / "prometheus"
        source = _read(folder / "prometheus.yml")
        document = configuration.prometheus(source, folder, self.addresses)
        command = [
            str(BIN / "prometheus"),
            f"--config.file={self._write('prometheus.yml', document)}",
            f"--storage.tsdb.path={self.state / 'prometheus'}",
            f"--storage.tsdb.retention.time={RETENTION}",
            f"--web.listen-address={self.addresses['prometheus']}",
            f"--web.external-url={self.url('prometheus')}",
            f"--web.console.templates={folder / 'consoles'}",
            "--enable-feature=exemplar-storage",
        ]
        return Part("Prometheus", command, _answers(self.url("prometheus", "/-/ready")))

    def grafana(self, program: Path) -> Part:
        verb = ["server"] if program.name == "grafana" else []
        command = [str(program), *verb, "--homepath", str(_grafana_home(program))]
        environment = configuration.grafana(ROOT, self.state, self.addresses)
        self._provision_grafana()
        ready = _answers(self.url("grafana", "/api/health"))
        # At its first start it lays out its database.
        return Part("Grafana", command, ready, environment, seconds_to_start=120)

    def traffic(self) -> Part:
        command = [sys.executable, "-m", "demo.traffic", self.url("mcp", "/files/mcp")]
        environment = configuration.spans_to(self.addresses["traces"])
        return Part("traffic", command, lambda: True, environment)

    def day(self) -> Part:
        command = [sys.executable, "-m", "demo.day", self.url("mcp")]
        command += ["--mode-file", str(self._mode_file), "--minutes", f"{DAY_MINUTES:g}"]
        command += ["--after", f"{SECONDS_TO_READ:g}"]
        return Part("day", command, lambda: True)

    @property
    def _mode_file(self) -> Path:
        return self.state / "flaky-mode"

    def _provision_grafana(self) -> None:
        """Write the project's provisioning with links to the demo's own traces."""
        source = ROOT / "grafana" / "provisioning"
        made = self.state / "provisioning"
        shutil.copytree(source, made, dirs_exist_ok=True)
        sources = configuration.data_sources(
            _read(source / "datasources" / "datasources.yml"), self.addresses["traces"]
        )
        self._write("provisioning/datasources/datasources.yml", sources)

    def _with_receivers(self) -> configuration.Document:
        """Return Alertmanager's configuration with the receivers whose secrets exist."""
        script = ROOT / "prometheus" / "alertmanager.sh"
        done = subprocess.run(
            ["/bin/sh", script, "--render", self.state], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise PartError(f"Alertmanager has no configuration: {done.stderr.strip()}")
        return _read(self.state / "alertmanager.yml")

    def _write(self, name: str, document: configuration.Document) -> str:
        path = self.state / name
        path.write_text(yaml.safe_dump(document, sort_keys=False))
        return str(path)


def _grafana_home(program: Path) -> Path:
    homes = [program.resolve().parent.parent, *map(Path, GRAFANA_HOMES)]
    return next((home for home in homes if (home / "conf/defaults.ini").exists()), homes[0])


def _read(path: Path) -> configuration.Document:
    document: configuration.Document = yaml.safe_load(path.read_text())
    return document


def _accepts(address: str) -> Callable[[], bool]:
    return lambda: addresses.accepts(address)


def _answers(url: str) -> Callable[[], bool]:
    def is_ready() -> bool:
        try:
            return requests.get(url, timeout=1, proxies={"http": ""}).ok
        except requests.RequestException:
            return False

    return is_ready
