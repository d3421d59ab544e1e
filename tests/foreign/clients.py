"""The clients of others, which call many servers in one process each.

The TypeScript SDK comes with the inspector, in the versions of `package-lock.json`; FastMCP is the
one that the benchmark measures.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.foreign import HERE, Foreign

SECONDS = 120
"""After which a client says that a server does not reply."""

AT_ONCE = 8

Json = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """A server that a client is to call."""

    key: str
    client: str
    transport: str
    target: str | list[str]


class Clients:
    """The TypeScript SDK's clients of both generations, and FastMCP's."""

    names = ("v1", "v2", "fastmcp")

    def __init__(self, npm: Foreign, fastmcp_python: Path) -> None:
        typescript = [str(npm.tool.node), str(HERE / "typescript.mjs")]
        typescript.append(str(npm.directory / "node_modules"))
        fastmcp = [str(fastmcp_python), str(HERE / "fastmcp_client.py")]
        self._commands = {"v1": typescript, "v2": typescript, "fastmcp": fastmcp}

    def call(self, tasks: Sequence[Task]) -> dict[str, Json]:
        """What each task gave: its steps, and what a client got in each."""
        programs = [
            [task for task in tasks if task.client != "fastmcp"],
            [task for task in tasks if task.client == "fastmcp"],
        ]
        with ThreadPoolExecutor(len(programs)) as threads:
            found = threads.map(self._run, [each for each in programs if each])
            return {key: said for each in found for key, said in each.items()}

    def _run(self, tasks: Sequence[Task]) -> dict[str, Json]:
        done = subprocess.run(
            [*self._commands[tasks[0].client], str(SECONDS), str(AT_ONCE)],
            input=json.dumps([asdict(task) for task in tasks]),
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS * 10,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        found: dict[str, Json] = json.loads(done.stdout)
        hanging = [key for key, said in found.items() if "late" in said]
        assert not hanging, f"{hanging} did not end within {SECONDS} s"
        return found
