"""How large a corpus is, as far as a forecast asks: of one that was ingested, or assumed from its tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from thriftune.config import CorpusConfig
from thriftune.corpus.sources import SAMPLE
from thriftune.corpus.store import Corpus
from thriftune.corpus.types import SPLITS

ASSUMED_CRITERIA = tuple(f"CRITERION_{number}" for number in range(9))
ASSUMED_HUB_BYTES = 5_000_000
"""Tables of a data set that was not downloaded yet."""
ASSUMED_POST_BYTES = 350
"""Of the posts table a post; real posts are longer, so there are fewer of them than assumed."""
CORPUS_BYTES_PER_TABLE_BYTE = 1.5
"""The splits against both tables; 1.3 for the sample."""


@dataclass(frozen=True)
class CorpusSize:
    """Criteria, posts and bytes of a corpus."""

    criteria: tuple[str, ...]
    posts: Mapping[str, int]
    split_bytes: Mapping[str, int]
    """Both by split."""
    assumed: str = ""
    """What was assumed for want of an ingested corpus, in words; empty where nothing was."""

    @classmethod
    def of(cls, corpus: Corpus) -> CorpusSize:
        """Return the size of an ingested corpus; no split is opened."""
        return cls(corpus.criteria, corpus.counts, {name: corpus.split_bytes(name) for name in SPLITS})


def assumed_size(config: CorpusConfig, root: Path) -> CorpusSize:
    """Return about the size that a corpus will have, from the configuration and the sizes of its tables.

    Args:
        root: The project's folder, from which relative paths of tables are.
    """
    posts_bytes, all_bytes, source = _table_bytes(config, root)
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


def _table_bytes(config: CorpusConfig, root: Path) -> tuple[int, int, str]:
    """(bytes of the posts table, of all tables, where they are from)."""
    if config.source == "hub":
        return ASSUMED_HUB_BYTES, ASSUMED_HUB_BYTES, f"{config.hub.id} on the hub, of unknown size"
    if config.source == "sample":
        posts, annotations = SAMPLE / "posts.csv", SAMPLE / "annotations.csv"
    else:
        posts = root / (config.files.posts or "")
        annotations = root / (config.files.annotations or "")
    sizes = [path.stat().st_size if path.is_file() else 0 for path in (posts, annotations)]
    if not sizes[0]:
        return ASSUMED_HUB_BYTES, ASSUMED_HUB_BYTES, f"{posts} is not there"
    return sizes[0], sum(sizes), f"from the size of {posts.name}"
