"""One compose project on a real engine: runs it, inspects its containers, asks its ports."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

_T = TypeVar("_T")

ROOT = Path(__file__).resolve().parent.parent
SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_TO_ANSWER = 10


class CheckError(Exception):
    """Something does not hold; the message says what."""


@dataclass(frozen=True)
class Stack:
    """A compose project and the loopback ports at which it is published, by their variables."""

    project: str
    docker: str
    compose: tuple[str, ...]
    services: tuple[str, ...]
    ports: Mapping[str, int]

    def run(self, *arguments: str, shown: bool = True) -> str:
        """Run compose; return what it printed, or show it. Raises CheckError where it fails."""
        command = (*self.compose, "--project-name", self.project, *arguments)
        return _run(command, {name: str(port) for name, port in self.ports.items()}, shown=shown)

    def inspect(self, service: str) -> dict[str, Any]:
        """Return what the engine knows of the service's container, running or not."""
        listed = self.run("ps", "--all", "--quiet", service, shown=False).split()
        if not listed:
            raise CheckError(f"{service} has no container")
        found: list[dict[str, Any]] = json.loads(_run((self.docker, "inspect", listed[0])))
        return found[0]

    def ask(
        self, port: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        """GET, or POST where there is a body. Returns the reply's JSON.

        Raises CheckError unless the status is 200.
        """
        at = http.client.HTTPConnection("127.0.0.1", self.ports[port], timeout=SECONDS_TO_ANSWER)
        method = "GET" if body is None else "POST"
        text = None if body is None else json.dumps(body)
        try:
            at.request(method, path, text, {"Content-Type": "application/json", **(headers or {})})
            reply = at.getresponse()
            answer = reply.read().decode()
        except OSError as error:
            raise CheckError(f"{method} {path} at port {self.ports[port]}: {error}") from error
        finally:
            at.close()
        if reply.status != http.client.OK:
            raise CheckError(f"{method} {path} answered {reply.status}: {answer[:300]}")
        return json.loads(answer) if answer else None


def found(project: str, services: Sequence[str], ports: Mapping[str, int]) -> Stack:
    """The stack with the engine of this machine; a port that is taken is replaced by a free one.

    Raises CheckError where the machine lacks Docker or compose.
    """
    docker = shutil.which("docker")
    if docker is None:
        raise CheckError("no `docker` on the PATH; install a Docker engine")
    free = {name: _free_port(usual) for name, usual in ports.items()}
    return Stack(project, docker, _compose(docker), tuple(services), free)


def see(what: str, look: Callable[[], _T], seconds: float) -> _T:
    """Look until there is something to see, and return that. Raises CheckError after `seconds`."""
    began = time.monotonic()
    seen, trouble = _look(look)
    while not seen and time.monotonic() - began < seconds:
        time.sleep(SECONDS_BETWEEN_LOOKS)
        seen, trouble = _look(look)
    if not seen:
        raise CheckError(f"not within {seconds:.0f} s: {what}. {trouble}".rstrip())
    say(f"{time.monotonic() - began:5.1f} s  {what}: {seen}")
    return seen


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _look(look: Callable[[], _T]) -> tuple[_T | None, str]:
    try:
        return look(), ""
    except CheckError as reason:
        return None, str(reason)


def _compose(docker: str) -> tuple[str, ...]:
    plugin = subprocess.run([docker, "compose", "version"], capture_output=True, check=False)
    if plugin.returncode == 0:
        return docker, "compose"
    standalone = shutil.which("docker-compose")
    if standalone is None:
        raise CheckError("neither `docker compose` nor `docker-compose` is installed")
    return (standalone,)


def _free_port(usual: int) -> int:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", usual))
        except OSError:
            listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _run(
    command: tuple[str, ...], variables: Mapping[str, str] | None = None, *, shown: bool = False
) -> str:
    if shown:
        say(f"$ {' '.join(command)}")
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **(variables or {})},
        stdout=None if shown else subprocess.PIPE,
        stderr=None if shown else subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise CheckError(f"`{' '.join(command)}` ended with {done.returncode}. {done.stderr or ''}")
    return done.stdout or ""
