"""The reference client with an exporter between it and the suite's server.

The suite appends its server's URL to this command and reads the exit status.
"""

import asyncio
import os
import sys
import tempfile
from pathlib import Path

from tests.conformance.client.__main__ import run
from tests.conformance.processes import EXPORTER, exporter

# Well before the suite gives up: it ends the shell around this process alone, and the exporter
# would stay.
DEADLINE_SECONDS = 25.0


async def _run(url: str) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        await run(url)


def main() -> None:
    """Start an exporter, run the client against it, end the exporter."""
    # Without probes, because the suite's servers count every request as the client's.
    server = {"type": "http", "url": sys.argv[-1], "probe": {"enabled": False}}
    command = os.environ.get("MCP_CONFORMANCE_EXPORTER", EXPORTER)
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "exporter.log"
        try:
            with exporter(server, Path(directory), command) as url:
                asyncio.run(_run(url))
        finally:
            # The suite keeps this beside the scenario's checks.
            print(log.read_text() if log.exists() else "", file=sys.stderr)


if __name__ == "__main__":
    main()
