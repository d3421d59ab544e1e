"""Run the conformance suite directly and through the exporter, and compare every scenario."""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.conformance import comparison, processes
from tests.conformance.comparison import Run
from tests.conformance.suite import REVISIONS, Suite
from tests.conformance.toolchain import ToolchainError, install

CLIENT = f"{sys.executable} -m tests.conformance.client"
RELAYED_CLIENT = f"{sys.executable} -m tests.conformance.relayed_client"

EXCUSED = {
    "resource-parameter-matches-prm": (
        "the suite compares the client's `resource` with the one its server published; the client "
        "has to name the URL which it was given, the exporter's"
    ),
    "auth/enterprise-managed-authorization": (
        "the suite's authorization server takes its own server's URL alone for a `resource`"
    ),
}


def server_runs(suite: Suite, exporter: str) -> Iterator[Run]:
    """The server scenarios: direct, through the exporter over HTTP, and to a stdio upstream."""
    logs = suite.output
    for revision in REVISIONS:
        asked = suite.scenarios(revision, "server")
        with processes.fixture(logs / "fixture.log") as url:
            direct = suite.server(url, revision, f"{revision}-server-direct")
            entry = {"type": "http", "url": url}
            with processes.exporter(entry, logs / f"{revision}-http", exporter) as relay:
                relayed = suite.server(relay, revision, f"{revision}-server-http")
        title = f"server scenarios at {revision}, HTTP upstream"
        yield Run(title, direct, relayed, asked.required, asked.scored)
        with processes.exporter(
            processes.stdio_fixture(), logs / f"{revision}-stdio", exporter
        ) as relay:
            relayed = suite.server(relay, revision, f"{revision}-server-stdio")
        title = f"server scenarios at {revision}, stdio upstream (direct: HTTP)"
        yield Run(title, direct, relayed, asked.required, asked.scored, alike=False)


def client_runs(suite: Suite) -> Iterator[Run]:
    """The client scenarios: a reference client, direct and through the exporter."""
    for revision in REVISIONS:
        asked = suite.scenarios(revision, "client")
        direct = suite.client(CLIENT, revision, f"{revision}-client-direct")
        relayed = suite.client(RELAYED_CLIENT, revision, f"{revision}-client-relayed")
        yield Run(
            f"client scenarios at {revision}",
            direct,
            relayed,
            asked.required,
            asked.scored,
            EXCUSED,
        )


def compare(suite: Suite, legs: list[str], exporter: str) -> int:
    """Run what is asked for, print each comparison, and return the number of faults."""
    runs: list[Iterator[Run]] = []
    if "server" in legs:
        runs.append(server_runs(suite, exporter))
    if "client" in legs:
        os.environ["MCP_CONFORMANCE_EXPORTER"] = exporter
        runs.append(client_runs(suite))
    wrong = 0
    for run in (run for leg in runs for run in leg):
        print(comparison.report(run), end="\n\n", flush=True)
        wrong += len(comparison.faults(run))
    return wrong


def skip(reason: ToolchainError) -> int:
    """Say that nothing was run; an error in CI, where that must not go unnoticed."""
    print(f"conformance: skipped, the suite cannot be installed: {reason}", file=sys.stderr)
    return 1 if os.environ.get("CI") else 0


def main() -> int:
    """Return the exit status: 0 if every scenario is the same both ways."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("legs", nargs="*", choices=["server", "client", []], help="default: both")
    parser.add_argument("--exporter", default=processes.EXPORTER, help="default: %(default)s")
    parser.add_argument("--output", type=Path, help="keep the suite's results and all logs here")
    arguments = parser.parse_args()
    try:
        tool = install()
    except ToolchainError as reason:
        return skip(reason)
    output = arguments.output or Path(tempfile.mkdtemp(prefix="conformance-"))
    output = output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    wrong = compare(Suite(tool, output), arguments.legs or ["server", "client"], arguments.exporter)
    if wrong:
        print(f"{wrong} scenarios are not as they have to be; results and logs: {output}")
    elif not arguments.output:
        shutil.rmtree(output)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
