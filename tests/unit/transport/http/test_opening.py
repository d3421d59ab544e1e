"""Who opens a connection tells its protocol where it is given up."""

from __future__ import annotations

import asyncio
from unittest.mock import Mock

import pytest

from exporter.transport.http.opening import told_of_its_end


@pytest.mark.parametrize(
    ("error", "told"), [(asyncio.CancelledError, 1), (ConnectionRefusedError, 0)]
)
def test_a_protocol_is_told_where_its_opener_is_cancelled(
    error: type[BaseException], told: int
) -> None:
    protocol = Mock(asyncio.Protocol)
    with pytest.raises(error), told_of_its_end(protocol):
        raise error
    assert protocol.connection_lost.call_count == told
