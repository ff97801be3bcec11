"""The order of posts: shuffled anew each epoch from (seed, epoch) alone, bucketed by length."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

BUCKET_BATCHES = 16
"""Batches whose posts are sorted by length together: large enough to cut padding, small enough to
keep the order random."""


def epoch_batches(lengths: Sequence[int], batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """Indices of the posts of every batch of one epoch; each post stands in exactly one batch.

    lengths: tokens per post. The order depends on (seed, epoch) only, so a resumed epoch sees what
    the interrupted one saw.
    """
    generator = random.Random(f"{seed}:{epoch}")
    order = list(range(len(lengths)))
    generator.shuffle(order)
    bucket = batch_size * BUCKET_BATCHES
    batches: list[list[int]] = []
    for start in range(0, len(order), bucket):
        chunk = sorted(order[start : start + bucket], key=lambda index: lengths[index])
        batches += [chunk[at : at + batch_size] for at in range(0, len(chunk), batch_size)]
    generator.shuffle(batches)
    return batches


def steps_per_epoch(posts: int, batch_size: int, accumulation: int) -> int:
    """Optimizer steps of one epoch; the last one may see fewer posts."""
    return math.ceil(math.ceil(posts / batch_size) / accumulation)
