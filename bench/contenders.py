"""What is measured: nothing in between, nginx, the exporter, and other people's proxies."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import msgspec

from bench import nginx
from bench.answers import LEGACY, MODERN
from bench.load import Job
from bench.stage import Stage, family_of, free_address


class Contender:
    """One way from the client to the server."""

    name = ""
    transport = "http"
    """Of the server behind."""
    eras: tuple[str, ...] = (LEGACY, MODERN)

    def start(self, stage: Stage, backend: tuple[str, int]) -> None:
        """Start it in front of a backend. Raises ``StageError`` and ``UnavailableError``."""
        raise NotImplementedError

    def processes(self) -> list[int]:
        """The processes that are the proxy, without the servers behind it."""
        return []

    def job(self, job: Job) -> Job:
        """Say in a job where calls go, and what is watched."""
        raise NotImplementedError


class Direct(Contender):
    """No proxy."""

    name = "direct"

    def start(self, stage: Stage, backend: tuple[str, int]) -> None:  # noqa: ARG002
        # It has the processor that the proxies have in the other runs.
        self._address, self._process = stage.backend(stage.measured)

    def job(self, job: Job) -> Job:
        watched = {"backend": [self._process]}
        return msgspec.structs.replace(job, url=f"http://{self._address}/mcp", watched=watched)


class DirectStdio(Contender):
    """A child of the client, asked over its pipes."""

    name = "direct stdio"
    transport = "stdio"

    def start(self, stage: Stage, backend: tuple[str, int]) -> None:  # noqa: ARG002
        place = [] if stage.measured is None else ["--cpu", str(stage.measured)]
        self._command = [sys.executable, "-m", "bench.line_server", *place]

    def job(self, job: Job) -> Job:
        return msgspec.structs.replace(job, command=self._command)


class Proxy(Contender):
    """A process with an address of its own."""

    def start(self, stage: Stage, backend: tuple[str, int]) -> None:
        self.address = free_address()
        self._backend = backend
        self.process = stage.start(self.name, self.command(stage), stage.measured)
        stage.await_port(self.process, self.name, self.address)

    def command(self, stage: Stage) -> list[str]:
        """What starts it."""
        raise NotImplementedError

    @property
    def url(self) -> str:
        return f"http://{self.address}/mcp"

    def processes(self) -> list[int]:
        return [self.process.pid]

    def job(self, job: Job) -> Job:
        watched = {"proxy": self.processes(), "backend": [self._backend[1]]}
        return msgspec.structs.replace(job, url=self.url, watched=watched)


class Nginx(Proxy):
    """nginx with one worker."""

    name = "nginx"

    def command(self, stage: Stage) -> list[str]:
        folder = stage.folder / "nginx"
        folder.mkdir()
        file = folder / "nginx.conf"
        file.write_text(nginx.configuration(folder, self.address, self._backend[0]))
        return [str(nginx.provide()), "-p", str(folder), "-c", str(file), "-e", "stderr"]

    def processes(self) -> list[int]:
        return [self.process.pid, *(worker.pid for worker in family_of(self.process.pid))]


class Exporter(Proxy):
    """The exporter with everything on."""

    name = "exporter"

    def command(self, stage: Stage) -> list[str]:
        self.web = free_address()
        file = stage.folder / f"{self.name}.json"
        file.write_text(json.dumps(self.configuration(stage)))
        return exporter_command(file, self.address, self.web)

    def configuration(self, stage: Stage) -> dict[str, object]:  # noqa: ARG002
        return {"servers": {"bench": {"url": f"http://{self._backend[0]}/mcp"}}}

    @property
    def url(self) -> str:
        return f"http://{self.address}/bench/mcp"


class ExporterStdio(Exporter):
    """The exporter in front of a server over stdio."""

    name = "exporter stdio"
    transport = "stdio"

    def configuration(self, stage: Stage) -> dict[str, object]:
        command, *arguments = stage.child()
        server = {"command": command, "args": arguments}
        return {"servers": {"bench": server}}


def exporter_command(file: Path, mcp: str, web: str) -> list[str]:
    """What starts an exporter."""
    command = [sys.executable, "-m", "exporter", "serve", f"--config.file={file}"]
    return [*command, f"--mcp.listen-address={mcp}", f"--web.listen-address={web}"]


OWN: tuple[type[Contender], ...] = (Direct, Nginx, Exporter, DirectStdio, ExporterStdio)
