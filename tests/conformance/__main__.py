"""Run the conformance suite directly and through the exporter, and compare every scenario."""

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.conformance import comparison, processes
from tests.conformance.comparison import Run
from tests.conformance.runs import client_runs, server_runs
from tests.conformance.suite import Suite
from tests.conformance.toolchain import ToolchainError, install
from tests.support.trace_receiver import receiving


def compare(suite: Suite, leg: str | None, exporter: str) -> int:
    """Run what is asked for, print each comparison, and return the number of faults."""
    runs: list[Iterator[Run]] = []
    if leg != "client":
        runs.append(server_runs(suite, exporter))
    if leg != "server":
        os.environ["MCP_CONFORMANCE_EXPORTER"] = exporter
        runs.append(client_runs(suite))
    wrong = 0
    for run in (run for each in runs for run in each):
        print(comparison.report(run), end="\n\n", flush=True)
        wrong += len(comparison.faults(run))
    return wrong


def skip(reason: ToolchainError) -> int:
    """Say that nothing was run; an error in CI, where that must not go unnoticed."""
    print(f"conformance: skipped, the suite cannot be installed: {reason}", file=sys.stderr)
    return 1 if os.environ.get("CI") else 0


@contextmanager
def _spans(how: str | None) -> Iterator[None]:
    """Have each exporter send spans; say in the end how many came."""
    if how is None:
        yield
        return
    with receiving() as receiver:
        tracing = {"endpoint": receiver.url, "propagate": how == "propagate"}
        os.environ[processes.SETTINGS] = json.dumps({"tracing": tracing})
        yield
        kinds = Counter(Span.SpanKind.Name(each.span.kind) for each in receiver.spans)
        print("spans:", *(f"{count} {kind}" for kind, count in kinds.items()))


def _output(given: Path | None) -> Path:
    if given is None:
        return Path(tempfile.mkdtemp(prefix="conformance-"))
    if given.exists() and any(given.iterdir()):
        sys.exit(f"conformance: {given} is not empty; name a new directory")
    given.mkdir(parents=True, exist_ok=True)
    return given.resolve()


def main() -> int:
    """Return the exit status: 0 if every scenario is the same both ways."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("leg", nargs="?", choices=["server", "client"], help="default: both")
    parser.add_argument("--exporter", default=processes.EXPORTER, help="default: %(default)s")
    parser.add_argument("--output", type=Path, help="keep the suite's results and all logs here")
    parser.add_argument(
        "--tracing",
        choices=["observe", "propagate"],
        help="with spans, or with servers told of them, too (default: neither)",
    )
    arguments = parser.parse_args()
    output = _output(arguments.output)
    try:
        with _spans(arguments.tracing):
            wrong = compare(Suite(install(), output), arguments.leg, arguments.exporter)
    except ToolchainError as reason:
        return skip(reason)
    except processes.StartError as reason:
        print(f"conformance: {reason}; logs: {output}", file=sys.stderr)
        return 1
    if wrong:
        print(f"{wrong} scenarios are not as they have to be; results and logs: {output}")
    elif not arguments.output:
        shutil.rmtree(output)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
