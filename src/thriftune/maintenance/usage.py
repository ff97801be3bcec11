"""The bytes that each study holds."""

from __future__ import annotations

from dataclasses import dataclass

from thriftune import files
from thriftune.config import Parameters
from thriftune.study.handle import find_studies


@dataclass(frozen=True)
class StudyBytes:
    """What one study holds; of a damaged one the checkpoints and the budget are not known."""

    study: str
    """Its name."""
    checkpoint_bytes: int | None
    other_bytes: int
    """Bytes of the rest of its folder."""
    shared_bytes: int
    """Bytes of corpora, tokens and databases, which studies share."""
    budget_bytes: int | None
    share: str
    """Of the budget that is used, as "12.3%"; of a damaged study what is wrong with it."""


def storage_rows(settings: Parameters) -> list[StudyBytes]:
    """Return who holds which bytes, against the budget; what studies share counts in full for each.

    Args:
        settings: The project's parameters.
    """
    places = (settings.corpus.folder, settings.corpus.cache_folder, settings.tracking.folder)
    shared = files.directory_bytes(*places)
    rows = list[StudyBytes]()
    found, damaged = find_studies(settings)
    for handle in found:
        checkpoints = sum(files.directory_bytes(path) for path in handle.folder.glob("trials/*/checkpoints"))
        total = files.directory_bytes(handle.folder)
        record = handle.record()
        if record is None:  # deleted meanwhile
            continue
        budget = record.budget_bytes
        rows.append(
            StudyBytes(
                study=handle.name,
                checkpoint_bytes=checkpoints,
                other_bytes=total - checkpoints,
                shared_bytes=shared,
                budget_bytes=budget,
                share=f"{(total + shared) / budget:.1%}",
            )
        )
    for study in damaged:
        total = files.directory_bytes(study.folder)
        rows.append(
            StudyBytes(
                study=study.name,
                checkpoint_bytes=None,
                other_bytes=total,
                shared_bytes=shared,
                budget_bytes=None,
                share=f"damaged: {study.error}",
            )
        )
    return rows
