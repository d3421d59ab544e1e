"""Builds kube-apiserver with Go, and finds etcd; both stay in ``.tools/cluster``."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scripts import debian
from scripts.environment import TOOLS, say

VERSION = "1.37.2"
SUM = "h1:A2VDEiObzkYqFTKhSsn0ZEb0RlLEXpHWj93gi2HqEwE="
MODULE = "k8s.io/kubernetes"
FOLDER = TOOLS / "cluster"
_PROGRAM = f"{MODULE}/cmd/kube-apiserver"


class BuildError(Exception):
    """The reason, in one line."""


def api_server() -> Path:
    """The program, built where it is not there yet. Raises ``BuildError``."""
    program = FOLDER / f"kube-apiserver-{VERSION}"
    if program.exists():
        return program
    if shutil.which("go") is None:
        raise BuildError("there is no Go here; get it from https://go.dev/dl")
    module = FOLDER / "module"
    module.mkdir(parents=True, exist_ok=True)
    found = json.loads(_go(module, "mod", "download", "-json", f"{MODULE}@v{VERSION}"))
    if found["Sum"] != SUM:
        raise BuildError(f"{MODULE}: its checksum is {found['Sum']}, not {SUM}")
    theirs = json.loads(_go(module, "mod", "edit", "-json", found["GoMod"]))
    (module / "go.mod").write_text("\n".join(_requirements(theirs)) + "\n")
    (module / "tools.go").write_text(
        f'//go:build tools\n\npackage tools\n\nimport _ "{_PROGRAM}"\n'
    )
    say(f"Building kube-apiserver {VERSION}: five minutes or more, once")
    new = FOLDER / "kube-apiserver.new"
    known_as = f"-X k8s.io/component-base/version.gitVersion=v{VERSION}"  # Helm asks for it
    _go(module, "build", "-mod=mod", "-p", "2", "-ldflags", known_as, "-o", str(new), _PROGRAM)
    return new.rename(program)


def etcd() -> Path:
    """The program: on the PATH, else Debian's, unpacked. Raises ``BuildError``."""
    found = shutil.which("etcd")
    if found:
        return Path(found)
    unpacked = FOLDER / "etcd"
    program = unpacked / "usr" / "bin" / "etcd"
    if not program.exists():
        shutil.rmtree(unpacked, ignore_errors=True)
        try:
            debian.unpack(["etcd-server"], unpacked)
        except debian.UnavailableError as error:
            raise BuildError(
                f"there is no etcd here, and Debian's cannot be had: {error}"
            ) from None
    return program


def _requirements(theirs: Any) -> Iterator[str]:
    """A module of our own that wants what theirs does; its staging modules by their tags."""
    staged = f"v0.{VERSION.partition('.')[2]}"
    yield "module cluster"
    yield f"go {theirs['Go']}"
    yield f"require {MODULE} v{VERSION}"
    for each in theirs["Require"]:
        path, version = each["Path"], each["Version"]
        if path.startswith("k8s.io/") and version == "v0.0.0":
            yield f"replace {path} => {path} {staged}"
            version = staged
        yield f"require {path} {version}"


def _go(folder: Path, *words: str) -> str:
    ended = subprocess.run(
        ["go", *words],  # noqa: S607
        cwd=folder,
        env={**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if ended.returncode:
        raise BuildError(f"go {words[0]} failed with {ended.returncode}; see above")
    return ended.stdout
