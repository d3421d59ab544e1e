"""What is run: each leg of the suite at each revision, direct and through the exporter."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace

from tests.conformance import processes
from tests.conformance.comparison import Results, Run, faults
from tests.conformance.suite import REVISIONS, Suite

CLIENT = f"{sys.executable} -m tests.conformance.client"
RELAYED_CLIENT = f"{sys.executable} -m tests.conformance.relayed_client"

# More faults than these are no matter of time.
FEW = 5

EXCUSED = {
    "resource-parameter-matches-prm": (
        "the suite compares the client's `resource` with the one its server published; the client "
        "has to name the URL which it was given, the exporter's"
    ),
    "auth/enterprise-managed-authorization": (
        "the suite's authorization server takes its own server's URL alone for a `resource`"
    ),
}


def settle(run: Run, again: Callable[[list[str]], tuple[Results, Results]]) -> Run:
    """The run, with a second try of what is at fault, direct and relayed.

    Some scenarios measure time, which a busy machine takes from them; a real fault stays.
    """
    wrong = list(faults(run))
    if not 0 < len(wrong) <= FEW:
        return run
    print(f"{run.title}: once more: {', '.join(wrong)}", flush=True)
    direct, relayed = again(wrong)
    return replace(run, direct=run.direct | direct, relayed=run.relayed | relayed)


def http_run(suite: Suite, revision: str, exporter: str, server: str) -> Run:
    """The server scenarios, direct and through an exporter to the same HTTP server."""
    asked = suite.scenarios(revision, "server")
    name, entry = f"{revision}-server-http", {"type": "http", "url": server}
    with processes.exporter(entry, suite.output / f"{name}-exporter", exporter) as relay:
        direct = suite.server(server, revision, f"{revision}-server-direct")
        relayed = suite.server(relay, revision, name)
        title = f"server scenarios at {revision}, HTTP upstream"
        return settle(
            Run(title, direct, relayed, asked.required, asked.scored),
            lambda only: (
                suite.server_scenarios(server, revision, f"{revision}-server-direct-again", only),
                suite.server_scenarios(relay, revision, f"{name}-again", only),
            ),
        )


def stdio_run(suite: Suite, revision: str, exporter: str, direct: Results) -> Run:
    """The server scenarios through an exporter to a stdio server.

    The suite speaks HTTP alone, so ``direct`` is what the same server came to over HTTP.
    """
    asked = suite.scenarios(revision, "server")
    name, entry = f"{revision}-server-stdio", processes.stdio_fixture()
    with processes.exporter(entry, suite.output / f"{name}-exporter", exporter) as relay:
        relayed = suite.server(relay, revision, name)
        title = f"server scenarios at {revision}, stdio upstream (direct: HTTP)"
        return settle(
            Run(title, direct, relayed, asked.required, asked.scored, {}, alike=False),
            lambda only: ({}, suite.server_scenarios(relay, revision, f"{name}-again", only)),
        )


def server_runs(suite: Suite, exporter: str) -> Iterator[Run]:
    """All runs of the server scenarios."""
    for revision in REVISIONS:
        with processes.fixture(suite.output / "fixture.log") as server:
            over_http = http_run(suite, revision, exporter, server)
        yield over_http
        yield stdio_run(suite, revision, exporter, over_http.direct)


def client_run(suite: Suite, revision: str) -> Run:
    """The client scenarios: the reference client, direct and through an exporter of its own."""
    asked = suite.scenarios(revision, "client")
    direct, relay = f"{revision}-client-direct", f"{revision}-client-relayed"
    run = Run(
        f"client scenarios at {revision}",
        suite.client(CLIENT, revision, direct),
        suite.client(RELAYED_CLIENT, revision, relay),
        asked.required,
        asked.scored,
        EXCUSED,
    )
    return settle(
        run,
        lambda only: (
            suite.client(CLIENT, revision, f"{direct}-again", only),
            suite.client(RELAYED_CLIENT, revision, f"{relay}-again", only),
        ),
    )


def client_runs(suite: Suite) -> Iterator[Run]:
    """All runs of the client scenarios."""
    for revision in REVISIONS:
        yield client_run(suite, revision)
