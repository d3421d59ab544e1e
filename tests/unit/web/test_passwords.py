"""Basic authentication: who is right, what is remembered, and that strangers cost the same."""

from __future__ import annotations

import base64
from unittest.mock import patch

import bcrypt
import pytest

from exporter.web.passwords import REMEMBERED, Passwords

SECRET = "pässword"
HASH = bcrypt.hashpw(SECRET.encode(), bcrypt.gensalt(4)).decode()
COSTS = {"cheap": "$04$", "dear": "$06$"}
KNOWN = Passwords({"prometheus": HASH.replace("$2b$", "$2y$"), "other": HASH})


def basic(text: str, scheme: str = "Basic") -> bytes:
    return f"{scheme} {base64.b64encode(text.encode()).decode()}".encode()


@pytest.mark.parametrize(
    ("header", "is_right"),
    [
        (basic(f"prometheus:{SECRET}"), True),
        (basic(f"other:{SECRET}", "basic"), True),
        (basic(f"prometheus:{SECRET}x"), False),
        (basic("prometheus:"), False),
        (basic("prometheus"), False),
        (basic(f"nobody:{SECRET}"), False),
        (basic(f":{SECRET}"), False),
        (basic(f"prometheus:{SECRET}", "Bearer"), False),
        (b"Basic !!!!", False),
        (b"Basic " + base64.b64encode(b"\xff:x"), False),
        (b"Basic", False),
        (b"", False),
    ],
)
def test_only_a_name_with_its_password_is_right(header: bytes, is_right: bool) -> None:
    assert KNOWN.check(header) is is_right


def test_a_password_counts_as_far_as_bcrypt_reads_it() -> None:
    long = "x" * 72
    known = Passwords({"me": bcrypt.hashpw(long.encode(), bcrypt.gensalt(4)).decode()})
    assert known.check(basic(f"me:{long}and more"))
    assert not known.check(basic(f"me:{long[:-1]}"))


@pytest.mark.parametrize(
    "header", [basic("nobody:x"), basic("cheap:x"), basic("dear:x"), b"Basic !", b"junk"]
)
def test_every_rejection_takes_as_long_as_the_highest_cost(header: bytes) -> None:
    hashes = {name: HASH.replace("$04$", cost) for name, cost in COSTS.items()}
    with patch.object(bcrypt, "checkpw", wraps=bcrypt.checkpw) as check:
        assert not Passwords(hashes).check(header)
    rounds = [2 ** int(call.args[1].split(b"$")[2]) for call in check.call_args_list]
    assert sum(rounds) == 2**6


def test_a_right_header_is_remembered_by_its_digest_alone() -> None:
    known, header = Passwords({"me": HASH}), basic(f"me:{SECRET}")
    assert not known.remembers(header)
    known.remember(header)
    assert known.remembers(header)
    assert not known.remembers(header + b"=")
    assert header not in known._right


def test_the_least_used_is_forgotten_first() -> None:
    known = Passwords({"me": HASH})
    for number in range(REMEMBERED):
        known.remember(b"%d" % number)
    assert known.remembers(b"0")
    known.remember(b"one more")
    assert known.remembers(b"0")
    assert not known.remembers(b"1")
    assert len(known._right) == REMEMBERED
