"""The exception of everything that the user can mend."""

from __future__ import annotations


class ConfigError(Exception):
    """A configuration that cannot be used: one line with the file, the place and the mend."""
