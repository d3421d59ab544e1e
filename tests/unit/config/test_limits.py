"""The bounds on how many of each at once."""

from __future__ import annotations

from dataclasses import fields

from exporter.config.limits import Bounds
from exporter.config.model import Limits


def test_every_bound_is_a_setting_with_the_same_default() -> None:
    for bound in fields(Bounds):
        assert getattr(Limits(), bound.name) == bound.default


def test_no_server_alone_can_take_more_than_all_together_may() -> None:
    bounds = Bounds()
    assert bounds.requests_per_server < bounds.requests_total
    assert bounds.streams_per_server < bounds.streams_total
