"""A checkpoint store in a folder, for checkpoints of tests.conftest.make_checkpoint."""

from __future__ import annotations

from pathlib import Path

from thriftune.checkpoints.hashing import PARALLEL_BYTES
from thriftune.checkpoints.store import CheckpointStore
from thriftune.config import StorageConfig
from thriftune.study.storage import open_store

SIGNATURE = {"architecture": "Toy", "criteria": ["A"]}


def store_at(folder: Path, parallel_bytes: int = PARALLEL_BYTES, **policy: object) -> CheckpointStore:
    settings = {"free_disk_watermark": 0.0, "max_total_size": "50MB", **policy}
    parsed = StorageConfig.model_validate(settings)
    return open_store(folder, "study-00000000", parsed, parallel_bytes=parallel_bytes)
