"""What is written as bytes is what the library reads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from exporter.telemetry.spans.wire import AttributeField, delimited

FIELD = AttributeField(b"J", "a.name")
SIZES = [0, 1, 115, 116, 117, 118, 119, 127, 128, 16_383, 16_384, 70_000]
"""Around each place where a length needs a byte more."""


def read(data: bytes) -> Span:
    span: Span = Span.FromString(data)
    return span


@pytest.mark.parametrize("size", SIZES)
def test_a_text_of_any_length_is_read_back(size: int) -> None:
    (attribute,) = read(FIELD.text("é" + "x" * size)).attributes
    assert (attribute.key, attribute.value.string_value) == ("a.name", "é" + "x" * size)
    assert read(delimited(b"\x1a", b"x" * size)).trace_state == "x" * size


@given(st.text())
def test_any_text_is_read_back(text: str) -> None:
    (attribute,) = read(FIELD.text(text)).attributes
    assert attribute.value.string_value == text


@given(st.integers(0, 2**63 - 1))
def test_any_number_is_read_back(number: int) -> None:
    (attribute,) = read(FIELD.number(number)).attributes
    assert (attribute.key, attribute.value.int_value) == ("a.name", number)
