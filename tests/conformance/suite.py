"""The conformance suite as a command: what it asks of a revision, and runs of it."""

import json
import os
import re
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml

from tests.conformance.comparison import MISSING, Result, read_checks
from tests.conformance.toolchain import HERE, REPOSITORY, Toolchain

Leg = Literal["server", "client"]
REVISIONS = ("2025-11-25", "2026-07-28")

# A whole server run takes five seconds, and the suite itself bounds each scenario.
RUN_SECONDS = 300
# Enough for an exporter to start, a client to meet its own deadline, and both to end.
CLIENT_SECONDS = 60
# What the suite says of a client whose exit it minds: scenarios with refusals to provoke do not.
CLIENT_FAILED = ("CLIENT TIMED OUT", "CLIENT EXITED WITH ERROR")
# Each client scenario starts three processes; more at once would starve those with deadlines.
CLIENTS_AT_ONCE = 2


@dataclass(frozen=True)
class Scenarios:
    """A revision's scenarios for one leg, in the suite's order."""

    names: tuple[str, ...]
    required: frozenset[str]
    scored: frozenset[str]


def _directory(output: Path, prefix: str, scenario: str) -> Path | None:
    pattern = re.compile(re.escape(f"{prefix}{Path(scenario).name}") + r"-\d{4}-\d\d-\d\dT[\d-]+Z")
    parent = output / Path(scenario).parent
    found = [each for each in parent.glob("*") if pattern.fullmatch(each.name)]
    return found[0] if found else None


def _read(directory: Path | None, completed: bool = True) -> Result:
    if directory is None or not (directory / "checks.json").exists():
        return MISSING
    checks = read_checks(json.loads((directory / "checks.json").read_text()))
    return Result(completed, checks)


@dataclass(frozen=True)
class Suite:
    """The installed suite; ``output`` is where its results go, one directory a run."""

    tool: Toolchain
    output: Path

    def scenarios(self, revision: str, leg: Leg) -> Scenarios:
        """What runs at a revision. All but the protocol's extensions is required; the suite itself
        scores less: neither what it learned after a release nor what its own fixture fails."""
        path = self.tool.suite / "requirements" / f"{revision}.yaml"
        frozen = yaml.safe_load(path.read_text())
        unscored = [entry for entry in frozen["not_scored"] if entry["leg"] == leg]
        optional = {entry["scenario"] for entry in unscored if entry["reason"] == "extension"}
        names = (*frozen[leg], *(entry["scenario"] for entry in unscored))
        return Scenarios(names, frozenset(names) - optional, frozenset(frozen[leg]))

    def _run(self, arguments: Sequence[str], output: Path) -> None:
        output.mkdir(parents=True)
        command = [str(self.tool.node), str(self.tool.suite / "dist" / "index.js"), *arguments]
        preload = f"--require {HERE / 'loopback.cjs'}"
        with (output / "suite.log").open("w") as log:
            subprocess.run(
                [*command, "--output-dir", str(output)],
                cwd=REPOSITORY,
                env=os.environ | {"NODE_OPTIONS": preload, "NO_COLOR": "1"},
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                check=False,
                timeout=RUN_SECONDS,
            )

    def server(self, url: str, revision: str, name: str) -> dict[str, Result]:
        """Run all server scenarios of a revision against the server at ``url``."""
        output = self.output / name
        self._run(["server", "--url", url, "--requirements", revision], output)
        scenarios = self.scenarios(revision, "server").names
        return {each: _read(_directory(output, "server-", each)) for each in scenarios}

    def server_scenarios(
        self, url: str, revision: str, name: str, only: Sequence[str]
    ) -> dict[str, Result]:
        """Run some server scenarios of a revision, one by one."""
        results = {}
        for scenario in only:
            output = self.output / name / scenario
            chosen = ["--scenario", scenario, "--spec-version", revision, "--force"]
            self._run(["server", "--url", url, *chosen], output)
            results[scenario] = _read(_directory(output, "server-", scenario))
        return results

    def _client(self, command: str, revision: str, scenario: str, name: str) -> Result:
        output = self.output / name / scenario.replace("/", "-")
        chosen = ["--scenario", scenario, "--spec-version", revision, "--force"]
        limit = ["--timeout", str(CLIENT_SECONDS * 1000)]
        self._run(["client", "--command", command, *chosen, *limit], output)
        log = (output / "suite.log").read_text()
        failed = any(complaint in log for complaint in CLIENT_FAILED)
        return _read(_directory(output, "", scenario), completed=not failed)

    def client(
        self, command: str, revision: str, name: str, only: Sequence[str] = ()
    ) -> dict[str, Result]:
        """Run client scenarios, all of a revision or some, with a client started by ``command``.

        The suite's own way to run them all starts all clients at once, which no machine of two
        cores brings to an end within the scenarios' deadlines.
        """
        names = only or self.scenarios(revision, "client").names
        with ThreadPoolExecutor(CLIENTS_AT_ONCE) as pool:
            runs = [pool.submit(self._client, command, revision, each, name) for each in names]
            return {each: run.result() for each, run in zip(names, runs, strict=True)}
