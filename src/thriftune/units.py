"""Bytes and seconds, parsed and printed in one way."""

from __future__ import annotations

import re
from typing import Any

_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12} | {
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
}


def parse_bytes(value: Any) -> Any:
    """Bytes from `10GB`, `512MiB` or an integer; other values pass on to pydantic."""
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)?\s*", value)
        unit = (match.group(2) or "B").upper() if match else ""
        if match is None or unit not in _UNITS:
            raise ValueError(f"expected a size such as 10GB or 512MiB, got {value!r}")
        return int(float(match.group(1)) * _UNITS[unit])
    if isinstance(value, bool):
        raise ValueError(f"expected a size such as 10GB, got {value!r}")
    return value


def human_bytes(count: int) -> str:
    """Decimal units, as the budget is given: 1.5 GB."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if abs(size) < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def human_seconds(seconds: float) -> str:
    """To the unit that matters: 42 s, 12 min, 3 h 20 min."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
