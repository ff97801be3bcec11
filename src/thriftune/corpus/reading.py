"""The first pass over the tables: finds everything that is wrong with them, and plans the splits.

Of a post, only its id and a hash of its text stay in memory.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from thriftune.config import CorpusConfig, suggest
from thriftune.corpus.annotation_spool import AnnotationSpool
from thriftune.corpus.problems import Problems, quoted
from thriftune.corpus.sources import Tables, listed
from thriftune.corpus.splits import check_splits, cut_from, group_duplicates, normalised, stratified_split
from thriftune.corpus.tables import Table
from thriftune.corpus.types import SPLITS, SplitName

TEXT_KEY_BYTES = 16
NO_SPLIT = -1


@dataclass(frozen=True)
class Plan:
    """The result of the first pass; posts are numbered in the order of their tables."""

    criteria: tuple[str, ...]
    splits: NDArray[np.int8]
    """[posts], indices of SPLITS"""
    met: NDArray[np.bool_]
    """[posts, criteria], whether the post meets the criterion"""
    text_keys: NDArray[np.void]
    """[posts], hashes of the normalised texts"""
    words: NDArray[np.uint32]
    """[posts], number of words between white space"""
    annotations: AnnotationSpool
    set_aside: Mapping[str, int]
    """Annotations by the label that the configuration sets aside."""
    duplicates: int
    """Posts with the same text as an earlier one."""


def text_key(text: str) -> bytes:
    """Return a hash of the normalised text, TEXT_KEY_BYTES long.

    Args:
        text: A post.
    """
    return hashlib.blake2b(normalised(text).encode("utf-8"), digest_size=TEXT_KEY_BYTES).digest()


class TableScan:
    """Reads and checks tables, once.

    Args:
        config: The corpus section.
    """

    def __init__(self, config: CorpusConfig) -> None:
        self._config = config
        self._problems = Problems()
        self._ids: dict[str, int] = {}
        self._read: list[Table] = []
        self._rows, self._tables = array("q"), array("b")
        self._keys = bytearray()
        self._words = array("I")
        self._spool = AnnotationSpool()
        self._set_aside: Counter[str] = Counter()

    def plan(self, tables: Tables, lacking: Collection[SplitName]) -> Plan:
        """Return the plan of the corpus; DataError with everything that is wrong with the tables.

        Args:
            tables: Posts, annotations and splits.
            lacking: Splits that a data set with ready splits lacks; they are cut from train.
        """
        for table in tables.posts:
            self._posts(table)
        if tables.annotations is not None:
            self._annotations(tables.annotations)
        self._spool.finish()
        keys = np.frombuffer(bytes(self._keys), dtype=f"V{TEXT_KEY_BYTES}")
        groups = group_duplicates(keys)
        splits = self._own_splits(tables, groups, lacking)
        criteria = self._criteria()
        self._problems.raise_if_any()
        met = self._met(criteria)
        return Plan(
            criteria=criteria,
            splits=self._split(splits, groups, met, lacking),
            met=met,
            text_keys=keys,
            words=np.array(self._words, dtype=np.uint32),
            annotations=self._spool,
            set_aside=self._set_aside,
            duplicates=len(groups) - len(np.unique(groups)),
        )

    def _posts(self, table: Table) -> None:
        """Read posts, and the criteria that they meet if a column lists them."""
        names, problems = self._config.columns, self._problems
        self._read.append(table)
        for row, cells in table.rows:
            post_id, text = cells[names.post_id], cells[names.text]
            if not post_id:
                problems.add("a post has an empty id", table.place(row))
            if not text.strip():
                problems.add("a post has no text", f"{table.place(row)}: {quoted(post_id)}")
            try:
                key = text_key(text)
                post_id.encode("utf-8")
            except UnicodeEncodeError:
                problems.add("a post has half a character (a lone surrogate)", table.place(row))
                continue
            number = self._ids.setdefault(post_id, len(self._ids))
            if number < len(self._rows):
                first = self._read[self._tables[number]]
                earlier = f"row {self._rows[number]}" + ("" if first is table else f" of {first.source}")
                problems.add(
                    "a post id occurs twice; expected unique ids",
                    f"{table.place(row)}: {quoted(post_id)}, as {earlier}",
                )
            else:
                self._rows.append(row)
                self._tables.append(len(self._read) - 1)
                self._keys += key
                self._words.append(len(text.split()))
            if names.labels:
                self._labels(number, cells[names.labels], post_id, table, row)

    def _labels(self, post: int, labels: str, post_id: str, table: Table, row: int) -> None:
        """Keep the criteria that a post lists; no sentence shows them."""
        problems = self._problems
        names: list[str] = []
        try:
            names = listed(labels)
        except TypeError as error:
            problems.add("a post lists a label that is not text", f"{table.place(row)}: {error}")
        for label in names:
            if not label.strip():
                problems.add("a post lists an empty label", f"{table.place(row)}: {quoted(post_id)}")
            self._keep(post, label.strip(), "", "1", table, row)

    def _annotations(self, table: Table) -> None:
        """Read annotations, one row per sentence and criterion."""
        names, problems = self._config.columns, self._problems
        for row, cells in table.rows:
            post_id, criterion = cells[names.post_id], cells[names.criterion].strip()
            status, sentence = cells[names.status], cells[names.sentence]
            if post_id not in self._ids:
                problems.add(
                    "an annotation refers to an unknown post", f"{table.place(row)}: {quoted(post_id)}"
                )
            if status not in ("0", "1"):
                problems.add("a status is not 0 or 1", f"{table.place(row)}: {quoted(status)}")
            if not criterion:
                problems.add("an annotation has no label", table.place(row))
            if not sentence.strip():
                problems.add("an annotation has no sentence", table.place(row))
            self._keep(self._ids.get(post_id, -1), criterion, sentence, status, table, row)

    def _keep(self, post: int, criterion: str, sentence: str, status: str, table: Table, row: int) -> None:
        if criterion in self._config.set_aside:
            self._set_aside[criterion] += 1
            return
        known = self._config.criteria
        if known is not None and criterion and criterion not in known:
            self._problems.add(
                "a label is unknown; add it to corpus.criteria or corpus.set_aside",
                f"{table.place(row)}: {quoted(criterion)}{suggest(criterion, known)}",
            )
        try:
            if status in ("0", "1"):
                f"{criterion}{sentence}".encode()
                self._spool.add(post, criterion, sentence, int(status))
        except UnicodeEncodeError:
            self._problems.add("an annotation has half a character (a lone surrogate)", table.place(row))

    def _own_splits(
        self, tables: Tables, groups: NDArray[np.int64], lacking: Collection[SplitName]
    ) -> NDArray[np.int8] | None:
        """Return the data's own splits, NO_SPLIT for posts without one; None if the data have no splits."""
        splits = np.full(len(groups), NO_SPLIT, dtype=np.int8)
        if all(table.split is not None for table in tables.posts):
            ready = np.array([SPLITS.index(table.split) for table in tables.posts if table.split])
            splits[:] = ready[np.array(self._tables, dtype=int)]
            source = tables.posts[0].source.rpartition(", split ")[0]
        elif tables.splits is not None:
            self._named_splits(tables.splits, splits)
            source = tables.splits.source
        else:
            return None
        check_splits(splits, groups, list(self._ids), source, self._problems, lacking)
        return splits

    def _named_splits(self, table: Table, splits: NDArray[np.int8]) -> None:
        for row, cells in table.rows:
            post_id, name = cells[self._config.columns.post_id], cells["split"]
            post = self._ids.get(post_id)
            if name not in SPLITS:
                self._problems.add(
                    "a split is not train, validation or test",
                    f"{table.place(row)}: {quoted(name)}{suggest(name, SPLITS)}",
                )
            if post is None:
                self._problems.add(
                    "a split refers to an unknown post", f"{table.place(row)}: {quoted(post_id)}"
                )
            elif name in SPLITS:
                if splits[post] not in (NO_SPLIT, SPLITS.index(name)):
                    self._problems.add("a post is in two splits", f"{table.place(row)}: {quoted(post_id)}")
                splits[post] = SPLITS.index(name)

    def _criteria(self) -> tuple[str, ...]:
        """Return the labels to learn, in order."""
        counts = self._spool.counts()
        positive = {criterion for criterion, status in counts if status == 1}
        if self._config.criteria is None:
            if not positive:
                self._problems.add("no row has status 1: there is nothing to learn", "the annotations")
            return tuple(sorted({criterion for criterion, _ in counts}))
        for criterion in self._config.criteria:
            if criterion not in positive:
                self._problems.add(
                    "a label of corpus.criteria has no row with status 1",
                    f"{quoted(criterion)}{suggest(criterion, positive)}",
                )
        return self._config.criteria

    def _met(self, criteria: tuple[str, ...]) -> NDArray[np.bool_]:
        column = {criterion: at for at, criterion in enumerate(criteria)}
        met = np.zeros((len(self._ids), len(criteria)), dtype=bool)
        for post, criterion in self._spool.met():
            met[post, column[criterion]] = True
        return met

    def _split(
        self,
        given: NDArray[np.int8] | None,
        groups: NDArray[np.int64],
        met: NDArray[np.bool_],
        lacking: Collection[SplitName],
    ) -> NDArray[np.int8]:
        """Return the splits of all posts; those that the data lack are cut from train."""
        config = self._config.split
        if given is None:
            return stratified_split(groups, met, config)
        if not lacking:
            return given
        train = given == SPLITS.index("train")
        splits = given.copy()
        splits[train] = (
            stratified_split(groups[train], met[train], config)
            if len(lacking) > 1
            else cut_from(groups[train], met[train], config, *lacking)
        )
        return splits
