"""What the dual agent says of a split, post by post."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch

from thriftune.corpus.rows import column, token_counts
from thriftune.dual_agent.batch import Collator
from thriftune.dual_agent.spans import find_places
from thriftune.evaluation.predictions import Matrix, Place, Predictions
from thriftune.model.trainable import DualAgent


def predict(
    agent: DualAgent,
    rows: Sequence[Mapping[str, Any]],
    collator: Collator,
    batch_size: int,
    on_batch: Callable[[], None] = lambda: None,
) -> Predictions:
    """Run the agent over tokenised posts, every window of each; order of rows is kept.

    on_batch is called before each forward pass and may raise to stop.
    """
    agent.eval()
    device = next(agent.parameters()).device
    by_length = sorted(range(len(rows)), key=token_counts(rows).__getitem__)
    posts: dict[int, Matrix] = {}
    sentences: dict[int, Matrix] = {}
    places: dict[int, tuple[Place, ...]] = {}
    for start in range(0, len(by_length), batch_size):
        on_batch()
        chosen = by_length[start : start + batch_size]
        own = [rows[i] for i in chosen]
        with torch.no_grad():
            outputs = agent(collator(own).to(device))
            found = None if outputs.evidence is None else find_places(agent, outputs.evidence, own)
        if outputs.criteria_logits is not None:
            posts |= zip(chosen, torch.sigmoid(outputs.criteria_logits.float()).cpu().numpy(), strict=True)
        if found is not None:
            counts = [len(row["sentences"]) for row in own]
            sentences |= zip(
                chosen, [part.numpy() for part in torch.split(found.scores, counts)], strict=True
            )
            if found.places is not None:
                places |= zip(chosen, map(tuple, found.places), strict=True)
    return assemble(agent.criteria, rows, posts, sentences, places)


def assemble(
    criteria: tuple[str, ...],
    rows: Sequence[Mapping[str, Any]],
    posts: Mapping[int, Matrix],
    sentences: Mapping[int, Matrix],
    places: Mapping[int, tuple[Place, ...]],
) -> Predictions:
    """The truths of tokenised posts, and probabilities by their index: [criteria] of posts, [sentences,
    criteria] of their sentences, ranges that may be evidence; {} for an agent that is left out, or finds no
    ranges."""
    width = len(criteria)
    order = range(len(rows))
    sentences_of = [*column(rows, "sentences")]
    return Predictions(
        criteria=criteria,
        post_ids=tuple(column(rows, "post_id")),
        criteria_true=np.array([*column(rows, "criteria")], dtype=bool).reshape(-1, width),
        criteria_prob=np.stack([posts[i] for i in order]) if posts else None,
        sentence_post=np.array([i for i in order for _ in sentences_of[i]], dtype=int),
        sentence_spans=np.array([*chain.from_iterable(sentences_of)], dtype=int).reshape(-1, 2),
        sentence_true=np.array([*chain.from_iterable(column(rows, "sentence_targets"))], dtype=bool).reshape(
            -1, width
        ),
        sentence_prob=np.concatenate([sentences[i] for i in order]) if sentences else None,
        evidence_true=tuple(
            tuple((c, start, end) for c, start, end in each) for each in column(rows, "evidence")
        ),
        words=tuple(tuple((start, end) for start, end in each) for each in column(rows, "words")),
        places=tuple(places[i] for i in order) if places else None,
    )
