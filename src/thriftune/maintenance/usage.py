"""The bytes that each study holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from thriftune import files
from thriftune.config import Parameters
from thriftune.study.handle import find_studies


def storage_rows(root: Path, settings: Parameters) -> list[dict[str, Any]]:
    """Return who holds which bytes, against the budget; what studies share counts in full for each.

    Args:
        root: The project's folder.
        settings: The project's parameters.
    """
    places = (settings.corpus.root, settings.corpus.cache, settings.tracking.root)
    shared = files.directory_bytes(*(root / place for place in places))
    rows = []
    found, damaged = find_studies(root, settings)
    for handle in found:
        checkpoints = sum(files.directory_bytes(path) for path in handle.folder.glob("trials/*/checkpoints"))
        total = files.directory_bytes(handle.folder)
        record = handle.record()
        if record is None:  # deleted meanwhile
            continue
        budget = record.budget_bytes
        rows.append(
            {
                "study": handle.name,
                "checkpoint_bytes": checkpoints,
                "other_bytes": total - checkpoints,
                "shared_bytes": shared,
                "budget_bytes": budget,
                "share": f"{(total + shared) / budget:.1%}",
            }
        )
    for study in damaged:
        total = files.directory_bytes(study.folder)
        rows.append(
            {
                "study": study.name,
                "checkpoint_bytes": None,
                "other_bytes": total,
                "shared_bytes": shared,
                "budget_bytes": None,
                "share": f"damaged: {study.error}",
            }
        )
    return rows
