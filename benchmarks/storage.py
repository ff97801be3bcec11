"""Save, load, stall, share of a run and bytes kept, against plain writing of the same bytes in the same run.

    python -m benchmarks.storage [--sizes 0.1,1,3] [--pairs 5] [--folder build/bench]

A size is what one resume-capable checkpoint weighs, in GB.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import click
import torch
from safetensors.torch import save_file

from benchmarks.rows import Row, at_least, at_most, write
from thriftune.checkpoints.checkpoint import Checkpoint, Receipt
from thriftune.checkpoints.retention import CheckpointInfo, Pressure, RetentionPolicy, plan
from thriftune.checkpoints.store import CheckpointStore
from thriftune.config import StorageConfig
from thriftune.forecast.simulation import Workload, forecast
from thriftune.study.storage import open_store
from thriftune.training.snapshot import Snapshots

TENSORS = 24
EPOCH_IN_SAVES = 30
"""An epoch of at least so many synchronous saves."""
CHUNK = 16 << 20


def checkpoint_of(gigabytes: float, epoch: int, *, fill: bool = False) -> Checkpoint:
    """A model and AdamW's two moments of each tensor, float32: random, or (quickly) one number."""
    count = int(gigabytes * 1e9 / 4 / 3 / TENSORS)

    def tensor() -> torch.Tensor:
        return torch.full((count,), 0.5) if fill else torch.randn(count)

    model = {f"layer.{number:02d}": tensor() for number in range(TENSORS)}
    moments = {f"{name}/{slot}": tensor() for name in model for slot in ("exp_avg", "exp_avg_sq")}
    return Checkpoint(
        study="bench-00000000",
        trial=0,
        trial_id="00000000",
        epoch=epoch,
        step=epoch,
        value=float(epoch),
        metrics={},
        model=model,
        optimizer=moments,
        state={},
        signature={},
        data_fingerprint="0" * 64,
    )


def all_tensors(checkpoint: Checkpoint) -> Mapping[str, torch.Tensor]:
    return {**checkpoint.model, **{f"o/{name}": value for name, value in checkpoint.optimizer.items()}}


def write_plainly(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """The bytes, in 16 MiB calls, then one fsync."""
    with path.open("wb", buffering=0) as handle:
        for tensor in tensors.values():
            raw = memoryview(tensor.view(torch.uint8).numpy().data)
            for start in range(0, len(raw), CHUNK):
                handle.write(raw[start : start + CHUNK])
        os.fsync(handle.fileno())


def then_fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def by_torch(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    torch.save(dict(tensors), path)
    then_fsync(path)


def by_safetensors(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    save_file(dict(tensors), path)
    then_fsync(path)


def read_and_hash(folder: Path) -> None:
    """Every file read into memory and hashed, one after the other."""
    for path in folder.glob("*.safetensors"):
        digest = hashlib.sha256()
        content = torch.empty(path.stat().st_size, dtype=torch.uint8)
        view = memoryview(content.numpy().data)
        with path.open("rb", buffering=0) as handle:
            start = 0
            while count := handle.readinto(view[start : start + CHUNK]):
                digest.update(view[start : start + count])
                start += count


def store_in(folder: Path, overlap: bool) -> CheckpointStore:
    policy = StorageConfig(overlap=overlap, max_total_size=10**12, free_disk_watermark=0.0)
    return open_store(folder, "bench-00000000", policy)


class Bench:
    """All rows of one size: medians of paired runs."""

    def __init__(self, gigabytes: float, folder: Path) -> None:
        self.label, self.shown = f"{gigabytes:g}GB", gigabytes < 1
        self.megabytes = gigabytes * 1e3
        self.checkpoint = checkpoint_of(gigabytes, 1)
        self.tensors = all_tensors(self.checkpoint)
        self.folder, self.times = folder, dict[str, list[float]]()
        self.alone = store_in(folder / "study", overlap=False)
        self.beside = store_in(folder / "study", overlap=True)
        self.snapshots = Snapshots(overlap=True)

    def pair(self, number: int) -> None:
        """Each way once, on the same bytes."""
        current = replace(self.checkpoint, epoch=number, value=float(number), receipt=Receipt())
        self._note("save", self.alone.save, current)
        for name, deed in (("plain", write_plainly), ("torch", by_torch), ("safetensors", by_safetensors)):
            self._note(name, deed, self.tensors, self.folder / "plain")
            (self.folder / "plain").unlink()
        entry = self.alone.entries()[-1]
        read_and_hash(entry.path)  # both read from the page cache
        self._note("read", read_and_hash, entry.path)
        self._note("load", entry.load)
        self._note("stall" if number > 1 else "first stall", self._stall, current)
        self.beside.drain()
        for held in self.alone.entries():
            shutil.rmtree(held.path)

    def _stall(self, current: Checkpoint) -> None:
        model, optimizer, copied = self.snapshots.take(current.model, current.optimizer)
        assert copied, "the copy must fit into memory"
        receipt = Receipt(awaited=True)
        later = current.epoch + 1000
        self.beside.submit(
            replace(
                current,
                epoch=later,
                value=None,
                model=model,
                optimizer=optimizer,
                detached=True,
                receipt=receipt,
            )
        )

    def _note(self, name: str, deed: Callable[..., object], *given: object) -> None:
        os.sync()
        started = time.perf_counter()
        deed(*given)
        self.times.setdefault(name, []).append(time.perf_counter() - started)

    def rows(self) -> list[Row]:
        """The rows of saving and its overlap with training."""
        took = {name: statistics.median(values) for name, values in self.times.items()}
        speed = {name: self.megabytes / duration for name, duration in took.items()}
        ratios = [plain / save for plain, save in zip(self.times["plain"], self.times["save"], strict=True)]
        click.echo(
            f"{self.label}: MB/s save {speed['save']:.0f}, plain {speed['plain']:.0f}, "
            f"torch.save {speed['torch']:.0f}, safetensors {speed['safetensors']:.0f}; paired ratios "
            + ", ".join(f"{ratio:.2f}" for ratio in ratios)
        )
        epoch, shown = EPOCH_IN_SAVES * took["save"], self.shown
        share = f"checkpoint_share_of_run/{self.label}"
        saving, loading = f"save_throughput/{self.label}", f"load_throughput/{self.label}"
        median = statistics.median(ratios)
        return [
            at_least(saving, speed["save"], "MB/s", speed["save"] / median, 1.0, shown=shown),
            at_least(loading, speed["load"], "MB/s", speed["read"], 0.85, shown=shown),
            at_most(f"stall_per_save/{self.label}", took["stall"], "s", took["save"], 0.15, shown=shown),
            at_most(share, took["stall"], "s", epoch, 0.01, shown=shown),
            at_most(f"{share}/no overlap", took["save"], "s", epoch, 0.035, shown=shown),
        ]


def bytes_kept() -> Row:
    """What the default policy holds after a study of 100 trials of 10 epochs, against keep-all."""
    work = Workload(trials=100, saves_per_trial=10, model_bytes=10**9, resumable_bytes=3 * 10**9)
    found = forecast(work, RetentionPolicy(), 10**12)
    return at_most("bytes_kept", float(work.model_bytes), "B", float(found.keep_all_bytes), 0.05)


def planning() -> Row:
    """The retention plan over 1,000 checkpoints, median of 100."""
    held = [
        CheckpointInfo(n // 10, n % 10, (n * 7919 % 1000) / 1000, n % 10 == 9, 10, 30) for n in range(1000)
    ]
    took = []
    for _ in range(100):
        started = time.perf_counter()
        plan(held, RetentionPolicy(), Pressure(frozenset({99}), room_bytes=50))
        took.append(time.perf_counter() - started)
    return at_most("plan/1000", statistics.median(took), "s", 0.010, 1.0)


def main() -> None:
    """Measure, print, and write build/bench.json; exit code 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="0.1,1,3")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path("build/bench"))
    options = parser.parse_args()
    rows = []
    for size in options.sizes.split(","):
        shutil.rmtree(options.folder, ignore_errors=True)
        options.folder.mkdir(parents=True)
        bench = Bench(float(size), options.folder)
        for number in range(1, options.pairs + 1):
            bench.pair(number)
        rows += bench.rows()
    shutil.rmtree(options.folder, ignore_errors=True)
    rows += [bytes_kept(), planning()]
    write(rows)
    raise SystemExit(0 if all(row.ok is not False for row in rows) else 1)


if __name__ == "__main__":
    main()
