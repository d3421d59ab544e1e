"""Which machine it was: figures mean nothing without it."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path


def describe() -> dict[str, str]:
    """The machine and the versions that took part, each in a few words."""
    uvloop, httptools, msgspec = (version(name) for name in ("uvloop", "httptools", "msgspec"))
    return {
        "processor": f"{processor()}, {os.cpu_count()} processors",
        "system": f"{platform.system()} {platform.release()}",
        "Python": f"{platform.python_version()}, uvloop {uvloop}, httptools {httptools},"
        f" msgspec {msgspec}",
    }


def processor() -> str:
    """The processor's name, as the system has it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def nginx_version(program: Path) -> str:
    """Such as "1.22.1"."""
    done = subprocess.run([program, "-v"], capture_output=True, text=True, check=False)
    found = re.search(r"nginx/(\S+)", done.stderr)
    return found[1] if found else "unknown"


def load(others: Iterable[float]) -> str:
    """What else the machine did, in processors."""
    shares = sorted(others)
    middle, worst = shares[len(shares) // 2], shares[-1]
    return f"{middle:.2f} processors busy with other work in the middle, {worst:.2f} at worst"
