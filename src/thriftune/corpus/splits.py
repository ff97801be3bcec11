"""Splits by post: the user's own, else seeded and multi-label-stratified.

Posts with the same normalised text form a group and go to one split together. The stratification is
iterative (Sechidis, Tsoumakas and Vlahavas, 2011), by the library iterative-stratification; of very many
posts each combination of labels is dealt out by itself.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thriftune.config import SplitConfig
from thriftune.corpus.problems import Problems, quoted
from thriftune.corpus.types import SPLITS, SplitName
from thriftune.errors import DataError

LEAST_POSTS = 10
MOST_ITERATIVE = 20_000
"""Different posts up to which the stratification is iterative; its time grows faster than their number."""
TRAIN, VALIDATION, TEST = range(3)
Splits = NDArray[np.int8]
"""[posts], indices of SPLITS"""
Targets = NDArray[np.bool_]
"""[groups, criteria + 1]: labels, and whether there is none"""
Cut = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Rows that are kept and rows that are cut off, each in order."""


def normalised(text: str) -> str:
    """The text by which two posts count as the same: NFKC, case and white space folded."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def group_duplicates(keys: NDArray[Any]) -> NDArray[np.int64]:
    """A group number per post, counted from 0 in order of appearance; posts with the same key share one."""
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    ranks = np.empty(len(first), dtype=np.int64)
    ranks[np.argsort(first)] = np.arange(len(first))
    return ranks[inverse]


def stratified_split(groups: NDArray[np.int64], labels: NDArray[np.bool_], config: SplitConfig) -> Splits:
    """The split of every post; groups as of group_duplicates, labels [posts, criteria].

    Raises DataError for fewer than LEAST_POSTS different posts.
    """
    of, targets = _grouped(groups, labels)
    held = config.validation_share + config.test_share
    cut = _cutter(targets)
    _, rest = cut(targets, held, config.seed)
    validation, test = cut(targets[rest], config.test_share / held, config.seed + 1)
    by_group = np.full(len(targets), TRAIN, dtype=np.int8)
    by_group[rest[validation]] = VALIDATION
    by_group[rest[test]] = TEST
    _check_none_is_empty(by_group, SPLITS)
    return by_group[of]


def cut_from(
    groups: NDArray[np.int64], labels: NDArray[np.bool_], config: SplitConfig, name: SplitName
) -> Splits:
    """The one split that the data lack, cut from posts that were all to be trained on; see
    stratified_split."""
    of, targets = _grouped(groups, labels)
    share = config.test_share if name == "test" else config.validation_share
    _, held = _cutter(targets)(targets, share, config.seed)
    by_group = np.full(len(targets), TRAIN, dtype=np.int8)
    by_group[held] = SPLITS.index(name)
    _check_none_is_empty(by_group, ("train", name))
    return by_group[of]


def _check_none_is_empty(splits: Splits, names: Collection[SplitName]) -> None:
    empty = [name for name in names if not (splits == SPLITS.index(name)).any()]
    if empty:
        raise DataError(
            f"of {len(splits)} different posts none is left for the {empty[0]} split",
            remedy="add posts, raise corpus.split.*, or name a splits table by corpus.files.splits.",
        )


def _grouped(groups: NDArray[np.int64], labels: NDArray[np.bool_]) -> tuple[NDArray[np.int64], Targets]:
    """(group of every post, counted from 0 without gaps; targets of the first of each)."""
    of = group_duplicates(groups)
    heads = np.unique(of, return_index=True)[1]
    if len(heads) < LEAST_POSTS:
        raise DataError(
            f"expected at least {LEAST_POSTS} different posts to split, found {len(heads)}",
            remedy="add posts, or name a splits table by corpus.files.splits.",
        )
    # A column for "no criterion at all" keeps the hard negatives balanced too.
    return of, np.column_stack([labels[heads], ~labels[heads].any(axis=1)])


def check_splits(
    splits: Splits,
    groups: NDArray[np.int64],
    post_ids: Sequence[str],
    source: str,
    problems: Problems,
    lacking: Collection[SplitName] = (),
) -> None:
    """Add to `problems`: a post without a split (below 0), an empty split but those that are `lacking`, a
    text in two splits."""
    for post in np.flatnonzero(splits < 0).tolist():
        problems.add(
            "a post has no split; expected train, validation or test", f"{source}: {quoted(post_ids[post])}"
        )
    for number, name in enumerate(SPLITS):
        if name not in lacking and not (splits == number).any():
            problems.add("a split is missing; expected at least one post in each", f"{source}: {name}")
    first = np.unique(groups, return_index=True)[1][groups]
    for post in np.flatnonzero(splits != splits[first]).tolist():
        one, other = (f"{quoted(post_ids[at])} ({_name(splits[at])})" for at in (int(first[post]), post))
        problems.add("the same text stands in two splits (leakage)", f"{source}: {one} and {other}")


def _name(split: int) -> str | None:
    return SPLITS[split] if split >= 0 else None


def _cutter(targets: Targets) -> Callable[[Targets, float, int], Cut]:
    return _dealt if len(targets) > MOST_ITERATIVE else _iterative


def _iterative(targets: Targets, share: float, seed: int) -> Cut:
    from iterstrat.ml_stratifiers import MultilabelStratifiedShuffleSplit

    if not 1 <= round(len(targets) * share) < len(targets):
        return _dealt(targets, share, seed)
    splitter = MultilabelStratifiedShuffleSplit(n_splits=1, test_size=share, random_state=seed)
    kept, cut = next(splitter.split(np.zeros((len(targets), 1)), targets.astype(int)))
    if not len(kept) or not len(cut):  # of few posts it may give all to one side
        return _dealt(targets, share, seed)
    return np.sort(kept), np.sort(cut)


def _dealt(targets: Targets, share: float, seed: int) -> Cut:
    """Rows with the same labels stand together in random order, and each share-th of the line is cut: of
    every combination its share, to within one row."""
    shuffled = np.random.default_rng(seed).permutation(len(targets))
    combination = np.unique(np.packbits(targets, axis=1), axis=0, return_inverse=True)[1].reshape(-1)
    line = shuffled[np.argsort(combination[shuffled], kind="stable")]
    steps = np.floor((np.arange(len(line) + 1) + 0.5) * share)
    chosen = np.diff(steps) > 0
    return np.sort(line[~chosen]), np.sort(line[chosen])
