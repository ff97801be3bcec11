"""How long the sender waits before the next try: 1, 2, 4, 8, 16 s, then 60 s each time."""

from __future__ import annotations

FIRST_SECONDS = (1.0, 2.0, 4.0, 8.0, 16.0)
LATER_SECONDS = 60.0


def wait_seconds(failures: int) -> float:
    """Return the seconds to wait.

    Args:
        failures: Number of failures in a row; after none there is no wait.
    """
    if failures <= 0:
        return 0.0
    return FIRST_SECONDS[failures - 1] if failures <= len(FIRST_SECONDS) else LATER_SECONDS
