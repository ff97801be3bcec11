"""The order of posts: shuffled in each epoch by (seed, epoch) alone, bucketed by length."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

BUCKET_BATCHES = 16
"""Batches whose posts are sorted by length together: enough to cut padding, few enough for a random order."""


def epoch_batches(lengths: Sequence[int], batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """Return the indices of the posts of every batch of one epoch; each post is in exactly one batch.

    A resumed epoch sees what the interrupted one saw.

    Args:
        lengths: Tokens of each post.
        batch_size: Posts of a batch; the last one may have fewer.
        seed: The study's.
        epoch: Number of the epoch, from 1.
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
    """Return the optimizer steps of one epoch; the last one may see fewer posts.

    Args:
        posts: Number of posts.
        batch_size: Posts of a batch.
        accumulation: Batches of a step.
    """
    return math.ceil(math.ceil(posts / batch_size) / accumulation)
