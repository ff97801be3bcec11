"""How long to wait before the next try: 1, 2, 4, 8, 16 s, then every 60 s."""

from __future__ import annotations

FIRST_SECONDS = (1.0, 2.0, 4.0, 8.0, 16.0)
LATER_SECONDS = 60.0


def wait_seconds(failures: int) -> float:
    """Seconds after the given number of failures in a row; 0 for none."""
    if failures <= 0:
        return 0.0
    return FIRST_SECONDS[failures - 1] if failures <= len(FIRST_SECONDS) else LATER_SECONDS
