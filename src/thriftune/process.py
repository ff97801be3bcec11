"""What the commands set for their own process. Importing the package sets none of it."""

from __future__ import annotations

import atexit
import gc
import sys

STARTING = (100_000, 50, 100)
"""Thresholds of the garbage collector while modules are imported: what they make stays, and going through it
again and again takes a quarter of a start."""

_usual: tuple[int, int, int] | None = None


def prepare() -> None:
    """Have this process start and end quickly; for the entry points alone, before they import much."""
    global _usual
    if _usual is None:
        _usual = gc.get_threshold()
        gc.set_threshold(*STARTING)
        atexit.register(_end)


def settle() -> None:
    """Collect garbage as usual from here on, before training begins; what was imported is not looked at."""
    if _usual is not None:
        gc.freeze()
        gc.set_threshold(*_usual)


def _end() -> None:
    """Close the databases, and keep the interpreter from collecting hundreds of thousands of objects one last
    time, which takes seconds and gives back what the system takes anyway."""
    sqlite = sys.modules.get("thriftune.tracking.sqlite")
    if sqlite is not None:
        sqlite.close_databases()
    gc.freeze()
