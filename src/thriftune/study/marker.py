"""Whether the store's root is the one that a study was started on.

A root on a volume that is not mounted looks like an empty folder. So each study leaves its id in
the root, and a study that Optuna knows is not started again where its id is not there.
"""

from __future__ import annotations

from pathlib import Path

from thriftune import files

MARKERS = ".studies"


def marker_of(root: Path, study_id: str) -> Path:
    """Return the path of a study's marker.

    Args:
        root: The folder that storage.root names.
        study_id: The study's.
    """
    return root / MARKERS / study_id


def set_marker(root: Path, study_id: str) -> None:
    """Leave the study's id in the root, durably.

    Args:
        root: The folder that storage.root names.
        study_id: The study's.
    """
    marker = marker_of(root, study_id)
    if not marker.exists():
        files.write_bytes(marker, f"{study_id}\n".encode())


def remove_marker(root: Path, study_id: str) -> None:
    """Remove the marker of a study that is deleted on purpose.

    Args:
        root: The folder that storage.root names.
        study_id: The study's.
    """
    files.remove_file(marker_of(root, study_id))
