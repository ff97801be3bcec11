"""Folders of trials that are over are walked once, and their bytes stay true."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from thriftune import files
from thriftune.checkpoints.folders import SHARES, TrialFolders

pytestmark = pytest.mark.unit
LONG_AGO_NS = 10**18


def trial(study: Path, number: int, size: int = 100, *epochs: int) -> Path:
    """A trial's folder of so many bytes, last changed long ago, with checkpoints of 1,000 bytes."""
    folder = study / "trials" / f"trial_{number:04d}_{number:08x}"
    for epoch in epochs:
        place = folder / "checkpoints" / f"epoch_{epoch:04d}"
        place.mkdir(parents=True)
        (place / "model.safetensors").write_bytes(b"x" * 1000)
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    (folder / "metrics.jsonl").write_bytes(b"x" * size)
    os.utime(folder, ns=(LONG_AGO_NS, LONG_AGO_NS))
    return folder


@pytest.fixture
def walked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders that are listed, by name."""
    seen: list[str] = []
    scandir = os.scandir

    def listing(path: Any) -> Any:
        seen.append(Path(path).name)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", listing)
    return seen


def test_what_is_over_is_walked_once(tmp_path: Path, walked: list[str]) -> None:
    """The sum is that of a plain walk; the running trial, one with a checkpoint, and what lies beside are
    read each time."""
    (tmp_path / "study.json").write_bytes(b"x" * 7)
    names = [trial(tmp_path, number).name for number in range(5)]
    kept, running = trial(tmp_path, 5, 100, 2), trial(tmp_path, 6)
    folders = TrialFolders(tmp_path)
    folders.mark_finished(range(6))
    walked.clear()
    for growing in range(3):
        (running / "metrics.jsonl").write_bytes(b"x" * 500 * growing)
        (kept / "checkpoints/epoch_0002/state.json").write_bytes(b"x" * growing)
        (tmp_path / "report.html").write_bytes(b"x" * growing)
        assert folders.held_bytes() == 7 + 600 + 1000 + 502 * growing
        assert [path.name for path in folders.epochs()] == ["epoch_0002"]
    assert not set(walked) & set(names)
    assert {kept.name, running.name} <= set(walked)
    assert folders.held_bytes(tmp_path / "trials" / names[0]) == folders.held_bytes() + 100


def test_a_change_is_seen_before_long(tmp_path: Path) -> None:
    """A file that comes into a folder that is over counts some trials later; at once where it is reopened."""
    places = [trial(tmp_path, number) for number in range(2)]
    folders = TrialFolders(tmp_path)
    folders.mark_finished(range(2))
    for place in places:
        (place / "tracking.json").write_bytes(b"x" * 50)
    folders.reopen(1)
    assert folders.held_bytes() == 250
    for _ in range(SHARES):
        folders.mark_finished(range(2))
    assert folders.held_bytes() == files.directory_bytes(tmp_path) == 300


def test_what_changed_a_moment_ago_is_not_remembered(tmp_path: Path) -> None:
    """Two changes within one tick of the file system's clock leave one time of change."""
    place = trial(tmp_path, 0)
    now = time.time_ns()
    os.utime(place, ns=(now, now))
    folders = TrialFolders(tmp_path)
    folders.mark_finished([0])
    (place / "tracking.json").write_bytes(b"x" * 50)
    os.utime(place, ns=(now, now))
    assert folders.held_bytes() == 150


def test_other_names_count_as_bytes_and_missing_folders_as_none(tmp_path: Path) -> None:
    """A study without trials holds nothing; what is no trial's folder counts and has no checkpoints."""
    folders = TrialFolders(tmp_path / "none")
    folders.mark_finished([0])
    assert (folders.held_bytes(), list(folders.epochs())) == (0, [])
    odd = tmp_path / "trials" / "notes" / "checkpoints" / "epoch_0001"
    odd.mkdir(parents=True)
    (odd / "x").write_bytes(b"12345")
    (tmp_path / "trials" / "list.txt").write_bytes(b"123")
    (tmp_path / "trials" / "trial_x").mkdir()
    folders = TrialFolders(tmp_path)
    folders.mark_finished([-1, 0])
    assert (folders.held_bytes(), list(folders.epochs())) == (8, [])
