"""Splits by post: the user's own, else seeded and stratified by all labels.

Posts with the same normalised text form a group, which goes to one split. The stratification is iterative
(Sechidis, Tsoumakas and Vlahavas, 2011), by the library iterative-stratification; above MOST_ITERATIVE posts,
each combination of labels is split on its own.
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
"""Most different posts for iterative stratification, whose time grows faster than their number."""
TRAIN, VALIDATION, TEST = range(3)
Splits = NDArray[np.int8]
"""[posts], indices of SPLITS"""
Targets = NDArray[np.bool_]
"""[groups, criteria + 1]: labels, and whether the group has none"""
Cut = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Rows that are kept and rows that are held out, each in order."""


def normalised(text: str) -> str:
    """Return the text by which two posts count as equal: NFKC, case and white space folded.

    Args:
        text: A post.
    """
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def group_duplicates(keys: NDArray[Any]) -> NDArray[np.int64]:
    """Return the group of each post; posts with the same key share one.

    Args:
        keys: `[posts]`, any sortable dtype.

    Returns:
        `[posts]` int64, counted from 0 in order of appearance.
    """
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    ranks = np.empty(len(first), dtype=np.int64)
    ranks[np.argsort(first)] = np.arange(len(first))
    return ranks[inverse]


def stratified_split(groups: NDArray[np.int64], labels: NDArray[np.bool_], config: SplitConfig) -> Splits:
    """Return the split of every post.

    It is a DataError if there are fewer than LEAST_POSTS different posts, or a split would be empty.

    Args:
        groups: `[posts]` int64, as group_duplicates returned them.
        labels: `[posts, criteria]` bool, whether the post meets the criterion.
        config: Shares and seed.

    Returns:
        `[posts]` int8, indices of SPLITS.
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
    """Return training posts with one missing split cut from them.

    It is a DataError if there are too few posts, see stratified_split.

    Args:
        groups: `[posts]` int64, see group_duplicates.
        labels: `[posts, criteria]` bool, whether the post meets the criterion.
        config: Shares and seed.
        name: The missing split.

    Returns:
        `[posts]` int8, indices of SPLITS: train, or the missing one.
    """
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
            f"no post is left for the {empty[0]} split, of {len(splits)} distinct posts",
            remedy="add posts, raise corpus.split.*, or name a splits table by corpus.files.splits.",
        )


def _grouped(groups: NDArray[np.int64], labels: NDArray[np.bool_]) -> tuple[NDArray[np.int64], Targets]:
    """Return the group of every post, counted from 0 without gaps, and each group's targets."""
    of = group_duplicates(groups)
    heads = np.unique(of, return_index=True)[1]
    if len(heads) < LEAST_POSTS:
        raise DataError(
            f"expected at least {LEAST_POSTS} distinct posts to split, found {len(heads)}",
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
    """Note what is wrong with splits: posts without one, empty splits, a text in two splits.

    Args:
        splits: `[posts]` int8, indices of SPLITS; below 0 for none.
        groups: `[posts]` int64, see group_duplicates.
        post_ids: Ids of the posts.
        source: The table with the splits, for messages.
        problems: Where problems are noted.
        lacking: Splits that may be empty.
    """
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
        problems.add("the same text is in two splits (leakage)", f"{source}: {one} and {other}")


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
    if not len(kept) or not len(cut):  # with few posts it may put all on one side
        return _dealt(targets, share, seed)
    return np.sort(kept), np.sort(cut)


def _dealt(targets: Targets, share: float, seed: int) -> Cut:
    """Return a cut with the same share of every combination of labels, to within one row.

    Rows are sorted by combination, in random order within each, and taken at regular steps.
    """
    shuffled = np.random.default_rng(seed).permutation(len(targets))
    combination = np.unique(np.packbits(targets, axis=1), axis=0, return_inverse=True)[1].reshape(-1)
    line = shuffled[np.argsort(combination[shuffled], kind="stable")]
    steps = np.floor((np.arange(len(line) + 1) + 0.5) * share)
    chosen = np.diff(steps) > 0
    return np.sort(line[~chosen]), np.sort(line[chosen])
