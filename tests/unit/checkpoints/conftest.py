"""Both ways of writing and verifying a checkpoint, and a folder in which the large way is the real one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from thriftune.checkpoints.hashing import PARALLEL_BYTES

ROOT = Path(__file__).parents[3]


@pytest.fixture(params=[PARALLEL_BYTES, 0], ids=["small", "parallel"])
def parallel_bytes(request: pytest.FixtureRequest) -> int:
    """Return the size from which a store handles two files of a checkpoint at a time: huge, or none."""
    found: int = request.param
    return found


@pytest.fixture
def on_disk() -> Iterator[Path]:
    """Return an empty folder whose file system takes direct writes, unlike the memory that holds tmp_path."""
    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    for parent in (build, Path("/var/tmp")):
        with tempfile.TemporaryDirectory(prefix="test-", dir=parent, ignore_cleanup_errors=True) as folder:
            if _takes_direct_writes(Path(folder)):
                yield Path(folder)
                return
    pytest.skip(f"neither {build} nor /var/tmp lies on a disk that can be written past the page cache")


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path, parallel_bytes: int) -> Path:
    """Return an empty folder: in memory, or on a disk for what is written past the page cache."""
    found: Path = request.getfixturevalue("on_disk") if parallel_bytes == 0 else tmp_path
    return found


def _takes_direct_writes(folder: Path) -> bool:
    probe = folder / "probe"
    try:
        os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_DIRECT))
    except (AttributeError, OSError):
        return False
    probe.unlink()
    return True
