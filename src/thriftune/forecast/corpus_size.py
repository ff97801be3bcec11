"""How large a corpus is: measured once it is ingested, else assumed from the sizes of its tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from thriftune.config import CorpusConfig
from thriftune.corpus.sources import SAMPLE
from thriftune.corpus.store import Corpus
from thriftune.corpus.types import SPLITS

ASSUMED_CRITERIA = tuple(f"CRITERION_{number}" for number in range(9))
ASSUMED_HUB_BYTES = 5_000_000
"""Bytes of the tables of a data set that was not downloaded yet."""
ASSUMED_POST_BYTES = 350
"""Bytes of a post in its table; real posts are longer, so there are fewer of them than assumed."""
CORPUS_BYTES_PER_TABLE_BYTE = 1.5
"""Bytes of the splits per byte of both tables; 1.3 for the sample."""


@dataclass(frozen=True)
class CorpusSize:
    """Criteria, posts and bytes of a corpus."""

    criteria: tuple[str, ...]
    posts: Mapping[str, int]
    split_bytes: Mapping[str, int]
    """Posts and bytes by split."""
    assumed: str = ""
    """What was assumed because there is no ingested corpus, in words; empty if nothing was."""

    @classmethod
    def from_corpus(cls, corpus: Corpus) -> CorpusSize:
        """Return the size of an ingested corpus; no split is opened.

        Args:
            corpus: The corpus.
        """
        return cls(corpus.criteria, corpus.counts, {name: corpus.split_bytes(name) for name in SPLITS})


def assumed_size(config: CorpusConfig) -> CorpusSize:
    """Return about the size that a corpus will have, from the sizes of its tables; nothing is downloaded.

    Args:
        config: The corpus's parameters.
    """
    posts_bytes, all_bytes, source = _table_bytes(config)
    test, validation = config.split.test_share, config.split.validation_share
    shares = {
        "train": 1 - test - validation,
        "validation": validation,
        "test": test,
    }
    criteria = config.criteria or ASSUMED_CRITERIA
    posts = max(1, posts_bytes // ASSUMED_POST_BYTES)
    return CorpusSize(
        criteria,
        {name: round(share * posts) for name, share in shares.items()},
        {name: round(share * all_bytes * CORPUS_BYTES_PER_TABLE_BYTE) for name, share in shares.items()},
        f"{source}: about {posts:,} posts, {len(criteria)} criteria",
    )


def _table_bytes(config: CorpusConfig) -> tuple[int, int, str]:
    """Return the bytes of the posts table, of all tables, and where they are from."""
    if config.source == "hub":
        return ASSUMED_HUB_BYTES, ASSUMED_HUB_BYTES, f"{config.hub.id} on the hub, of unknown size"
    if config.source == "sample":
        posts, annotations = SAMPLE / "posts.csv", SAMPLE / "annotations.csv"
    else:
        posts = config.resolve(config.files.posts or "")
        annotations = config.resolve(config.files.annotations or "")
    sizes = [path.stat().st_size if path.is_file() else 0 for path in (posts, annotations)]
    if not sizes[0]:
        return ASSUMED_HUB_BYTES, ASSUMED_HUB_BYTES, f"{posts} is not there"
    return sizes[0], sum(sizes), f"from the size of {posts.name}"
