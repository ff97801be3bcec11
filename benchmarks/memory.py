"""Peak memory over the model's own while a large checkpoint is saved and loaded, and how long that takes.

    python -m benchmarks.memory [--size 10] [--folder build/bench-memory]

Three processes: a save beside training (one copy of what is saved), a save that training waits for (one
piece of CHUNK_BYTES), a verified load (one copy, which then becomes the model's). Needs twice the size in
memory and on disk.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import click
import torch

from benchmarks.rows import Row, at_most, write
from benchmarks.storage import TENSORS, checkpoint_of, store_in
from thriftune.checkpoints.checkpoint import Receipt
from thriftune.checkpoints.tensors import CHUNK_BYTES, tensor_bytes
from thriftune.training.snapshot import Snapshots

SLACK_BYTES = 256 << 20
"""Threads, the interpreter's own buffers, and pieces in flight."""


def resident(field: str) -> int:
    """VmRSS or VmHWM (the peak since it was reset) of this process, bytes."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise LookupError(field)


def measured(deed: str, gigabytes: float, folder: Path) -> None:
    """Do it in this process and print: peak bytes over the model's own, seconds, bytes of the checkpoint."""
    live = checkpoint_of(gigabytes, 1, fill=True)
    store = store_in(folder, overlap=deed == "overlapped")
    own = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew
    started = time.perf_counter()
    if deed == "load":
        loaded = store.newest(0)
        assert loaded is not None
        assert loaded.model.keys() == live.model.keys()
    elif deed == "overlapped":
        model, moments, copied = Snapshots(overlap=True).take(live.model, live.optimizer)
        assert copied, "the copy must fit into memory"
        receipt = Receipt(awaited=True)
        store.submit(replace(live, model=model, optimizer=moments, detached=True, receipt=receipt))
        receipt.wait()
    else:
        store.save(live)
    seconds = time.perf_counter() - started
    size = tensor_bytes(live.model) + tensor_bytes(live.optimizer)
    click.echo(f"{resident('VmHWM') - own} {seconds} {size}")


def main() -> None:
    """Measure, print, and add the rows to build/bench.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=float, default=10.0, help="GB of one resume-capable checkpoint")
    parser.add_argument("--folder", type=Path, default=Path("build/bench-memory"))
    parser.add_argument("--deed", choices=["overlapped", "waiting", "load"])
    options = parser.parse_args()
    if options.deed:
        measured(options.deed, options.size, options.folder)
        return
    torch.set_num_threads(1)
    rows: list[Row] = []
    shutil.rmtree(options.folder, ignore_errors=True)
    for deed, copies in (("overlapped", 1.0), ("waiting", 0.0), ("load", 1.0)):
        if deed == "waiting":
            shutil.rmtree(options.folder)
        words = [sys.executable, "-m", "benchmarks.memory", "--deed", deed, "--size", str(options.size)]
        done = subprocess.run(
            [*words, "--folder", str(options.folder)], capture_output=True, text=True, check=True
        )
        peak, seconds, size = (float(word) for word in done.stdout.split()[-3:])
        click.echo(
            f"{deed}: {size / 1e9:.1f} GB in {seconds:.1f} s, {peak / 1e9:.2f} GB over the model's own"
        )
        allowed = copies * size + SLACK_BYTES
        rows.append(at_most(f"memory/{deed}/{options.size:g}GB", peak, "B", allowed, 1.0))
    click.echo(f"one piece is {CHUNK_BYTES >> 20} MiB; {TENSORS} tensors of the model, two moments each")
    shutil.rmtree(options.folder, ignore_errors=True)
    write(rows)
    raise SystemExit(0 if all(row.ok is not False for row in rows) else 1)


if __name__ == "__main__":
    main()
