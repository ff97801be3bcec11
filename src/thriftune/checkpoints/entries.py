"""Committed checkpoints: what stands in a folder, and whether it is what its manifest says."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from thriftune.checkpoints import retention
from thriftune.checkpoints.manifest import MANIFEST, MODEL, FileFact, Manifest, read_manifest
from thriftune.checkpoints.tensors import PARALLEL_BYTES, read_verified, tensors_in, verify_file
from thriftune.errors import DamageError, StudyError

T = TypeVar("T")
TEMPORARY, QUARANTINE, REPLACED = ".tmp-", "quarantine-", ".replaced-"
"""Beginnings of the names of folders that are no checkpoints."""
SHOWN = 10
"""Differences of a checkpoint's model that a message lists."""


@dataclass(frozen=True)
class Entry:
    """A committed checkpoint and its folder."""

    path: Path
    manifest: Manifest

    @property
    def held(self) -> retention.Held:
        """As retention sees it."""
        facts = self.manifest.files
        return retention.Held(
            trial=self.manifest.trial,
            epoch=self.manifest.epoch,
            value=self.manifest.value,
            resumable=self.manifest.resumable,
            model_bytes=facts[MODEL].size,
            total_bytes=self.manifest.total_bytes,
        )


@dataclass(frozen=True)
class Loaded:
    """A verified checkpoint in memory; optimizer and state are empty once stripped."""

    entry: Entry
    model: Mapping[str, torch.Tensor]
    optimizer: Mapping[str, torch.Tensor]
    state: Mapping[str, Any]


def read_entry(path: Path) -> Entry:
    """The checkpoint in a folder; DamageError where its manifest is not valid or that of another one."""
    if path.is_symlink():
        raise DamageError("is a symbolic link, which may lead out of the store", where=str(path))
    manifest = read_manifest(path)
    trial = f"trial_{manifest.trial:04d}_{manifest.trial_id}"
    if (path.name, path.parents[1].name) != (f"epoch_{manifest.epoch:04d}", trial):
        raise DamageError(
            f"is the manifest of {trial}, epoch {manifest.epoch}, which is not where it stands",
            where=str(path / MANIFEST),
        )
    return Entry(path, manifest)


def verify(entry: Entry, parallel_bytes: int = PARALLEL_BYTES) -> None:
    """DamageError at the first file that is not what its manifest says. No file is held in memory.

    parallel_bytes: as of `read_all`.
    """
    _each_file(entry, entry.manifest.files, verify_file, parallel_bytes)


def read_all(entry: Entry, parallel_bytes: int) -> dict[str, torch.Tensor]:
    """The verified bytes of each file; of a checkpoint of so many bytes two are read and hashed at a time."""
    return _each_file(entry, entry.manifest.files, read_verified, parallel_bytes)


def read_model(entry: Entry, parallel_bytes: int) -> dict[str, torch.Tensor]:
    """The model's tensors, verified; no other file is read. parallel_bytes: as of `read_all`."""
    return tensors_in(_each_file(entry, [MODEL], read_verified, parallel_bytes)[MODEL])


def _each_file(
    entry: Entry, names: Iterable[str], act: Callable[[Path, FileFact], T], parallel_bytes: int
) -> dict[str, T]:
    """Act on files of a checkpoint; on those of a large one beside each other."""
    facts = entry.manifest.files
    with ThreadPoolExecutor(2 if entry.manifest.total_bytes >= parallel_bytes else 1) as pool:
        jobs = {name: pool.submit(act, entry.path / name, facts[name]) for name in names}
    return {name: job.result() for name, job in jobs.items()}


def check_signature(entry: Entry, expected: Mapping[str, Any]) -> None:
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
            "the checkpoint is whole, but of another model:\n  " + "\n  ".join(found[:SHOWN]) + more,
            where=str(entry.path),
            remedy="use the configuration it was made with, or another study.name.",
        )


def _differences(key: str, stored: Any, expected: Any) -> Iterator[str]:
    """A line for each leaf that is not the same."""
    if isinstance(stored, Mapping) and isinstance(expected, Mapping):
        for name in sorted(stored.keys() | expected.keys()):
            if stored.get(name) != expected.get(name):
                yield from _differences(f"{key}.{name}", stored.get(name), expected.get(name))
    else:
        yield f"{key}: the checkpoint has {reprlib.repr(stored)}, the model {reprlib.repr(expected)}"
