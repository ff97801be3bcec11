"""The checkpoint store of a study, as its parameters `storage.*` describe it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from thriftune.checkpoints.budget import Budget
from thriftune.checkpoints.hashing import PARALLEL_BYTES
from thriftune.checkpoints.retention import RetentionPolicy
from thriftune.checkpoints.store import CheckpointStore
from thriftune.config import StorageConfig


def retention_policy(storage: StorageConfig) -> RetentionPolicy:
    """Return what a study keeps.

    Args:
        storage: The study's section of the parameters.
    """
    return RetentionPolicy(storage.keep_last_n, storage.keep_best_k, storage.keep_best_k_max)


def open_store(
    folder: Path,
    study_id: str,
    storage: StorageConfig,
    shared: Sequence[Path] = (),
    parallel_bytes: int = PARALLEL_BYTES,
) -> CheckpointStore:
    """Return the store of a study; nothing is made before the first save.

    Args:
        folder: The study's.
        study_id: The study's.
        storage: The study's section of the parameters.
        shared: Folders of what studies share (corpora, token stores, tracking databases). Their bytes count
            in full against the budget of each study.
        parallel_bytes: A checkpoint of so many bytes has two files written, and verified, at a time.
    """
    return CheckpointStore(
        folder,
        retention_policy(storage),
        Budget(storage.max_total_size, shared, storage.free_disk_watermark),
        study=study_id,
        overlap=storage.overlap,
        parallel_bytes=parallel_bytes,
        dry_run=storage.dry_run,
    )
