"""The data report: counts, label balance, lengths, alignment, duplicates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from thriftune.corpus.splits import group_duplicates
from thriftune.corpus.types import SPLITS, Post, SplitName


def data_report(
    posts: Mapping[SplitName, Sequence[Post]],
    criteria: Sequence[str],
    set_aside: Mapping[str, int],
    source: Mapping[str, Any],
    shared: int,
) -> dict[str, Any]:
    """Figures of an ingested corpus; holds no post text. shared: annotated sentences at the place of
    another one."""
    everyone = [post for name in SPLITS for post in posts[name]]
    evidence = [item for post in everyone for item in post.evidence]
    groups = group_duplicates([post.text for post in everyone])
    return {
        "source": dict(source),
        "posts": {name: len(posts[name]) for name in SPLITS},
        "posts_without_criterion": sum(not post.criteria for post in everyone),
        "annotations": {
            "positive": sum(item.status == 1 for item in evidence),
            "explicit_negative": sum(item.status == 0 for item in evidence),
            "set_aside": dict(set_aside),
        },
        "positive_posts": {
            criterion: {name: sum(criterion in p.criteria for p in posts[name]) for name in SPLITS}
            for criterion in criteria
        },
        "alignment": dict(sorted(Counter(item.found for item in evidence).items())),
        "alignment_shared": shared,
        "words_per_post": _quantiles([len(post.text.split()) for post in everyone]),
        "sentences_per_post": _quantiles([len(post.sentences) for post in everyone]),
        "duplicate_posts": len(groups) - len(set(groups)),
    }


def _quantiles(values: Sequence[int]) -> dict[str, float]:
    return {
        name: float(np.quantile(values, share))
        for name, share in (("min", 0), ("median", 0.5), ("p95", 0.95), ("max", 1))
    }
