"""Committed checkpoints: what a folder holds, and whether it is what its manifest says."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from thriftune.checkpoints import retention
from thriftune.checkpoints.hashing import PARALLEL_BYTES, verify_file
from thriftune.checkpoints.manifest import (
    MANIFEST,
    MODEL,
    OPTIMIZER,
    STATE,
    FileFact,
    Manifest,
    read_manifest,
)
from thriftune.errors import DamageError, StudyError

if TYPE_CHECKING:  # torch takes seconds to import, and listing needs none
    import torch
    from pydantic import JsonValue

T = TypeVar("T")
TEMPORARY, QUARANTINE, REPLACED = ".tmp-", "quarantine-", ".replaced-"
"""Beginnings of the names of folders that are not checkpoints."""
SHOWN = 10
"""Differences of a checkpoint's model that a message lists."""


@dataclass(frozen=True)
class StoredCheckpoint:
    """A committed checkpoint and its folder. Nothing but the manifest has been read."""

    path: Path
    manifest: Manifest

    @property
    def epoch(self) -> int:
        """Return the epoch at whose end it was made, from 1."""
        return self.manifest.epoch

    @property
    def value(self) -> float | None:
        """Return the value by which it is ranked; None: it is not ranked."""
        return self.manifest.value

    @property
    def info(self) -> retention.CheckpointInfo:
        """Return what retention sees of it."""
        facts = self.manifest.files
        return retention.CheckpointInfo(
            trial=self.manifest.trial,
            epoch=self.manifest.epoch,
            value=self.manifest.value,
            resumable=self.manifest.resumable,
            model_bytes=facts[MODEL].size,
            total_bytes=self.manifest.total_bytes,
        )

    def load(self, parallel_bytes: int = PARALLEL_BYTES) -> LoadedCheckpoint:
        """Return it in memory, every file hashed on the way.

        Raises DamageError if a file is not what the manifest says.

        Args:
            parallel_bytes: Of a checkpoint of so many bytes, two files are read at a time.
        """
        return load(self, parallel_bytes)

    def verify(self, parallel_bytes: int = PARALLEL_BYTES) -> None:
        """Read and hash every file, through small buffers.

        Raises DamageError if a file is not what the manifest says.

        Args:
            parallel_bytes: Of a checkpoint of so many bytes, two files are read at a time.
        """
        _each_file(self, self.manifest.files, verify_file, parallel_bytes)


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A verified checkpoint in memory; optimizer and state are empty once it was stripped."""

    entry: StoredCheckpoint
    model: Mapping[str, torch.Tensor]
    optimizer: Mapping[str, torch.Tensor]
    state: Mapping[str, JsonValue]

    @property
    def epoch(self) -> int:
        """Return the epoch at whose end it was made, from 1."""
        return self.entry.manifest.epoch

    @property
    def step(self) -> int:
        """Return the optimizer steps that had been taken."""
        return self.entry.manifest.step


def read_entry(path: Path) -> StoredCheckpoint:
    """Return the checkpoint in a folder.

    Raises StudyError if a newer version of this package wrote it.

    Args:
        path: The checkpoint's folder.

    Raises:
        DamageError: The manifest is not valid, or that of another checkpoint.
    """
    if path.is_symlink():
        raise DamageError("is a symbolic link, which may lead out of the store", where=str(path))
    manifest = read_manifest(path)
    trial = f"trial_{manifest.trial:04d}_{manifest.trial_id}"
    if (path.name, path.parents[1].name) != (f"epoch_{manifest.epoch:04d}", trial):
        raise DamageError(
            f"is the manifest of {trial}, epoch {manifest.epoch}, which belongs in another folder",
            where=str(path / MANIFEST),
        )
    return StoredCheckpoint(path, manifest)


def load(entry: StoredCheckpoint, parallel_bytes: int = PARALLEL_BYTES) -> LoadedCheckpoint:
    """Return a checkpoint in memory, every file hashed on the way.

    Raises DamageError if a file is not what the manifest says.

    Args:
        entry: The checkpoint.
        parallel_bytes: Of a checkpoint of so many bytes, two files are read at a time.
    """
    from thriftune.checkpoints.tensors import read_verified, tensors_in

    content = _each_file(entry, entry.manifest.files, read_verified, parallel_bytes)
    resumable = entry.manifest.resumable
    return LoadedCheckpoint(
        entry=entry,
        model=tensors_in(content[MODEL]),
        optimizer=tensors_in(content[OPTIMIZER]) if resumable else {},
        state=json.loads(bytes(content[STATE].numpy())) if resumable else {},
    )


def load_model(entry: StoredCheckpoint, parallel_bytes: int = PARALLEL_BYTES) -> dict[str, torch.Tensor]:
    """Return the model's tensors, hashed on the way; no other file is read.

    Raises DamageError if the model's file is not what the manifest says.

    Args:
        entry: The checkpoint.
        parallel_bytes: Of a checkpoint of so many bytes, two files are read at a time.
    """
    from thriftune.checkpoints.tensors import read_verified, tensors_in

    return tensors_in(_each_file(entry, [MODEL], read_verified, parallel_bytes)[MODEL])


def _each_file(
    entry: StoredCheckpoint, names: Iterable[str], act: Callable[[Path, FileFact], T], parallel_bytes: int
) -> dict[str, T]:
    """Act on files of a checkpoint; on those of a large one beside each other."""
    facts = entry.manifest.files
    with ThreadPoolExecutor(2 if entry.manifest.total_bytes >= parallel_bytes else 1) as pool:
        jobs = {name: pool.submit(act, entry.path / name, facts[name]) for name in names}
    return {name: job.result() for name, job in jobs.items()}


def check_signature(entry: StoredCheckpoint, expected: Mapping[str, JsonValue]) -> None:
    """Raise unless a checkpoint is of the model that is expected.

    Args:
        entry: The checkpoint.
        expected: Values of its signature, and `study`; what is not named is not compared.

    Raises:
        StudyError: A value differs; the first differences are listed.
    """
    stored = {**entry.manifest.signature, "study": entry.manifest.study}
    found = [
        line
        for key, value in expected.items()
        if stored.get(key) != value
        for line in _differences(key, stored.get(key), value)
    ]
    if found:
        more = f"\n  and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise StudyError(
            "the checkpoint is valid, but from another model:\n  " + "\n  ".join(found[:SHOWN]) + more,
            where=str(entry.path),
            remedy="use the configuration it was saved with, or another study.name.",
        )


def _differences(key: str, stored: JsonValue, expected: JsonValue) -> Iterator[str]:
    """Yield a line for each leaf that is not the same."""
    if isinstance(stored, Mapping) and isinstance(expected, Mapping):
        for name in sorted(stored.keys() | expected.keys()):
            if stored.get(name) != expected.get(name):
                yield from _differences(f"{key}.{name}", stored.get(name), expected.get(name))
    else:
        yield f"{key}: the checkpoint has {reprlib.repr(stored)}, the model {reprlib.repr(expected)}"
