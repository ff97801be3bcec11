"""Writes the files of one checkpoint into a folder: hashed on the way, each fsynced, the manifest last."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from pydantic import JsonValue

from thriftune import __version__, files
from thriftune.checkpoints.budget import estimate_bytes
from thriftune.checkpoints.checkpoint import Checkpoint
from thriftune.checkpoints.hashing import write_hashed
from thriftune.checkpoints.manifest import (
    FORMAT_VERSION,
    MANIFEST,
    MODEL,
    OPTIMIZER,
    STATE,
    FileFact,
    Manifest,
)
from thriftune.checkpoints.tensors import describe, serialise


def write_checkpoint(folder: Path, checkpoint: Checkpoint, parallel_bytes: int) -> Manifest:
    """Make the folder and all files of a checkpoint in it.

    Args:
        folder: It must not be there.
        checkpoint: What is written.
        parallel_bytes: From this size on, the two tensor files are written at the same time, past the page
            cache.

    Returns:
        Its manifest.
    """
    files.make_directory(folder)
    facts = _write_tensors(folder, checkpoint, parallel_bytes)
    facts[STATE] = write_file(folder / STATE, _json_pieces(checkpoint.state))
    manifest = _manifest(checkpoint, facts)
    files.write_bytes(folder / MANIFEST, manifest.to_bytes())
    return manifest


def _write_tensors(folder: Path, checkpoint: Checkpoint, parallel_bytes: int) -> dict[str, FileFact]:
    """Write both tensor files; large ones in parallel, since one SHA-256 keeps only one core busy."""
    tensors = {MODEL: checkpoint.model, OPTIMIZER: checkpoint.optimizer}
    if estimate_bytes(checkpoint) < parallel_bytes:
        return {name: write_file(folder / name, serialise(values)) for name, values in tensors.items()}
    with ThreadPoolExecutor(len(tensors)) as pool:
        jobs = {
            name: pool.submit(write_file, folder / name, serialise(values), direct=True)
            for name, values in tensors.items()
        }
    return {name: job.result() for name, job in jobs.items()}


def write_file(path: Path, pieces: Iterator[memoryview | bytes], *, direct: bool = False) -> FileFact:
    """Write and fsync a file.

    Args:
        path: Of the file, which is replaced.
        pieces: Its content.
        direct: Past the page cache, where the file system can.

    Returns:
        Its size and SHA-256.
    """
    with files.NewFile(path, direct=direct) as handle:
        fact = write_hashed(handle, pieces)
        handle.sync()
    return fact


def _json_pieces(value: Mapping[str, JsonValue]) -> Iterator[bytes]:
    yield json.dumps(value, allow_nan=False).encode("utf-8")


def _manifest(checkpoint: Checkpoint, facts: Mapping[str, FileFact]) -> Manifest:
    return Manifest(
        format_version=FORMAT_VERSION,
        study=checkpoint.study,
        trial=checkpoint.trial,
        trial_id=checkpoint.trial_id,
        epoch=checkpoint.epoch,
        step=checkpoint.step,
        attempt=checkpoint.attempt,
        value=checkpoint.value,
        metrics=dict(checkpoint.metrics),
        files=dict(facts),
        signature={**checkpoint.signature, "tensors": describe(checkpoint.model)},
        code_version=__version__,
        data_fingerprint=checkpoint.data_fingerprint,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
