"""A real Prometheus scrapes over TLS with a password; everybody else is kept out."""

from __future__ import annotations

import os
import signal
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bcrypt
import pytest
import requests
import yaml
from cryptography import x509

from exporter.cli.main import main
from tests.support.certificates import Authority, Pair
from tests.support.exporting import Exporter, exporter, scripted_stdio
from tests.support.running import free_address, get, running, wait_for
from tests.support.tools import succeeds, tool

PASSWORD = "correct-horse-battery"
HASH = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(10)).decode().replace("$2b$", "$2y$")


@dataclass
class Setup:
    """An exporter whose pages want a password and a certificate with the right name."""

    exporter: Exporter
    file: Path
    authority: Authority
    client: Pair

    def get(self, path: str, password: str | None = PASSWORD, **options: Any) -> requests.Response:
        options.setdefault("cert", (str(self.client.cert), str(self.client.key)))
        options.setdefault("auth", ("prometheus", password) if password else None)
        with requests.Session() as session:
            session.trust_env = False
            session.verify = str(self.authority.file)
            return session.get(self.exporter.web + path, timeout=30, **options)

    def refused(self) -> float:
        text = self.get("/metrics").text
        name = 'mcp_exporter_rejected_requests_total{reason="web_unauthorized"} '
        (line,) = [line for line in text.splitlines() if line.startswith(name)]
        return float(line.removeprefix(name))


def write(file: Path, own: Pair, authority: Authority, **changes: Any) -> None:
    settings = {
        "tls_server_config": {
            "cert_file": own.cert.name,  # relative to the file
            "key_file": str(own.key),
            "client_auth_type": "RequireAndVerifyClientCert",
            "client_ca_file": str(authority.file),
            "min_version": "TLS12",
            "cipher_suites": ["TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"],
        },
        "http_server_config": {"http2": False, "headers": {"X-Frame-Options": "deny"}},
        "basic_auth_users": {"prometheus": HASH},
    }
    file.write_text(yaml.safe_dump({**settings, **changes}))


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    folder = tmp_path_factory.mktemp("web")
    authority = Authority(folder)
    own = authority.issue("exporter")
    client = authority.issue("client", x509.DNSName("prometheus.example"))
    file = folder / "web.yml"
    write(file, own, authority)
    with exporter(
        folder, {"child": scripted_stdio()}, f"--web.config.file={file}"
    ) as running_exporter:
        yield Setup(running_exporter, file, authority, client)


@pytest.mark.alone
def test_prometheus_scrapes_with_its_password_and_certificate(setup: Setup, tmp_path: Path) -> None:
    target = setup.exporter.web.removeprefix("https://")
    job: dict[str, Any] = {
        "scheme": "https",
        "tls_config": {
            "ca_file": str(setup.authority.file),
            "cert_file": str(setup.client.cert),
            "key_file": str(setup.client.key),
        },
        "static_configs": [{"targets": [target]}],
    }
    right: dict[str, Any] = {"username": "prometheus", "password": PASSWORD}
    jobs = [
        {"job_name": "right", **job, "basic_auth": right},
        {"job_name": "wrong", **job, "basic_auth": {**right, "password": "x"}},
        {"job_name": "stranger", **job, "tls_config": {"ca_file": str(setup.authority.file)}},
    ]
    config = tmp_path / "prometheus.yml"
    settings = {"global": {"scrape_interval": "500ms", "scrape_timeout": "500ms"}}
    config.write_text(yaml.safe_dump({**settings, "scrape_configs": jobs}))
    address = free_address()
    command = [
        tool("prometheus"),
        f"--config.file={config}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address={address}",
    ]

    def targets() -> dict[str, tuple[str, str]]:
        found = get(f"http://{address}/api/v1/targets")["data"]["activeTargets"]
        return {one["labels"]["job"]: (one["health"], one["lastError"]) for one in found}

    def are_scraped() -> bool:
        """On a busy machine the first scrapes may take too long."""
        seen = targets()
        is_known = len(seen) == 3 and all(health != "unknown" for health, _ in seen.values())
        return is_known and not any("deadline exceeded" in error for _, error in seen.values())

    with running(command, f"http://{address}/-/ready", tmp_path / "prometheus.log"):
        wait_for(are_scraped, 60, "every target was scraped")
        seen = targets()
        assert seen["right"] == ("up", "")
        assert "401" in seen["wrong"][1]
        assert seen["stranger"][0] == "down"
        query = 'mcp_exporter_build_info{job="right"}'
        wait_for(
            lambda: get(f"http://{address}/api/v1/query", query=query)["data"]["result"],
            30,
            "what was scraped can be asked for",
        )


def test_promtool_finds_the_same_file_valid(setup: Setup) -> None:
    succeeds("promtool", "check", "web-config", setup.file)


@pytest.mark.parametrize("path", ["/", "/metrics", "/config", "/probe?target=child", "/logs", "/x"])
@pytest.mark.parametrize("password", [None, "wrong"])
def test_no_page_is_shown_without_the_password(
    setup: Setup, path: str, password: str | None
) -> None:
    before = setup.refused()
    reply = setup.get(path, password)
    assert (reply.status_code, reply.text) == (401, "Unauthorized\n")
    assert reply.headers["WWW-Authenticate"].startswith("Basic ")
    assert reply.headers["X-Frame-Options"] == "deny"
    assert setup.refused() == before + 1


def test_nothing_but_tls_1_2_and_later_with_a_certificate_is_spoken(setup: Setup) -> None:
    with pytest.raises(requests.RequestException):
        setup.get("/-/healthy", cert=None)
    with pytest.raises(requests.ConnectionError):
        requests.get(setup.exporter.web.replace("https", "http"), timeout=30)


def test_a_reload_changes_what_is_demanded(setup: Setup) -> None:
    own = Pair(setup.file.parent / "exporter.crt", setup.file.parent / "exporter.key")
    original = setup.file.read_text()
    write(setup.file, own, setup.authority, auth_excluded_paths=["/-/healthy"])
    assert setup.get("/-/healthy", None).status_code == 401
    os.kill(setup.exporter.pid, signal.SIGHUP)
    wait_for(lambda: setup.get("/-/healthy", None).status_code == 200, 60, "the path is excluded")
    assert setup.get("/metrics", None).status_code == 401
    setup.file.write_text("basic_auth_users: {prometheus: plain}\n")
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(setup.authority.file)
        session.cert = (str(setup.client.cert), str(setup.client.key))
        session.auth = ("prometheus", PASSWORD)
        refused = session.post(f"{setup.exporter.web}/-/reload", timeout=30)
        assert refused.status_code == 500
        assert "is not a bcrypt hash" in refused.text
        assert session.get(f"{setup.exporter.web}/metrics", timeout=30).status_code == 200
        setup.file.write_text(original)
        assert session.post(f"{setup.exporter.web}/-/reload", timeout=30).status_code == 200
    wait_for(lambda: setup.get("/-/healthy", None).status_code == 401, 60, "it is no more")


def test_only_certificates_with_the_right_name_are_welcome(setup: Setup) -> None:
    own = Pair(setup.file.parent / "exporter.crt", setup.file.parent / "exporter.key")
    original = setup.file.read_text()
    settings = yaml.safe_load(original)
    settings["tls_server_config"]["client_allowed_sans"] = ["prometheus.example"]
    write(setup.file, own, setup.authority, **settings)
    os.kill(setup.exporter.pid, signal.SIGHUP)
    other = setup.authority.issue("other", x509.DNSName("other.example"))

    def is_refused() -> bool:
        try:
            setup.get("/-/healthy", cert=(str(other.cert), str(other.key)))
        except (requests.RequestException, ssl.SSLError):
            return True
        return False

    wait_for(is_refused, 60, "another name is not welcome")
    assert setup.get("/-/healthy").status_code == 200
    setup.file.write_text(original)
    os.kill(setup.exporter.pid, signal.SIGHUP)
    wait_for(lambda: not is_refused(), 60, "every name is welcome again")


def test_neither_password_nor_hash_is_logged(setup: Setup) -> None:
    text = setup.exporter.log.read_text()
    assert PASSWORD not in text
    assert HASH[7:] not in text
    assert setup.exporter.says("configuration not reloaded")


def test_status_sends_the_password_of_its_url_and_never_prints_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "web.yml"
    file.write_text(yaml.safe_dump({"basic_auth_users": {"prometheus": HASH}}))
    with exporter(
        tmp_path, {"child": scripted_stdio()}, f"--web.config.file={file}"
    ) as running_exporter:
        place = running_exporter.web.removeprefix("http://")
        assert main(["status", "--web.url", f"http://prometheus:{PASSWORD}@{place}"]) == 0
        assert "child" in capsys.readouterr().out
        assert main(["status", "--web.url", f"http://prometheus:{PASSWORD}x@{place}"]) == 2
        line = capsys.readouterr().err
    assert f"http://{place}/metrics replies 401" in line
    assert PASSWORD not in line
