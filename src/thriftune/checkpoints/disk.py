"""Facts of a file system: free bytes, and which files are largest."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

LARGEST_SHOWN = 10


@dataclass(frozen=True)
class Disk:
    """State of the file system that holds a study."""

    free_bytes: int
    total_bytes: int

    def is_low(self, watermark: float) -> bool:
        """Return whether the free share is under the watermark.

        Args:
            watermark: A share, from 0 to 1.
        """
        return self.free_bytes < watermark * self.total_bytes


def disk_of(path: Path) -> Disk:
    """Return the state of the file system of a path.

    Args:
        path: It, or else its nearest parent that exists, is looked at.
    """
    place = next(p for p in (path, *path.parents) if p.exists())
    usage = shutil.disk_usage(place)
    return Disk(usage.free, usage.total)


def same_disk(one: Path, other: Path) -> bool:
    """Return whether both are on one file system; False where one is gone.

    Args:
        one: A path.
        other: Another path.
    """
    try:
        return one.stat().st_dev == other.stat().st_dev
    except FileNotFoundError:
        return False


def largest_files(*roots: Path) -> list[tuple[int, Path]]:
    """Return the largest files below folders, (bytes, path), largest first.

    Args:
        roots: The folders; one that is not there has no files.
    """
    found = {path: size for root in roots for size, path in _sizes(root)}
    return sorted(((size, path) for path, size in found.items()), key=lambda item: (-item[0], str(item[1])))[
        :LARGEST_SHOWN
    ]


def _sizes(root: Path) -> Iterable[tuple[int, Path]]:
    for path in root.rglob("*"):
        if path.is_file() and not path.is_symlink():
            yield path.stat().st_size, path
