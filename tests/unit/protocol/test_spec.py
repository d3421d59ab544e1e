"""One answer to which protocol a request is of."""

from __future__ import annotations

import pytest

from exporter.protocol import spec


@pytest.mark.parametrize("envelope_version", [None, "2025-11-25", "2026-07-28"])
@pytest.mark.parametrize(
    ("header", "expected"),
    [
        *((version.encode(), False) for version in sorted(spec.PROTOCOL_VERSIONS - {spec.MODERN})),
        (b"2026-07-28", True),
        (b"2027-01-01", True),
        (b"nonsense", True),
    ],
)
def test_the_header_decides_the_era(
    header: bytes, envelope_version: str | None, expected: bool
) -> None:
    assert spec.is_modern(header, envelope_version) is expected


def test_without_the_header_the_envelope_decides_the_era() -> None:
    assert spec.is_modern(None, "2026-07-28")
    assert not spec.is_modern(None, None)
