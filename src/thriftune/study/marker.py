"""Whether the store's root is the one that a study was started on.

A root on a volume that is not mounted looks like an empty folder. So each study leaves its id in
the root, and a study that Optuna knows is not begun anew where its id is not there.
"""

from __future__ import annotations

from pathlib import Path

from thriftune import files

MARKERS = ".studies"


def marker_of(root: Path, study_id: str) -> Path:
    """The marker's path."""
    return root / MARKERS / study_id


def set_marker(root: Path, study_id: str) -> None:
    """Leave the study's id in the root; durable."""
    marker = marker_of(root, study_id)
    if not marker.exists():
        files.write_bytes(marker, f"{study_id}\n".encode())


def remove_marker(root: Path, study_id: str) -> None:
    """The study is deleted on purpose."""
    files.remove_file(marker_of(root, study_id))
