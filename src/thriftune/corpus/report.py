"""The data report: counts, label balance, lengths, alignment, duplicates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thriftune.corpus.reading import Plan
from thriftune.corpus.types import SPLITS
from thriftune.corpus.writing import Made


def data_report(
    plan: Plan, made: Made, sentences: NDArray[np.uint32], source: Mapping[str, Any]
) -> dict[str, Any]:
    """Figures of an ingested corpus; holds no post text. sentences: candidates of each post."""
    by_status = {
        status: sum(count for (_, own), count in plan.annotations.counts().items() if own == status)
        for status in (0, 1)
    }
    return {
        "source": dict(source),
        "posts": {name: int((plan.splits == number).sum()) for number, name in enumerate(SPLITS)},
        "posts_without_criterion": int((~plan.met.any(axis=1)).sum()),
        "annotations": {
            "positive": by_status[1],
            "explicit_negative": by_status[0],
            "set_aside": dict(plan.set_aside),
        },
        "positive_posts": {
            criterion: {
                name: int(plan.met[plan.splits == number, at].sum()) for number, name in enumerate(SPLITS)
            }
            for at, criterion in enumerate(plan.criteria)
        },
        "alignment": dict(made.alignment),
        "alignment_shared": made.shared,
        "words_per_post": _quantiles(plan.words),
        "sentences_per_post": _quantiles(sentences),
        "duplicate_posts": plan.duplicates,
    }


def _quantiles(values: NDArray[np.uint32]) -> dict[str, float]:
    return {
        name: float(np.quantile(values, share))
        for name, share in (("min", 0), ("median", 0.5), ("p95", 0.95), ("max", 1))
    }
