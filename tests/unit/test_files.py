"""The layer of durable file access."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from thriftune import files

pytestmark = pytest.mark.unit


def test_a_failed_replacement_leaves_the_old_content(tmp_path: Path) -> None:
    """A reader sees the old bytes when the writer raises in the middle; no debris stays."""
    target = tmp_path / "a.json"
    files.write_json(target, {"old": 1})

    def fail_half_way() -> None:
        with files.replacing(target) as handle:
            handle.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert files.read_json(target) == {"old": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_kill_at_any_operation_leaves_old_or_new(tmp_path: Path) -> None:
    """A process that dies before its n-th operation leaves the whole old or the whole new value."""
    target = tmp_path / "value.json"
    seen = set()
    for fatal in range(1, 12):
        files.write_json(target, "old")
        if (pid := os.fork()) == 0:
            count = 0

            def die(event: files.Event, fatal: int = fatal) -> None:
                nonlocal count
                count += 1
                if count == fatal:
                    os._exit(9)

            files.observer = die
            files.write_json(target, "new")
            os._exit(0)
        os.waitpid(pid, 0)
        seen.add(files.read_json(target))
    assert seen == {"old", "new"}


def test_nan_is_refused(tmp_path: Path) -> None:
    """No NaN reaches a JSON file."""
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "x.json", float("nan"))


def test_removal_of_what_is_gone_is_fine(tmp_path: Path) -> None:
    """Removing twice changes nothing and raises nothing."""
    files.remove_file(tmp_path / "none")
    files.remove_tree(tmp_path / "none")
    (tmp_path / "some" / "deep").mkdir(parents=True)
    (tmp_path / "some" / "deep" / "x").write_bytes(b"12345")
    assert files.directory_bytes(tmp_path) == 5
    files.remove_tree(tmp_path / "some")
    assert not (tmp_path / "some").exists()
