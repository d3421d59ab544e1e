"""Settings of all tests."""

from __future__ import annotations

import pytest
from hypothesis import settings

# A busy machine makes any single example slow: how long one takes says nothing.
settings.register_profile("project", deadline=None, max_examples=60, print_blob=True)
settings.load_profile("project")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is in tests/e2e: the folder says what starts real processes."""
    for item in items:
        if "e2e" in item.path.parent.parts:
            item.add_marker(pytest.mark.e2e)
