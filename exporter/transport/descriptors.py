"""File descriptors: as many as the system allows, and some of them kept for the scrape listener."""

from __future__ import annotations

import errno
import functools
import os

try:
    import resource
except ImportError:  # Windows, where there is no such limit
    resource = None  # type: ignore[assignment]

RESERVE = 32
"""Descriptors that clients and servers cannot use up: Prometheus must still be answered."""

_ENOUGH = 65536
_UNLIMITED = 1 << 30


def raise_limit() -> None:
    """Raise the soft limit to the hard one, within reason."""
    if resource is None:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    first_reserved.cache_clear()


@functools.cache
def first_reserved() -> int:
    """The first descriptor of the reserve: the system always gives the lowest that is free."""
    if resource is None:
        return _UNLIMITED
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _UNLIMITED if soft == resource.RLIM_INFINITY else max(soft - RESERVE, soft // 2)


def takes_reserve(descriptor: int) -> bool:
    """Whether a new descriptor is one of the reserve, and must be given back."""
    return descriptor >= first_reserved()


def keep_reserve(descriptor: int) -> None:
    """Raise the ``OSError`` of a system without descriptors where a new one is of the reserve."""
    if takes_reserve(descriptor):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
