"""From raw tables to an ingested corpus: read, check, align, split, write; or reuse (SPEC 4)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import cast

import numpy as np

from thriftune import files
from thriftune.config import CorpusConfig, suggest
from thriftune.corpus.align import NO_SENTENCE, Aligner
from thriftune.corpus.problems import Problems
from thriftune.corpus.report import data_report
from thriftune.corpus.sentences import split_sentences
from thriftune.corpus.sources import Sources, find_sources, listed, read_tables
from thriftune.corpus.splits import check_splits, cut_from, stratified_split
from thriftune.corpus.store import Corpus, CorpusStore
from thriftune.corpus.tables import Table, places
from thriftune.corpus.types import SPLITS, Evidence, Post, SplitName
from thriftune.hub import Hub

RULES_VERSION = 2
"""Raised when reading, alignment or splitting changes what it makes of the same input."""
WHERE_FROM = {"source", "files", "hub", "root", "cache"}
"""Settings that do not decide what is made of the same tables."""


def ingest(
    config: CorpusConfig, store: CorpusStore, log: Callable[[str], None], hub: Hub | None = None
) -> Corpus:
    """The corpus of the configured sources; skipped when it is there already. hub: None for the usual one.

    Raises DataError with all that is wrong with the tables; then nothing was written. ConfigError or
    UnavailableError where the hub does not have them, or cannot be had.
    """
    sources = find_sources(config, hub)
    lacking = _lacking(config, sources)
    revision = sources.revision(config)
    source_key = files.sha256_json(
        {
            "rules": RULES_VERSION,
            "sha256": revision["sha256"],
            "config": config.model_dump(mode="json", exclude=WHERE_FROM),
            "ready_splits": config.hub.splits.model_dump() if sources.posts is None else None,
        }
    )
    corpus = store.find(source_key)
    if corpus is not None:
        log(f"ingest: inputs unchanged, corpus {corpus.fingerprint[:12]} is used again")
        return corpus
    reading = _Reading(config)
    tables = read_tables(config, sources)
    for table in tables.posts:
        reading.posts(table)
    if tables.annotations is not None:
        reading.annotations(tables.annotations)
    if tables.splits is not None:
        reading.own_splits(tables.splits, lacking)
    criteria = reading.criteria()
    reading.problems.raise_if_any()
    posts = {post_id: _post(post_id, reading, criteria) for post_id in reading.texts}
    split = _split(reading.splits, posts, criteria, config, lacking)
    by_split: dict[SplitName, list[Post]] = {
        name: [post for post_id, post in posts.items() if split[post_id] == name] for name in SPLITS
    }
    report = data_report(by_split, criteria, reading.set_aside, revision, reading.shared)
    corpus = store.write(by_split, criteria, source_key, revision, report)
    counts = ", ".join(f"{count} {name}" for name, count in corpus.counts.items())
    shared = f"; {reading.shared} at the place of another sentence" if reading.shared else ""
    log(f"ingest: corpus {corpus.fingerprint[:12]}: {counts}; alignment {report['alignment']}{shared}")
    return corpus


def _lacking(config: CorpusConfig, sources: Sources) -> tuple[SplitName, ...]:
    """The splits that a data set with ready ones has not."""
    if sources.posts is not None:
        return ()
    return tuple(name for name in SPLITS if getattr(config.hub.splits, name) is None)


class _Reading:
    """What the tables say, post by post, and what is wrong with them."""

    def __init__(self, config: CorpusConfig) -> None:
        self.config = config
        self.problems = Problems()
        self.texts: dict[str, str] = {}
        self.rows: dict[str, list[tuple[str, str, int]]] = {}
        """post_id: (criterion, sentence, status)"""
        self.set_aside: Counter[str] = Counter()
        self.shared = 0
        """Annotated sentences that were found where another one of their criterion was."""
        self.splits: dict[str, SplitName] | None = None
        self._first: dict[str, str] = {}

    def posts(self, table: Table) -> None:
        """Texts, and the criteria met where a column lists them: without a sentence that shows it."""
        names = self.config.columns
        for place, cells in places(table):
            post_id, text = cells[names.post_id], cells[names.text]
            if not post_id:
                self.problems.add("a post has an empty id", place)
            elif post_id in self.texts:
                self.problems.add(
                    "a post id stands twice; expected unique ids",
                    f"{place}: {post_id!r}, as {self._first[post_id]}",
                )
            if not text.strip():
                self.problems.add("a post has no text", f"{place}: {post_id!r}")
            self.texts.setdefault(post_id, text)
            self._first.setdefault(post_id, place.rpartition(", ")[2])
            for label in listed(cells[names.labels]) if names.labels else ():
                self._keep(post_id, label, "", "1", place)

    def annotations(self, table: Table) -> None:
        """One row a sentence and criterion."""
        names = self.config.columns
        for place, cells in places(table):
            post_id, criterion = cells[names.post_id], cells[names.criterion]
            status, sentence = cells[names.status], cells[names.sentence]
            if post_id not in self.texts:
                self.problems.add("an annotation is for a post that is not there", f"{place}: {post_id!r}")
            if status not in ("0", "1"):
                self.problems.add("a status is not 0 or 1", f"{place}: {status!r}")
            if not criterion:
                self.problems.add("an annotation has no label", place)
            if not sentence.strip():
                self.problems.add("an annotation has no sentence", place)
            self._keep(post_id, criterion, sentence, status, place)

    def own_splits(self, table: Table, lacking: Collection[SplitName]) -> None:
        """The splits that the data bring; `lacking` ones are cut from train later."""
        self.splits = {}
        for place, cells in places(table):
            post_id, name = cells[self.config.columns.post_id], cells["split"]
            if name not in SPLITS:
                self.problems.add(
                    "a split is not train, validation or test", f"{place}: {name!r}{suggest(name, SPLITS)}"
                )
            if post_id not in self.texts:
                self.problems.add("a split is for a post that is not there", f"{place}: {post_id!r}")
            elif self.splits.setdefault(post_id, cast(SplitName, name)) != name:
                self.problems.add("a post stands in two splits", f"{place}: {post_id!r}")
        check_splits(self.splits, self.texts, table.source, self.problems, lacking)

    def criteria(self) -> tuple[str, ...]:
        """The labels to learn, in order."""
        rows = [row for of_post in self.rows.values() for row in of_post]
        positive = {criterion for criterion, _, status in rows if status == 1}
        if self.config.criteria is None:
            if not positive:
                self.problems.add("no row has status 1: there is nothing to learn", "the annotations")
            return tuple(sorted({criterion for criterion, _, _ in rows}))
        for criterion in self.config.criteria:
            if criterion not in positive:
                self.problems.add(
                    "a label of corpus.criteria has no row with status 1",
                    f"{criterion!r}{suggest(criterion, positive)}",
                )
        return self.config.criteria

    def _keep(self, post_id: str, criterion: str, sentence: str, status: str, place: str) -> None:
        if criterion in self.config.set_aside:
            self.set_aside[criterion] += 1
            return
        known = self.config.criteria
        if known is not None and criterion and criterion not in known:
            self.problems.add(
                "a label is unknown; add it to corpus.criteria or corpus.set_aside",
                f"{place}: {criterion!r}{suggest(criterion, known)}",
            )
        if status in ("0", "1"):
            self.rows.setdefault(post_id, []).append((criterion, sentence, int(status)))


def _post(post_id: str, reading: _Reading, criteria: tuple[str, ...]) -> Post:
    text = reading.texts[post_id]
    sentences = split_sentences(text)
    aligner = Aligner(text, sentences, reading.config.alignment_threshold)
    evidence = []
    for criterion, sentence, status in reading.rows.get(post_id, []):
        place = aligner.align(sentence, criterion) if sentence else NO_SENTENCE
        evidence.append(Evidence(criterion, status, place.start, place.end, place.found, place.similarity))
    reading.shared += aligner.shared
    met = {item.criterion for item in evidence if item.status == 1}
    return Post(
        post_id=post_id,
        text=text,
        criteria=tuple(criterion for criterion in criteria if criterion in met),
        evidence=tuple(evidence),
        sentences=sentences,
    )


def _split(
    given: Mapping[str, SplitName] | None,
    posts: Mapping[str, Post],
    criteria: tuple[str, ...],
    config: CorpusConfig,
    lacking: Collection[SplitName],
) -> dict[str, SplitName]:
    """The data's own splits; what they lack is cut from train, all of it where they have train alone."""
    if given is not None and not lacking:
        return dict(given)
    train = [post for post in posts.values() if given is None or given[post.post_id] == "train"]
    texts = [post.text for post in train]
    labels = np.array([[c in post.criteria for c in criteria] for post in train], dtype=bool)
    if given is None or len(lacking) > 1:
        names = stratified_split(texts, labels, config.split)
    else:
        names = cut_from(texts, labels, config.split, *lacking)
    return dict(given or {}) | dict(zip((post.post_id for post in train), names, strict=True))
