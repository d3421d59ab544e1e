"""What several end-to-end tests need from outside."""

from __future__ import annotations

import os

import pytest

from tests import foreign
from tests.conformance.toolchain import ToolchainError
from tests.foreign import Foreign


@pytest.fixture(scope="session")
def npm() -> Foreign:
    """Servers and clients of other authors; in CI they must be there."""
    try:
        return foreign.install()
    except ToolchainError as reason:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"what is needed from npm cannot be installed: {reason}")
