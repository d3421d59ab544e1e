"""A real API server on loopback, and a client that is its administrator."""

from __future__ import annotations

import secrets
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import requests
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.cluster import build
from tests.support.running import free_address, wait_for

_SECONDS_TO_START = 120


class ApiServer:
    """Started and ended as often as a test likes; what it keeps is etcd's."""

    def __init__(self, folder: Path, etcd: str) -> None:
        self.address = free_address()
        self.url = f"https://{self.address}"
        self.certificate = folder / "certificates" / "apiserver.crt"
        self._folder = folder
        self._etcd = etcd
        self._token = secrets.token_hex(16)
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "tokens.csv").write_text(f"{self._token},admin,admin,system:masters\n")
        _write_key(folder / "accounts.key")

    def start(self) -> None:
        """Return when it is ready."""
        host, _, port = self.address.rpartition(":")
        key = self._folder / "accounts.key"
        words = [
            str(build.api_server()),
            f"--etcd-servers={self._etcd}",
            f"--bind-address={host}",
            f"--secure-port={port}",
            f"--cert-dir={self.certificate.parent}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--authorization-mode=RBAC",
            f"--token-auth-file={self._folder / 'tokens.csv'}",
            "--endpoint-reconciler-type=none",
        ]
        with (self._folder / "apiserver.log").open("ab") as log:
            self._process = subprocess.Popen(words, stdout=log, stderr=log)
        wait_for(self._is_ready, _SECONDS_TO_START, "the API server")

    def stop(self) -> None:
        """End it at once: told to, it would wait for every watch. etcd keeps what it knew."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(60)
            self._process = None

    def _is_ready(self) -> bool:
        try:
            return self.ask("GET", "/readyz").status_code == 200
        except OSError:  # not there yet, nor its certificate
            return False

    def ask(self, method: str, path: str, body: Any = None, **given: Any) -> requests.Response:
        """As the administrator."""
        headers = {"Authorization": f"Bearer {self._token}"} | given.pop("headers", {})
        return requests.request(
            method,
            self.url + path,
            json=body,
            headers=headers,
            verify=str(self.certificate),
            timeout=30,
            **given,
        )

    def make(self, path: str, body: Any, **parameters: str) -> Any:
        """Create an object; what refuses it fails the check."""
        reply = self.ask("POST", path, body, params=parameters)
        assert reply.ok, f"{path}: {reply.text}"
        return reply.json()

    def names(self, path: str) -> set[str]:
        """Of the objects there."""
        reply = self.ask("GET", path)
        assert reply.ok, f"{path}: {reply.text}"
        return {each["metadata"]["name"] for each in reply.json()["items"]}

    @property
    def kubeconfig(self) -> str:
        """For Helm."""
        cluster = {"server": self.url, "certificate-authority": str(self.certificate)}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "it",
            "clusters": [{"name": "it", "cluster": cluster}],
            "users": [{"name": "it", "user": {"token": self._token}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        }
        return yaml.safe_dump(config)


@contextmanager
def running(folder: Path) -> Iterator[ApiServer]:
    """Etcd and an API server, empty; both end with the block."""
    clients, peers = (f"http://{free_address()}" for _ in range(2))
    words = [
        str(build.etcd()),
        f"--data-dir={folder / 'etcd'}",
        f"--listen-client-urls={clients}",
        f"--advertise-client-urls={clients}",
        f"--listen-peer-urls={peers}",
        f"--initial-advertise-peer-urls={peers}",
        f"--initial-cluster=default={peers}",
    ]
    with ExitStack() as ends, (folder / "etcd.log").open("ab") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log)
        ends.callback(process.wait, 60)
        ends.callback(process.terminate)
        server = ApiServer(folder, clients)
        ends.callback(server.stop)
        began = time.monotonic()
        server.start()
        print(f"The API server was ready after {time.monotonic() - began:.1f} s")
        yield server


def _write_key(path: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
