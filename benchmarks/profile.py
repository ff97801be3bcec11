"""Where the time of a training step goes.

    python -m benchmarks.profile [--posts 384] [--hidden 256] [--layers 4] [--precision bfloat16]

One epoch of each corpus of benchmarks.throughput, after one to warm up. Each part waits for the device
before its clock stops; on a GPU the parts are therefore more than the epoch, in which the host's and the
device's work overlap.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.throughput import (
    ABSTRACTS,
    BATCH,
    MIXED,
    built,
    posts,
    seconds,
    settings_of,
    trained,
    trainer_of,
)
from thriftune.dual_agent.batch import Batch, Collator
from thriftune.model.trainable import DualAgent
from thriftune.training import loop

PARTS: dict[str, tuple[Any, str]] = {
    "making the batch": (Collator, "__call__"),
    "moving it to the device": (Batch, "to"),
    "encoder, forward": (DualAgent, "encode"),
    "agents, forward": (DualAgent, "score"),
    "loss": (loop, "joint_loss"),
    "backward": (torch.autograd, "backward"),
    "gradient norm, clipping": (loop, "_gradient_norm"),
    "optimizer": (torch.optim.AdamW, "step"),
}
"""What is timed: an attribute of a module or a class."""


@contextmanager
def timed(took: dict[str, float]) -> Iterator[None]:
    """Adds the seconds of each part to `took`; none of them is within another."""

    def wrapped(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            waited()
            started = time.perf_counter()
            result = call(*args, **kwargs)
            waited()
            took[name] += time.perf_counter() - started
            return result

        return run

    with ExitStack() as stack:
        for name, (owner, attribute) in PARTS.items():
            stack.enter_context(patch.object(owner, attribute, wrapped(name, getattr(owner, attribute))))
        yield


def waited() -> None:
    """Returns when the device has done what it was asked for."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def main() -> None:
    """Print a table a corpus."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--posts", type=int, default=384)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    options = parser.parse_args()
    settings = settings_of(options.hidden, options.layers, options.precision)
    for corpus, shape in (("mixed", MIXED), ("abstracts", ABSTRACTS)):
        with tempfile.TemporaryDirectory() as folder:
            encoder, rows = built(posts(options.posts, shape), settings, Path(folder))
        trained(trainer_of(settings, encoder, rows))
        trainer, took = trainer_of(settings, encoder, rows), defaultdict[str, float](float)
        plain = seconds(partial(trained, trainer))
        trainer = trainer_of(settings, encoder, rows)
        with timed(took):
            whole = seconds(partial(trained, trainer))
        steps = math.ceil(len(rows) / BATCH)
        table = Table("part", "ms a step", "share", title=f"{corpus}, {plain / steps * 1000:.1f} ms a step")
        for name, each in {**took, "all else": whole - sum(took.values())}.items():
            table.add_row(name, f"{each / steps * 1000:.2f}", f"{each / whole:.1%}")
        Console().print(table)


if __name__ == "__main__":
    main()
