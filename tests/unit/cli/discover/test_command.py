"""The flags of ``discover``: what is wrong is one line that names the mend."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.cli.discover import command
from exporter.cli.main import main, parser

GOOD = ("--kubernetes.url", "https://10.0.0.1:443", "--kubernetes.namespaces", "a, b,a")
NO_FILES = ("--kubernetes.token-file", "", "--kubernetes.ca-file", "")


def _options(folder: Path, *words: str) -> command.DiscoverOptions:
    output = ("--output", str(folder / "k.yml"))
    given = parser().parse_args(["discover", "kubernetes", *output, *GOOD, *NO_FILES, *words])
    return command._options(vars(given))


def test_namespaces_are_names_or_all(tmp_path: Path) -> None:
    assert _options(tmp_path).namespaces == ("a", "b")
    assert _options(tmp_path, "--kubernetes.namespaces", "*").namespaces == ("",)


def test_in_a_pod_the_api_server_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "6443")
    assert command._in_cluster_url() == "https://[fd00::1]:6443"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--output", ""), "--output: no file"),
        (("--output", "/nowhere/k.yml"), "--output: /nowhere cannot be written"),
        (("--output", "k.txt"), "--output: k.txt is not read by serve"),
        (("--kubernetes.url", ""), "give https://HOST:PORT, or run in a pod"),
        (("--kubernetes.url", "http://10.0.0.1:8080"), "is no API server"),
        (("--kubernetes.namespaces", ""), "give names with commas, or * for all"),
        (("--kubernetes.namespaces", "a/b"), "'a/b' is no name of a namespace"),
        (("--kubernetes.token-file", "/nowhere"), "/nowhere cannot be read"),
        (("--limit", "0"), "--limit: '0' is not a whole number from 1"),
    ],
)
def test_bad_words_are_one_line(
    words: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = ("--output", str(tmp_path / "k.yml"), *GOOD, *NO_FILES)
    assert main(["discover", "kubernetes", *good, *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
