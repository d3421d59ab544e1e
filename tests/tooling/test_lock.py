"""The lock files pin all that pyproject.toml asks for, with hashes and without addresses."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.support.paths import ROOT

PROJECT = ("requirements.lock", "requirements-dev.lock")
LOCKS = (
    *PROJECT,
    "deploy/build.lock",
    "deploy/release.lock",
    "deploy/docs.lock",
    "deploy/installers.lock",
)
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def _entries(lock: str) -> list[str]:
    """Return the entries of a lock file, each with its hashes in one line."""
    text = (ROOT / lock).read_text().replace("\\\n", " ")
    return [
        line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")
    ]


def _requirement(entry: str) -> Requirement:
    return Requirement(HASH.sub("", entry).strip())


def _pins(lock: str) -> set[tuple[str, Version]]:
    """Return the names and versions; a name may have several, each for other systems."""
    pins = set()
    for each in map(_requirement, _entries(lock)):
        (pin,) = each.specifier
        assert pin.operator == "==", each
        pins.add((str(canonicalize_name(each.name)), Version(pin.version)))
    return pins


def _versions(lock: str, name: str) -> list[Version]:
    return [version for pinned, version in _pins(lock) if pinned == canonicalize_name(name)]


def _project() -> Any:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def _wanted(lock: str) -> list[Requirement]:
    project = _project()
    wanted = list(project["project"]["dependencies"])
    extras = project["project"]["optional-dependencies"]
    wanted += [each for name, extra in extras.items() if name != "all" for each in extra]
    if lock == "requirements-dev.lock":
        wanted += project["dependency-groups"]["dev"] + project["build-system"]["requires"]
    return [Requirement(each) for each in wanted]


@pytest.mark.parametrize("lock", LOCKS)
def test_every_entry_is_one_version_with_its_hashes(lock: str) -> None:
    entries = _entries(lock)
    assert entries
    for entry in entries:
        assert len(HASH.findall(entry)) >= 1, entry
    assert len(_pins(lock)) == len(entries)


@pytest.mark.parametrize("lock", LOCKS)
def test_of_several_versions_each_says_which_systems_it_is_for(lock: str) -> None:
    for each in map(_requirement, _entries(lock)):
        assert each.marker or len(_versions(lock, each.name)) == 1, each


@pytest.mark.parametrize("lock", LOCKS)
def test_no_entry_names_an_address(lock: str) -> None:
    assert "://" not in (ROOT / lock).read_text()
    assert not [line for line in _entries(lock) if line.lstrip().startswith("-")]
    assert not [each for each in map(_requirement, _entries(lock)) if each.url]


@pytest.mark.parametrize("lock", PROJECT)
def test_what_the_project_asks_for_is_pinned_within_its_bounds(lock: str) -> None:
    for wanted in _wanted(lock):
        versions = _versions(lock, wanted.name)
        assert versions, f"{lock} lacks {wanted}: run `make lock`"
        for version in versions:
            assert wanted.specifier.contains(version), f"{wanted} is {version}: run `make lock`"


@pytest.mark.parametrize("lock", ["requirements.lock", "deploy/build.lock"])
def test_what_runs_or_builds_in_production_is_what_was_tested(lock: str) -> None:
    assert _pins(lock) <= _pins("requirements-dev.lock")


def test_a_release_is_built_with_the_backend_of_the_image() -> None:
    assert _pins("deploy/build.lock") <= _pins("deploy/release.lock")


def test_all_is_every_extra() -> None:
    extras = _project()["project"]["optional-dependencies"]
    (every,) = map(Requirement, extras["all"])
    assert every.extras == extras.keys() - {"all"}


def test_production_gets_no_tool_of_development() -> None:
    names = {canonicalize_name(r.name) for r in _wanted("requirements-dev.lock")}
    names -= {canonicalize_name(r.name) for r in _wanted("requirements.lock")}
    assert not names & {name for name, _ in _pins("requirements.lock")}
