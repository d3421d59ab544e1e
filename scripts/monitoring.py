"""Finds Prometheus and Alertmanager, with `promtool` and `amtool`, and puts them into `.tools/bin`.

First those on the PATH, else Debian's packages, unpacked with no root and no service started, else
the official releases, whose checksums are pinned here.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from scripts.debian import UnavailableError, unpack
from scripts.environment import TOOLS, alone, say

BIN = TOOLS / "bin"
RELEASES = "https://github.com/prometheus"
SECONDS_TO_CONNECT = 30


@dataclass(frozen=True)
class Product:
    """One product: its programs, where they come from, and the oldest version that will do."""

    name: str
    programs: Mapping[str, tuple[str, ...]]
    """Program to the names under which it may be found."""
    oldest: tuple[int, int]
    package: str
    release: str
    checksums: Mapping[str, str] = field(default_factory=dict)
    """Platform to the SHA-256 of its release archive."""
    needs: str = "$^"
    """The pattern of the Debian packages that its pages need."""
    debian_flags: Mapping[str, str] = field(default_factory=dict)
    """Flags for the first program, with paths below the unpacked package."""
    debian_folder: str = ""
    """A folder that the first program opens in Debian's build, whatever its flags say."""


PROMETHEUS = Product(
    name="Prometheus",
    programs={"prometheus": ("prometheus",), "promtool": ("promtool",)},
    oldest=(2, 42),
    package="prometheus",
    release="3.13.3",
    checksums={"linux-amd64": "b349c732d8a853e657d0e7ae1bbad4d11b586615fb65fdc59d896b9f869c001e"},
    needs="libjs-|fonts-",
    debian_flags={"--web.local-assets": "usr/share/prometheus/web"},
)
ALERTMANAGER = Product(
    name="Alertmanager",
    programs={"alertmanager": ("alertmanager", "prometheus-alertmanager"), "amtool": ("amtool",)},
    oldest=(0, 25),
    package="prometheus-alertmanager",
    release="0.34.0",
    checksums={
        "linux-amd64": "19c75a11d8c03dc4ade7abdbddfb3a8f28c9e7b000d0849cda0cd71dffd74a03",
        "linux-arm64": "a96ef16598ddc58e84d28167b3352b30e3205698d76c56ef467e4504d7664da4",
        "darwin-amd64": "2c76c6bb30f030296cbfbf803bfd99494987197fcb8743f73ef5f351d568ce97",
        "darwin-arm64": "0cb31efe439c58ab77594b62a28f9de95f2d08beccf0f11eba4b822b2f549b82",
    },
    debian_flags={"--web.ui-path": "usr/share/prometheus/alertmanager/no-ui"},
    debian_folder="/usr/share/prometheus/alertmanager",
)


def main() -> int:
    missing = False
    for product in (PROMETHEUS, ALERTMANAGER):
        try:
            provide(product)
        except UnavailableError as reason:
            missing = True
            say(str(reason))
        except KeyboardInterrupt:
            say("Stopped; the next make goes on from here")
            return 130
    return int(missing)


def provide(product: Product) -> None:
    """See to it that the product's programs are in `.tools/bin`.

    Raises UnavailableError with a reason for each place where they were sought.
    """
    stamp = TOOLS / f"{product.package}.made-by"
    made_by = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    with alone(product.package):
        runs = all(os.access(BIN / program, os.X_OK) for program in product.programs)
        if runs and stamp.exists() and stamp.read_text() == made_by:
            return
        BIN.mkdir(parents=True, exist_ok=True)
        _seek(product)
        stamp.write_text(made_by)


def version(product: Product) -> str:
    """Return the version of the product in `.tools/bin`, such as "2.42.0"."""
    return ".".join(str(part) for part in _version(BIN / next(iter(product.programs))))


def _seek(product: Product) -> None:
    places: dict[str, Callable[[Product], str]] = {
        "on the PATH": _from_path,
        "Debian's package": _from_debian,
        "the official release": _from_release,
    }
    reasons = []
    for place, take in places.items():
        try:
            told = take(product)
        except (UnavailableError, OSError, tarfile.TarError) as reason:
            reasons.append(f"  {place}: {reason}")
        else:
            say(f"{product.name} {version(product)}: {told}")
            return
    programs = " and ".join(f"`{program}`" for program in product.programs)
    oldest = ".".join(str(part) for part in product.oldest)
    mend = (
        f"Install {product.name} {oldest} or later (https://prometheus.io/download/) so that"
        f" {programs} are on the PATH, and run make again."
    )
    raise UnavailableError("\n".join([f"{product.name} could not be had:", *reasons, mend]))


def _from_path(product: Product) -> str:
    found = {program: _which(names) for program, names in product.programs.items()}
    for program, path in found.items():
        _require_version(product, path)
        _link(program, path)
    return f"found on the PATH, {next(iter(found.values()))}"


def _which(names: tuple[str, ...]) -> Path:
    for name in names:
        path = shutil.which(name)
        if path is not None:
            return Path(path)
    raise UnavailableError(f"no {' or '.join(names)}")


def _from_debian(product: Product) -> str:
    into = TOOLS / product.package
    shutil.rmtree(into, ignore_errors=True)
    unpack([product.package], into, product.needs)
    # Two hundred megabytes of sources for data that the pages load ready made.
    shutil.rmtree(into / "usr/share/javascript/moment-timezone/data", ignore_errors=True)
    for program, names in product.programs.items():
        path = next(p for name in names if (p := into / "usr/bin" / name).exists())
        _require_version(product, path)
        _link(program, path)
    _wrap(product, into)
    return f"Debian's package, unpacked into {into.relative_to(TOOLS.parent)}"


def _from_release(product: Product) -> str:
    system = f"{platform.system().lower()}-{_architecture()}"
    project = product.name.lower()
    stem = f"{project}-{product.release}.{system}"
    folder = f"{RELEASES}/{project}/releases/download/v{product.release}"
    say(f"Fetching {stem}.tar.gz from {folder}")
    expected, trust = _checksum(product, system, folder, f"{stem}.tar.gz")
    archive = TOOLS / f"{stem}.tar.gz"
    download(f"{folder}/{stem}.tar.gz", archive, expected)
    into = TOOLS / stem
    with tarfile.open(archive) as members:
        for program in product.programs:
            _extract(members, f"{stem}/{program}", into / program)
            _link(program, into / program)
    archive.unlink()
    return f"official release, {trust}"


def _architecture() -> str:
    machine = platform.machine().lower()
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def _checksum(product: Product, system: str, folder: str, archive: str) -> tuple[str, str]:
    if system in product.checksums:
        return product.checksums[system], "its pinned SHA-256 checked"
    sums = _open(f"{folder}/sha256sums.txt").read().decode()
    found = re.search(rf"^([0-9a-f]{{64}}) +{re.escape(archive)}$", sums, re.MULTILINE)
    if found is None:
        raise UnavailableError(f"release {product.release} has no {archive}")
    # The list comes from where the archive does: it shows a broken download, no replaced release.
    return found[1], f"compared with the release's own checksums only: none is pinned for {system}"


def download(url: str, into: Path, expected: str) -> None:
    """Fetch a file whose SHA-256 is known. Raises UnavailableError, and leaves none behind."""
    part = into.with_suffix(".part")
    digest = hashlib.sha256()
    with _open(url) as source, part.open("wb") as sink:
        while chunk := source.read(1 << 20):
            digest.update(chunk)
            sink.write(chunk)
    if digest.hexdigest() != expected:
        part.unlink()
        raise UnavailableError(
            f"{url} has the SHA-256 {digest.hexdigest()}, expected was {expected}"
        )
    part.replace(into)


def _open(url: str) -> IO[bytes]:
    try:
        reply: IO[bytes] = urllib.request.urlopen(url, timeout=SECONDS_TO_CONNECT)  # noqa: S310
        return reply
    except urllib.error.URLError as error:
        raise UnavailableError(f"{url}: {error.reason}") from error


def _extract(members: tarfile.TarFile, name: str, into: Path) -> None:
    source = members.extractfile(name)
    if source is None:
        raise UnavailableError(f"the release has no file {name}")
    into.parent.mkdir(exist_ok=True)
    with into.open("wb") as sink:
        shutil.copyfileobj(source, sink)
    into.chmod(0o755)


def _require_version(product: Product, program: Path) -> None:
    found = _version(program)
    if found < product.oldest:
        words = [".".join(str(part) for part in parts) for parts in (found, product.oldest)]
        raise UnavailableError(f"{program} is {words[0]}, needed is {words[1]} or later")


def _version(program: Path) -> tuple[int, ...]:
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"version v?(\d+)\.(\d+)\.(\d+)", done.stdout + done.stderr)
    if done.returncode or found is None:
        raise UnavailableError(f"{program} --version gave no version")
    return tuple(int(part) for part in found.groups())


def _link(program: str, path: Path) -> None:
    own = path.is_relative_to(TOOLS)
    (BIN / program).unlink(missing_ok=True)
    (BIN / program).symlink_to(os.path.relpath(path, BIN) if own else path.resolve())


def _wrap(product: Product, package: Path) -> None:
    """Make a script of the first program that says where the package was unpacked."""
    name = next(iter(product.programs))
    program = (BIN / name).resolve()
    lines = ["#!/bin/sh", "bin=${0%/*}"]
    if product.debian_folder:
        _redirect(program, product.debian_folder.encode())
        lines.append(f'exec 9<"{_below_bin(package / product.debian_folder[1:])}"')
    flags = [f'{k}="{_below_bin(package / v)}"' for k, v in product.debian_flags.items()]
    lines.append(" ".join(["exec", f'"{_below_bin(program)}"', *flags, '"$@"']))
    (BIN / name).unlink()
    (BIN / name).write_text("\n".join([*lines, ""]))
    (BIN / name).chmod(0o755)


def _redirect(program: Path, folder: bytes) -> None:
    """Have a program open file descriptor 9 in place of a folder that only root could make.

    Debian's Alertmanager has the folder of its templates compiled in. The path that is written in
    its place is as long and means the same as /dev/fd/9.
    """
    instead = (b"/dev/fd/9" + b"/." * len(folder))[: len(folder)]
    pages = rb"(?!/(?:no-)?ui)"  # of its own folders below, which a flag names
    program.write_bytes(re.sub(re.escape(folder) + pages, instead, program.read_bytes()))


def _below_bin(path: Path) -> str:
    return f"$bin/{os.path.relpath(path.resolve(), BIN.resolve())}"


if __name__ == "__main__":
    sys.exit(main())
