"""Runs the dual agent over a split, post by post."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain

import numpy as np
import torch

from thriftune.corpus.rows import Row, column, token_counts
from thriftune.dual_agent.batch import Collator
from thriftune.dual_agent.spans import find_spans
from thriftune.evaluation.predictions import EvidenceSpan, Matrix, Predictions
from thriftune.model.trainable import DualAgent


def predict(
    agent: DualAgent,
    rows: Sequence[Row],
    collator: Collator,
    batch_size: int,
    on_batch: Callable[[], None] = lambda: None,
) -> Predictions:
    """Return the agent's predictions for tokenised posts, in their order; every window of a post is read.

    Args:
        agent: In evaluation mode afterwards.
        rows: Tokenised posts with their truths; at least one.
        collator: Makes batches as in training.
        batch_size: Posts in a batch; posts of about the same length share one.
        on_batch: Called before each forward pass; may raise to stop.
    """
    agent.eval()
    device = next(agent.parameters()).device
    by_length = sorted(range(len(rows)), key=token_counts(rows).__getitem__)
    posts: dict[int, Matrix] = {}
    sentences: dict[int, Matrix] = {}
    spans: dict[int, tuple[EvidenceSpan, ...]] = {}
    for start in range(0, len(by_length), batch_size):
        on_batch()
        chosen = by_length[start : start + batch_size]
        own = [rows[i] for i in chosen]
        with torch.no_grad():
            outputs = agent(collator(own).to(device))
            found = None if outputs.evidence is None else find_spans(agent, outputs.evidence, own)
        if outputs.criteria_logits is not None:
            posts |= zip(chosen, torch.sigmoid(outputs.criteria_logits.float()).cpu().numpy(), strict=True)
        if found is not None:
            counts = [len(row["sentences"]) for row in own]
            sentences |= zip(
                chosen, [part.numpy() for part in torch.split(found.scores, counts)], strict=True
            )
            if found.spans is not None:
                spans |= zip(chosen, map(tuple, found.spans), strict=True)
    return assemble(agent.criteria, rows, posts, sentences, spans)


def assemble(
    criteria: tuple[str, ...],
    rows: Sequence[Row],
    posts: Mapping[int, Matrix],
    sentences: Mapping[int, Matrix],
    spans: Mapping[int, tuple[EvidenceSpan, ...]],
) -> Predictions:
    """Return the truths of tokenised posts with what is predicted of each, by index of the row.

    Args:
        criteria: Names, in the order of the columns.
        rows: Tokenised posts, with their truths.
        posts: Probabilities of the criteria, [criteria] float32; empty without a criteria agent.
        sentences: Probabilities of the sentences, [sentences, criteria] float32; empty without an evidence
            agent.
        spans: Spans that may be evidence; empty if whole sentences are.
    """
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
        evidence_spans=tuple(spans[i] for i in order) if spans else None,
    )
