"""The data report: counts, label balance, lengths, alignment, duplicates. It holds no text of posts."""

from __future__ import annotations

from typing import TYPE_CHECKING, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from thriftune.corpus.types import SPLITS

if TYPE_CHECKING:
    from thriftune.corpus.reading import Plan
    from thriftune.corpus.sources import Revision
    from thriftune.corpus.writing import IngestProgress


class AnnotationCounts(TypedDict):
    """Rows of the annotations."""

    positive: int
    explicit_negative: int
    set_aside: dict[str, int]
    """By the label that the configuration sets aside."""


class DataReport(TypedDict):
    """The content of report.json; splits and criteria are keys."""

    source: Revision
    posts: dict[str, int]
    """By split."""
    posts_without_criterion: int
    annotations: AnnotationCounts
    positive_posts: dict[str, dict[str, int]]
    """By criterion and split."""
    alignment: dict[str, int]
    """Annotations by how their sentence was found, see Found."""
    alignment_shared: int
    """Annotated sentences that got the place of a different one."""
    words_per_post: dict[str, float]
    sentences_per_post: dict[str, float]
    duplicate_posts: int
    fingerprint: NotRequired[str]
    """Of the corpus; there once it is committed."""


def data_report(
    plan: Plan, progress: IngestProgress, sentences: NDArray[np.uint32], source: Revision
) -> DataReport:
    """Return the figures of an ingested corpus.

    Args:
        plan: What the first pass found.
        progress: What the second pass wrote.
        sentences: `[posts]` uint32, candidate sentences of each post.
        source: Where the data came from.
    """
    by_status = {
        status: sum(count for (_, own), count in plan.annotations.counts().items() if own == status)
        for status in (0, 1)
    }
    return {
        "source": source,
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
        "alignment": dict(progress.alignment),
        "alignment_shared": progress.shared,
        "words_per_post": _quantiles(plan.words),
        "sentences_per_post": _quantiles(sentences),
        "duplicate_posts": plan.duplicates,
    }


def _quantiles(values: NDArray[np.uint32]) -> dict[str, float]:
    return {
        name: float(np.quantile(values, share))
        for name, share in (("min", 0), ("median", 0.5), ("p95", 0.95), ("max", 1))
    }
