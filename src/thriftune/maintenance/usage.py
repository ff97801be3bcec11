"""The bytes that each study holds."""

from __future__ import annotations

from typing import Any

from thriftune import files
from thriftune.config import Parameters
from thriftune.study.handle import find_studies


def storage_rows(settings: Parameters) -> list[dict[str, Any]]:
    """Return who holds which bytes, against the budget; what studies share counts in full for each.

    Args:
        settings: The project's parameters.
    """
    places = (settings.corpus.folder, settings.corpus.cache_folder, settings.tracking.folder)
    shared = files.directory_bytes(*places)
    rows = []
    found, damaged = find_studies(settings)
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
