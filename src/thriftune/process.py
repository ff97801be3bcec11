"""What the commands set up for their own process. Importing the package sets none of it."""

from __future__ import annotations

import atexit
import gc
import os
import sys

STARTING = (100_000, 50, 100)
"""Thresholds of the garbage collector while modules are imported: what they create stays, and walking through
it again and again takes a quarter of a start."""

WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""Variables by which a user says how OpenMP's threads wait for each other."""
WAIT = {"GOMP_SPINCOUNT": "1000"}
"""Set where the user has set none of them: the turns that a waiting thread of GNU's OpenMP library, which
comes with torch, spins before it sleeps. The library's own choice is 300,000, which takes milliseconds:
beside another busy process the threads then keep the thread that they wait for off the core, and training
takes several times as long. See docs/adr/0018 and benchmarks/beside_load.py."""

_prepared = False
_usual: tuple[int, int, int] | None = None
"""The collector's thresholds before they were raised. None: they are not raised."""


def prepare() -> None:
    """Let this process start and end quickly, and its threads wait without spinning.

    Only entry points call it, before they import torch.
    """
    global _prepared, _usual
    if not any(name in os.environ for name in WAITING):
        os.environ.update(WAIT)
    if not _prepared:
        _prepared, _usual = True, gc.get_threshold()
        gc.set_threshold(*STARTING)
        atexit.register(_end)


def finish_startup() -> None:
    """Collect garbage as usual from here on, when training starts, and leave what was imported alone."""
    global _usual
    if _usual is not None:
        gc.freeze()
        gc.set_threshold(*_usual)
        _usual = None


def _end() -> None:
    """Close the databases, and keep the interpreter from a last collection.

    It would walk through hundreds of thousands of objects, which takes seconds, to free memory that the
    system takes back anyway.
    """
    sqlite = sys.modules.get("thriftune.databases.sqlite")
    if sqlite is not None:
        sqlite.close_databases()
    gc.freeze()
