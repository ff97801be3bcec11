"""Bytes and seconds as people write and read them."""

from __future__ import annotations

import pytest

from thriftune.units import human_bytes

pytestmark = pytest.mark.unit


def test_human_bytes() -> None:
    """Decimal units, as the budget is given."""
    assert [human_bytes(n) for n in (999, 1500, 2 * 10**9, 3 * 10**12)] == [
        "999 B",
        "1.5 kB",
        "2.0 GB",
        "3.0 TB",
    ]
