"""Children that the tests of a stdio server speak for."""

from __future__ import annotations

from tests.support.stdio_relay import children

__all__ = ["children"]
