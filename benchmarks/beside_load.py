"""What training takes beside other busy processes, by how threads wait for each other.

    python -m benchmarks.beside_load [--repeats 5] [--what training saving] [--ways ours unset passive ...]

Each round measures every way of waiting quiet, beside one and beside two processes that keep a core busy, in
turn, so that what else the machine does meets all alike; the table has medians and extremes. training: epochs
of a small dual agent. saving: the same, with a checkpoint written beside each epoch. `ours` is what the
commands set for themselves, `unset` the OpenMP library's own choice. The machine must be quiet, and has as
many cores as the training has threads.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median

import click
from rich.console import Console
from rich.table import Table

from benchmarks.rows import Row, at_most, write
from thriftune.process import WAITING, prepare

ROOT = Path(__file__).parents[1]
OURS, UNSET = "ours", "unset"
WAYS: dict[str, dict[str, str]] = {
    OURS: {},
    UNSET: {},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
    "spin 1000": {"GOMP_SPINCOUNT": "1000"},
    "spin 10000": {"GOMP_SPINCOUNT": "10000"},
}
"""Environment of a training process."""
LOADS = (0, 1, 2)
EPOCHS = 4
MOST_TIMES_QUIET = 2.5
BUSY = "while True: pass"

Took = Mapping[tuple[str, str, int], Sequence[float]]
"""Seconds by what was done, the way of waiting and the number of busy processes."""


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Keep cores busy for the time of the block."""
    running = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def train_here(what: str, threads: int, epochs: int) -> None:
    """Train in this process; print the seconds and the SHA-256 of the weights."""
    import torch

    from benchmarks.throughput import MIXED, built, posts, seconds, settings_of, trainer_of
    from thriftune.checkpoints.tensors import serialise
    from thriftune.config import StorageConfig
    from thriftune.study.storage import open_store
    from thriftune.training.loop import train

    torch.set_num_threads(threads)
    settings = settings_of(hidden=64, layers=2)
    training = settings.training.model_copy(update={"epochs": epochs})
    settings = settings.model_copy(update={"training": training})
    with tempfile.TemporaryDirectory(dir=ROOT / "build") as folder:
        encoder, rows = built(posts(96, MIXED), settings, Path(folder))
        policy = StorageConfig(max_total_size=10**12, free_disk_watermark=0.0)
        store = open_store(Path(folder) / "study", "bench", policy)
        trainer = replace(trainer_of(settings, encoder, rows), overlap=what == "saving")

        def run() -> None:
            for checkpoint in train(trainer):
                if what == "saving":
                    store.submit(checkpoint)
                else:
                    checkpoint.receipt.commit()
            store.drain()

        took = seconds(run)
    digest = hashlib.sha256()
    for piece in serialise(trainer.agent.trained_state()):
        digest.update(piece)
    click.echo(f"{took} {digest.hexdigest()}")


def seconds_of(what: str, way: str, threads: int, epochs: int) -> tuple[float, str]:
    """(seconds of training, hash of the weights) in a fresh process that waits in one way."""
    words = ["--child", what, "--threads", str(threads), "--epochs", str(epochs), "--ways", way]
    environment = {name: value for name, value in os.environ.items() if name not in WAITING}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.beside_load", *words],
        cwd=ROOT,
        env={**environment, **WAYS[way]},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    took, weights = done.stdout.split()
    return float(took), weights


def measure(what: Sequence[str], ways: Sequence[str], repeats: int, threads: int, epochs: int) -> Took:
    """Seconds of every combination, `repeats` each. SystemExit where the weights differ."""
    took: dict[tuple[str, str, int], list[float]] = defaultdict(list)
    found: dict[str, set[str]] = defaultdict(set)
    for _, load, each in itertools.product(range(repeats), LOADS, what):
        for way in ways:
            with busy(load):
                seconds, weights = seconds_of(each, way, threads, epochs)
            took[each, way, load].append(seconds)
            found[each].add(weights)
    if any(len(hashes) > 1 for hashes in found.values()):
        raise SystemExit(f"the weights depend on the way of waiting: {dict(found)}")
    return took


def show(took: Took) -> None:
    """Print the medians and extremes."""
    table = Table("what", "way", *(f"beside {load}" for load in LOADS))
    for what, way in dict.fromkeys((what, way) for what, way, _ in took):
        cells = [sorted(took[what, way, load]) for load in LOADS]
        table.add_row(
            what, way, *(f"{median(each):.1f} s ({each[0]:.1f} to {each[-1]:.1f})" for each in cells)
        )
    Console().print(table)


def rows(took: Took) -> list[Row]:
    """A trial beside one and beside two busy processes against a quiet one, as the commands wait."""
    quiet = median(took["training", OURS, 0])
    return [
        at_most(f"beside_load/{load}", median(took["training", OURS, load]), "s", quiet, MOST_TIMES_QUIET)
        for load in LOADS[1:]
    ]


def measured_rows(repeats: int) -> list[Row]:
    """Measure and return the rows, with as many threads as there are cores."""
    return rows(measure(["training"], [OURS], repeats, os.cpu_count() or 1, EPOCHS))


def main() -> None:
    """Measure, print, and add the rows to build/bench.json; exit code 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--what", nargs="+", choices=("training", "saving"), default=["training"])
    parser.add_argument("--ways", nargs="+", choices=tuple(WAYS), default=[OURS])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--child", choices=("training", "saving"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    (ROOT / "build").mkdir(exist_ok=True)
    if given.child:
        if given.ways == [OURS]:
            prepare()
        train_here(given.child, given.threads, given.epochs)
        return
    took = measure(given.what, given.ways, given.repeats, given.threads, given.epochs)
    show(took)
    if ("training", OURS, 0) in took:
        found = rows(took)
        write(found)
        raise SystemExit(0 if all(row.ok for row in found) else 1)


if __name__ == "__main__":
    main()
