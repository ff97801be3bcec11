"""What is imported before a fork must survive one."""

from __future__ import annotations

import gc
import threading

import pytest
from tests import preloaded

pytestmark = pytest.mark.unit


def test_neither_thriftune_nor_a_project_is_preloaded() -> None:
    """A child has to set what MLflow reads and to find its own project, so it imports these itself."""
    assert [name for name in preloaded.MODULES if name.split(".")[0] == "thriftune"] == []
    assert [name for name in preloaded.MODULES if name.startswith("kedro.framework")] == []


def test_a_thread_that_is_left_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fork would not have it: the message names it; without it the objects that exist are frozen."""
    monkeypatch.setattr(preloaded, "MODULES", ("json",))
    release = threading.Event()
    thread = threading.Thread(target=release.wait, name="left-behind")
    thread.start()
    try:
        with pytest.raises(RuntimeError, match="left-behind"):
            preloaded.preload()
    finally:
        release.set()
        thread.join()
    assert gc.get_freeze_count() == 0
    try:
        preloaded.preload()
        assert gc.get_freeze_count() > 1000
    finally:
        gc.unfreeze()
