"""Runs that wait where a test wants them, until it releases them: no epochs are trained to pass the time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

# At the end of the code that Kedro loads first. The main thread waits before an epoch's first figure of
# validation is written, while the test holds that epoch, of that trial or of any.
PROGRAM = """
import re as _re, threading as _threading, time as _time
from pathlib import Path as _Path
from thriftune import files as _files
_holds = _Path({folder!r})
def _wait(event):
    if event.operation != "append" or event.path.name != "metrics.jsonl":
        return
    found = _re.search(rb'"key": "validation/[^"]+", "step": (\\d+)', event.data)
    if found is None or _threading.current_thread() is not _threading.main_thread():
        return
    trial, epoch = int(event.path.parent.name[6:10]), int(found[1])
    names = [_holds / f"trial {{trial}}, epoch {{epoch}}", _holds / f"any, epoch {{epoch}}"]
    while any(name.exists() for name in names):
        (_holds / f"held: trial {{trial}}, epoch {{epoch}}").touch()
        _time.sleep(0.01)
_files.observer = _wait
"""


class Holds:
    """Where the runs of some working copies wait."""

    def __init__(self, folder: Path, projects: Sequence[Path]) -> None:
        self._folder = folder
        folder.mkdir()
        for project in projects:
            with (project / "src/thriftune/settings.py").open("a", encoding="utf-8") as settings:
                settings.write(PROGRAM.format(folder=str(folder)))

    def hold(self, epoch: int, trial: int | None = None) -> None:
        """Let runs wait at the end of an epoch, before it is saved: of one trial or of any."""
        self._name(epoch, trial).touch()

    def release(self, epoch: int, trial: int | None = None) -> None:
        """Let those go on that wait there."""
        self._name(epoch, trial).unlink()

    def until_held(self, epoch: int, trials: Sequence[int], seconds: float = 240) -> None:
        """Wait until runs wait at that epoch of all these trials."""
        wanted = [self._folder / f"held: trial {trial}, epoch {epoch}" for trial in trials]
        deadline = time.monotonic() + seconds
        while missing := [path.name for path in wanted if not path.exists()]:
            assert time.monotonic() < deadline, f"not within {seconds} s: {missing}"
            time.sleep(0.02)

    def _name(self, epoch: int, trial: int | None) -> Path:
        return self._folder / f"{'any' if trial is None else f'trial {trial}'}, epoch {epoch}"
