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


def test_every_fsync_that_is_announced_is_done(
    tmp_path: Path, synced: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tests of kills and power cuts see what is announced; the disk sees the calls. Each has its own."""
    announced: list[tuple[str, Path]] = []

    def note(event: files.Event) -> None:
        if event.operation.startswith("fsync"):
            announced.append((event.operation, event.path))

    monkeypatch.setattr(files, "observer", note)
    target, log = tmp_path / "deep" / "a.json", tmp_path / "deep" / "a.log"
    files.write_json(target, "value")
    files.append_bytes(log, b"line")
    files.fsync_path(log)
    temporary = target.with_name(target.name + files.TEMPORARY_SUFFIX)
    assert announced == [
        ("fsync_directory", tmp_path),
        ("fsync", temporary),
        ("fsync_directory", target.parent),
        ("fsync", log),
        ("fsync", log),
    ]
    places = [target if path == temporary else path for _, path in announced]
    assert [inode for inode, _ in synced] == [path.stat().st_ino for path in places]
    assert synced[1][1] == target.stat().st_size
    assert synced[3][1] == len(b"line")


def test_what_the_system_takes_in_parts_is_written_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One call may write less than it was given; the next one continues there."""
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    files.append_bytes(tmp_path / "a.log", b"0123456789")
    assert (tmp_path / "a.log").read_bytes() == b"0123456789"


@pytest.mark.parametrize("there", ["nothing", "an empty folder"])
def test_a_new_directory_is_there_as_a_whole(tmp_path: Path, there: str) -> None:
    """What a kill left under its temporary name goes; nobody sees it half-filled."""
    target = tmp_path / "a" / "new"
    left = target.with_name(".tmp-new")
    left.mkdir(parents=True)
    (left / "old").write_bytes(b"x")
    if there == "an empty folder":
        target.mkdir()
    with files.new_directory(target) as folder:
        files.write_bytes(folder / "file", b"content")
        assert not (target / "file").exists()
    assert [path.name for path in target.parent.iterdir()] == ["new"]
    assert [path.name for path in target.iterdir()] == ["file"]


def test_a_new_directory_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """Neither it nor its temporary name; one that is in the way is not touched."""
    with pytest.raises(ZeroDivisionError), files.new_directory(tmp_path / "new") as folder:
        (folder / "file").write_bytes(b"content" * (1 // 0))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "mine").write_bytes(b"x")
    with pytest.raises(OSError, match="not empty"), files.new_directory(tmp_path / "new"):
        pass
    assert [path.name for path in tmp_path.rglob("*")] == ["new", "mine"]
