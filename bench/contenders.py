"""What is measured: nothing in between, nginx, the exporter, and other people's proxies."""

from __future__ import annotations

import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from time import monotonic

import msgspec

from bench import nginx, peers
from bench.load.generator import Job
from bench.servers.answers import LEGACY, MODERN
from bench.testbed import Testbed, family_of
from tests.support.certificates import Authority, Pair
from tests.support.paths import ROOT
from tests.support.running import free_address


class Contender(ABC):
    """One way from the client to the server."""

    name = ""
    transport = "http"
    """Of the server behind."""
    eras: tuple[str, ...] = (LEGACY, MODERN)
    streams = True
    """Whether a client gets a streamed reply as such."""
    is_brief = False
    """Whether it is measured in fewer cells: large results and streams at 16 sessions alone."""

    @abstractmethod
    def start(self, testbed: Testbed, backend: tuple[str, int]) -> None:
        """Start it in front of a backend. Raises ``TestbedError`` and ``UnavailableError``."""

    def processes(self) -> list[int]:
        """The processes that are the proxy, without the servers behind it."""
        return []

    @abstractmethod
    def job(self, job: Job) -> Job:
        """Say in a job where calls go, and what is watched."""


class Direct(Contender):
    """No proxy."""

    name = "direct"

    def start(self, testbed: Testbed, backend: tuple[str, int]) -> None:  # noqa: ARG002
        # It has the processor that the proxies have in the other runs.
        self._address, self._process = testbed.backend(testbed.measured)

    def job(self, job: Job) -> Job:
        watched = {"backend": [self._process]}
        return msgspec.structs.replace(job, url=f"http://{self._address}/mcp", watched=watched)


class DirectStdio(Contender):
    """A child of the client, asked over its pipes."""

    name = "direct stdio"
    transport = "stdio"

    def start(self, testbed: Testbed, backend: tuple[str, int]) -> None:  # noqa: ARG002
        place = [] if testbed.measured is None else ["--cpu", str(testbed.measured)]
        self._child = [sys.executable, "-m", "bench.servers.stdio_server", *place]

    def job(self, job: Job) -> Job:
        return msgspec.structs.replace(job, command=self._child)


class Proxy(Contender):
    """A process with an address of its own."""

    def start(self, testbed: Testbed, backend: tuple[str, int]) -> None:
        self.prepare(testbed, backend)
        began = monotonic()
        self.launch(testbed)
        testbed.await_port(self.process, self.name, self.address)
        self.seconds_to_listen = monotonic() - began

    def prepare(self, testbed: Testbed, backend: tuple[str, int]) -> None:
        """Do everything but start it. Raises ``UnavailableError``."""
        self.address = free_address()
        self._backend = backend
        self._command = self.command(testbed)

    def launch(self, testbed: Testbed) -> None:
        """Start it, and wait for nothing."""
        self.process = testbed.start(self.name, self._command, testbed.measured)

    @abstractmethod
    def command(self, testbed: Testbed) -> list[str]:
        """What starts it."""

    @property
    def url(self) -> str:
        return f"http://{self.address}/mcp"

    def processes(self) -> list[int]:
        return [self.process.pid]

    def job(self, job: Job) -> Job:
        watched = {"proxy": self.processes()}
        if self.transport == "stdio":
            parents = {"backend": self.process.pid}
            return msgspec.structs.replace(job, url=self.url, watched=watched, parents=parents)
        watched["backend"] = [self._backend[1]]
        return msgspec.structs.replace(job, url=self.url, watched=watched)


class Nginx(Proxy):
    """nginx with one worker."""

    name = "nginx"

    def command(self, testbed: Testbed) -> list[str]:
        folder = testbed.folder / self.name.replace(" ", "-")
        folder.mkdir(exist_ok=True)
        file = folder / "nginx.conf"
        file.write_text(self.configuration(folder))
        return [str(nginx.provide()), "-p", str(folder), "-c", str(file), "-e", "stderr"]

    def configuration(self, folder: Path) -> str:
        """The file that it reads."""
        return nginx.configuration(folder, self.address, self._backend[0])

    def processes(self) -> list[int]:
        return [self.process.pid, *(worker.pid for worker in family_of(self.process.pid))]


class NginxTls(Nginx):
    """The same with TLS on the clients' side."""

    name = "nginx TLS"
    is_brief = True

    def prepare(self, testbed: Testbed, backend: tuple[str, int]) -> None:
        self._authority, self._certificate = certificate(testbed.folder, "nginx")
        super().prepare(testbed, backend)

    def configuration(self, folder: Path) -> str:
        files = (self._certificate.cert, self._certificate.key)
        return nginx.configuration(folder, self.address, self._backend[0], *files)

    @property
    def url(self) -> str:
        return f"https://{self.address}/mcp"

    def job(self, job: Job) -> Job:
        return msgspec.structs.replace(super().job(job), authority=str(self._authority))


class Exporter(Proxy):
    """The exporter with everything on."""

    name = "exporter"
    settings: Mapping[str, object] = {}
    """More of the configuration than the servers."""

    def command(self, testbed: Testbed) -> list[str]:
        self.web = free_address()
        file = testbed.folder / f"{self.name}.json"
        file.write_text(json.dumps({**self.settings, "servers": self.servers(testbed)}))
        return exporter_command(file, self.address, self.web)

    def servers(self, testbed: Testbed) -> dict[str, object]:  # noqa: ARG002
        """What it stands in front of; calls go to ``bench``."""
        return {"bench": {"url": f"http://{self._backend[0]}/mcp"}}

    @property
    def url(self) -> str:
        return f"http://{self.address}/bench/mcp"


class ExporterTls(Exporter):
    """The same with TLS on the clients' side."""

    name = "exporter TLS"
    is_brief = True

    def command(self, testbed: Testbed) -> list[str]:
        self._authority, own = certificate(testbed.folder, "exporter")
        files = [f"--mcp.tls-cert-file={own.cert}", f"--mcp.tls-key-file={own.key}"]
        return [*super().command(testbed), *files]

    @property
    def url(self) -> str:
        return f"https://{self.address}/bench/mcp"

    def job(self, job: Job) -> Job:
        return msgspec.structs.replace(super().job(job), authority=str(self._authority))


class ExporterStdio(Exporter):
    """The exporter in front of a server over stdio."""

    name = "exporter stdio"
    transport = "stdio"

    def servers(self, testbed: Testbed) -> dict[str, object]:
        command, *arguments = testbed.child()
        return {"bench": {"command": command, "args": arguments}}


class Before(Exporter):
    """The exporter of another checkout, to be compared with this one in the same run."""

    name = "before"
    checkout = Path()

    def command(self, testbed: Testbed) -> list[str]:
        return _of_checkout(self.checkout, super().command(testbed))


class BeforeStdio(ExporterStdio):
    """The same in front of a server over stdio."""

    name = "before stdio"
    checkout = Path()

    def command(self, testbed: Testbed) -> list[str]:
        return _of_checkout(self.checkout, super().command(testbed))


def _of_checkout(checkout: Path, command: list[str]) -> list[str]:
    """The command with the modules of another checkout."""
    python, _, module, *arguments = command
    path = f"import sys; sys.path.insert(0, {str(checkout.resolve())!r})"
    run = f"import runpy; runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    return [python, "-c", f"{path}; {run}", *arguments]


def certificate(folder: Path, name: str) -> tuple[Path, Pair]:
    """The file of an authority, and what it issued to a server of this machine."""
    authority = Authority(folder, f"{name}-authority")
    return authority.file, authority.issue(name)


def exporter_command(file: Path, mcp: str, web: str) -> list[str]:
    """What starts an exporter."""
    command = [sys.executable, "-m", "exporter", "serve", f"--config.file={file}"]
    return [*command, f"--mcp.listen-address={mcp}", f"--web.listen-address={web}"]


class Peer(Proxy):
    """Somebody else's proxy."""

    package = ""
    is_brief = True

    def child(self, testbed: Testbed) -> list[str]:
        """The server behind, which outlives a change of its environment."""
        return ["env", f"PYTHONPATH={ROOT}", *testbed.child()]


class McpProxy(Peer):
    """mcp-proxy in front of a server over stdio."""

    name = "mcp-proxy"
    package = "mcp-proxy"
    transport = "stdio"
    eras = (LEGACY,)

    def command(self, testbed: Testbed) -> list[str]:
        host, _, port = self.address.partition(":")
        program = str(peers.provide(self.package) / "mcp-proxy")
        where = [f"--host={host}", f"--port={port}", "--log-level=WARNING"]
        return [program, *where, "--", *self.child(testbed)]


class FastMcp(Peer):
    """fastmcp's proxy with one client for all."""

    name = "fastmcp"
    package = "fastmcp"

    def command(self, testbed: Testbed) -> list[str]:
        program = str(peers.provide(self.package) / "python")
        script = str(ROOT / "bench" / "peers" / "fastmcp_proxy.py")
        return [program, script, self.address.partition(":")[2], *self.target(testbed)]

    def target(self, testbed: Testbed) -> list[str]:  # noqa: ARG002
        """The server behind."""
        return [f"http://{self._backend[0]}/mcp"]


class FastMcpStdio(FastMcp):
    """The same in front of a server over stdio."""

    name = "fastmcp stdio"
    transport = "stdio"

    def target(self, testbed: Testbed) -> list[str]:
        return self.child(testbed)


class Mcpo(Peer):
    """mcpo, which makes a REST interface of tools."""

    name = "mcpo"
    package = "mcpo"
    eras = (LEGACY,)
    streams = False

    def command(self, testbed: Testbed) -> list[str]:
        host, _, port = self.address.partition(":")
        program = str(peers.provide(self.package) / "mcpo")
        where = [f"--host={host}", f"--port={port}", "--log-level=WARNING"]
        return [program, *where, *self.target(testbed)]

    def target(self, testbed: Testbed) -> list[str]:  # noqa: ARG002
        """The server behind."""
        return ["--server-type=streamable-http", "--", f"http://{self._backend[0]}/mcp"]

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def job(self, job: Job) -> Job:
        return msgspec.structs.replace(super().job(job), is_rest=True)


class McpoStdio(Mcpo):
    """The same in front of a server over stdio."""

    name = "mcpo stdio"
    transport = "stdio"

    def target(self, testbed: Testbed) -> list[str]:
        return ["--", *self.child(testbed)]


ALL: tuple[type[Contender], ...] = (
    Direct,
    Nginx,
    Exporter,
    NginxTls,
    ExporterTls,
    FastMcp,
    Mcpo,
    DirectStdio,
    ExporterStdio,
    McpProxy,
    FastMcpStdio,
    McpoStdio,
)
PEERS = tuple(kind for kind in ALL if issubclass(kind, Peer))
