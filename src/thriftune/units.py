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
    """Return a number of bytes.

    Args:
        value: A text such as `10GB` or `512MiB`, or a number. What is neither is returned as it is, for
            pydantic to refuse.

    Raises:
        ValueError: A text is not a size, or the value is true or false.
    """
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
    """Return a number of bytes in decimal units, as the budget is given: 1.5 GB.

    Args:
        count: Bytes.
    """
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if abs(size) < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def human_seconds(seconds: float) -> str:
    """Return a time in the unit that matters: 42 s, 12 min, 3 h 20 min.

    Args:
        seconds: Seconds.
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
