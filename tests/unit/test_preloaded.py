"""What is imported before a fork must survive one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests import preloaded

pytestmark = pytest.mark.unit
ROOT = Path(__file__).parents[2]


def test_neither_thriftune_nor_a_project_is_preloaded() -> None:
    """A child has to set what MLflow reads and to find its own project, so it imports these itself."""
    assert [name for name in preloaded.MODULES if name.split(".")[0] == "thriftune"] == []
    assert [name for name in preloaded.MODULES if name.startswith("kedro.framework")] == []


LEFT_BEHIND = """
import gc, threading
from tests import preloaded
preloaded.MODULES = ("json",)
release = threading.Event()
thread = threading.Thread(target=release.wait, name="left-behind")
thread.start()
try:
    preloaded.preload()
except RuntimeError as error:
    print(error, gc.get_freeze_count())
release.set()
thread.join()
preloaded.preload()
print(gc.get_freeze_count() > 1000)
"""


def test_a_thread_that_is_left_is_refused() -> None:
    """A fork would not have it: the message names it; without it the objects that exist are frozen."""
    done = subprocess.run(
        [sys.executable, "-c", LEFT_BEHIND], cwd=ROOT, capture_output=True, text=True, check=True
    )
    refused, frozen = done.stdout.splitlines()
    assert refused.endswith("left threads behind: left-behind 0")
    assert frozen == "True"
