"""Splits by post: the user's own, else seeded and multi-label-stratified (SPEC 4.3).

Posts with the same normalised text form a group and go to one split together. The stratification is
iterative (Sechidis, Tsoumakas and Vlahavas, 2011), by the library iterative-stratification.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from thriftune.config import SplitConfig
from thriftune.corpus.problems import Problems
from thriftune.corpus.types import SPLITS, SplitName
from thriftune.errors import DataError

LEAST_POSTS = 10


def normalised(text: str) -> str:
    """The text by which two posts count as the same: NFKC, case and white space folded."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def stratified_split(texts: Sequence[str], labels: np.ndarray, config: SplitConfig) -> list[SplitName]:
    """The split of every post; labels is bool [posts, criteria].

    Raises DataError for fewer than LEAST_POSTS different posts.
    """
    groups, targets = _grouped(texts, labels)
    held = config.validation_share + config.test_share
    train, rest = _cut(targets, held, config.seed)
    validation, test = _cut(targets[rest], config.test_share / held, config.seed + 1)
    by_group: dict[int, SplitName] = dict.fromkeys(train.tolist(), "train")
    by_group |= dict.fromkeys(rest[validation].tolist(), "validation")
    by_group |= dict.fromkeys(rest[test].tolist(), "test")
    return [by_group[group] for group in groups]


def cut_from(
    texts: Sequence[str], labels: np.ndarray, config: SplitConfig, name: SplitName
) -> list[SplitName]:
    """The one split that the data lack, cut from posts that were all to be trained on; see
    stratified_split."""
    groups, targets = _grouped(texts, labels)
    share = config.test_share if name == "test" else config.validation_share
    _, cut = _cut(targets, share, config.seed)
    held = set(cut.tolist())
    return [name if group in held else "train" for group in groups]


def _grouped(texts: Sequence[str], labels: np.ndarray) -> tuple[list[int], np.ndarray]:
    """(group of every post, int targets [groups, criteria + 1]) for posts with the same text together."""
    groups = group_duplicates(texts)
    first = sorted({group: index for index, group in reversed(list(enumerate(groups)))}.items())
    heads = np.array([index for _, index in first])
    if len(heads) < LEAST_POSTS:
        raise DataError(
            f"expected at least {LEAST_POSTS} different posts to split, found {len(heads)}",
            remedy="add posts, or name a splits table by corpus.files.splits.",
        )
    # A column for "no criterion at all" keeps the hard negatives balanced too.
    return groups, np.column_stack([labels[heads], ~labels[heads].any(axis=1)]).astype(int)


def group_duplicates(texts: Sequence[str]) -> list[int]:
    """A group number per post, counted from 0 in order of appearance; duplicates share one."""
    numbers: dict[str, int] = {}
    return [numbers.setdefault(normalised(text), len(numbers)) for text in texts]


def check_splits(
    splits: Mapping[str, SplitName],
    texts: Mapping[str, str],
    source: str,
    problems: Problems,
    lacking: Collection[SplitName] = (),
) -> None:
    """Add to `problems`: a post without a split, an empty split but those that are `lacking`, a text in two
    splits."""
    for post_id in texts:
        if post_id not in splits:
            problems.add("a post has no split; expected train, validation or test", f"{source}: {post_id!r}")
    for name in SPLITS:
        if name not in lacking and name not in splits.values():
            problems.add("a split is missing; expected at least one post in each", f"{source}: {name}")
    seen: dict[str, str] = {}
    for post_id, text in texts.items():
        other = seen.setdefault(normalised(text), post_id)
        if splits.get(post_id) != splits.get(other):
            problems.add(
                "the same text stands in two splits (leakage)",
                f"{source}: {other!r} ({splits.get(other)}) and {post_id!r} ({splits.get(post_id)})",
            )


def _cut(targets: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    from iterstrat.ml_stratifiers import MultilabelStratifiedShuffleSplit

    splitter = MultilabelStratifiedShuffleSplit(n_splits=1, test_size=share, random_state=seed)
    kept, cut = next(splitter.split(np.zeros((len(targets), 1)), targets))
    return np.sort(kept), np.sort(cut)
