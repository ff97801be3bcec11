"""From raw tables to an ingested corpus: read, check, align, split, write; or reuse (SPEC 4)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from thriftune import files
from thriftune.config import CorpusConfig, suggest
from thriftune.corpus.align import Aligner
from thriftune.corpus.problems import Problems
from thriftune.corpus.report import data_report
from thriftune.corpus.sentences import split_sentences
from thriftune.corpus.splits import check_splits, stratified_split
from thriftune.corpus.store import Corpus, CorpusStore
from thriftune.corpus.tables import Table, no_such_file, places, read_table
from thriftune.corpus.types import SPLITS, Evidence, Post, SplitName

SAMPLE = Path(__file__).parent / "sample_data"
RULES_VERSION = 1
"""Raised when reading, alignment or splitting changes what it makes of the same input."""


@dataclass(frozen=True)
class Sources:
    """The files that a corpus is made from."""

    posts: Path
    annotations: Path
    splits: Path | None


@dataclass
class _Raw:
    """Checked tables: texts by id, annotation rows by post, labels set aside."""

    texts: dict[str, str]
    rows: dict[str, list[tuple[str, str, int]]] = field(default_factory=dict)
    """post_id: (criterion, sentence, status)"""
    set_aside: Counter[str] = field(default_factory=Counter)
    splits: dict[str, SplitName] | None = None


def ingest(config: CorpusConfig, store: CorpusStore, log: Callable[[str], None]) -> Corpus:
    """The corpus of the configured sources; skipped when it is there already.

    Raises DataError with all that is wrong with the tables; then nothing was written.
    """
    sources = _sources(config)
    revision = _revision(config, sources)
    source_key = files.sha256_json(
        {
            "rules": RULES_VERSION,
            "sha256": revision["sha256"],
            "config": config.model_dump(mode="json", exclude={"root", "files", "source"}),
        }
    )
    corpus = store.find(source_key)
    if corpus is not None:
        log(f"ingest: inputs unchanged, corpus {corpus.fingerprint[:12]} is used again")
        return corpus
    problems = Problems()
    raw = _read(config, sources, problems)
    criteria = _criteria(config, raw, problems)
    problems.raise_if_any()
    posts = {post_id: _post(post_id, raw, config, criteria) for post_id in raw.texts}
    split = raw.splits or _split(posts, criteria, config)
    by_split: dict[SplitName, list[Post]] = {
        name: [post for post_id, post in posts.items() if split[post_id] == name] for name in SPLITS
    }
    report = data_report(by_split, criteria, raw.set_aside, revision)
    corpus = store.write(by_split, criteria, source_key, revision, report)
    counts = ", ".join(f"{count} {name}" for name, count in corpus.counts.items())
    log(f"ingest: corpus {corpus.fingerprint[:12]}: {counts}; alignment {report['alignment']}")
    return corpus


def _sources(config: CorpusConfig) -> Sources:
    if config.source == "sample":
        return Sources(SAMPLE / "posts.csv", SAMPLE / "annotations.csv", None)
    named = config.files
    splits = Path(named.splits) if named.splits is not None else None
    return Sources(Path(named.posts or ""), Path(named.annotations or ""), splits)


def _revision(config: CorpusConfig, sources: Sources) -> dict[str, Any]:
    hashes: dict[str, str] = {}
    for name in ("posts", "annotations", "splits"):
        path = getattr(sources, name)
        if path is None:
            continue
        if not path.is_file():
            raise no_such_file(path, f"corpus.files.{name}")
        hashes[name] = files.sha256_file(path)
    return {"source": config.source, "sha256": hashes}


def _read(config: CorpusConfig, sources: Sources, problems: Problems) -> _Raw:
    names = config.columns
    posts = read_table(sources.posts, [names.post_id, names.text], "corpus.files.posts")
    annotations = read_table(
        sources.annotations,
        [names.post_id, names.sentence, names.criterion, names.status],
        "corpus.files.annotations",
    )
    raw = _Raw(texts=_texts(posts, config, problems))
    _annotations(annotations, config, raw, problems)
    if sources.splits is not None:
        table = read_table(sources.splits, [names.post_id, "split"], "corpus.files.splits")
        raw.splits = _own_splits(table, config, raw, problems)
        check_splits(raw.splits, raw.texts, str(sources.splits), problems)
    return raw


def _texts(table: Table, config: CorpusConfig, problems: Problems) -> dict[str, str]:
    texts: dict[str, str] = {}
    first: dict[str, str] = {}
    for place, cells in places(table):
        post_id, text = cells[config.columns.post_id], cells[config.columns.text]
        if not post_id:
            problems.add("a post has an empty id", place)
        elif post_id in texts:
            problems.add(
                "a post id stands twice; expected unique ids", f"{place}: {post_id!r}, as {first[post_id]}"
            )
        if not text.strip():
            problems.add("a post has no text", f"{place}: {post_id!r}")
        texts.setdefault(post_id, text)
        first.setdefault(post_id, place.rpartition(", ")[2])
    return texts


def _annotations(table: Table, config: CorpusConfig, raw: _Raw, problems: Problems) -> None:
    names = config.columns
    for place, cells in places(table):
        post_id, criterion = cells[names.post_id], cells[names.criterion]
        status, sentence = cells[names.status], cells[names.sentence]
        if post_id not in raw.texts:
            problems.add("an annotation is for a post that is not there", f"{place}: {post_id!r}")
        if status not in ("0", "1"):
            problems.add("a status is not 0 or 1", f"{place}: {status!r}")
        if not criterion:
            problems.add("an annotation has no label", place)
        if not sentence.strip():
            problems.add("an annotation has no sentence", place)
        if criterion in config.set_aside:
            raw.set_aside[criterion] += 1
            continue
        if config.criteria is not None and criterion and criterion not in config.criteria:
            problems.add(
                "a label is unknown; add it to corpus.criteria or corpus.set_aside",
                f"{place}: {criterion!r}{suggest(criterion, config.criteria)}",
            )
        if status in ("0", "1"):
            raw.rows.setdefault(post_id, []).append((criterion, sentence, int(status)))


def _own_splits(table: Table, config: CorpusConfig, raw: _Raw, problems: Problems) -> dict[str, SplitName]:
    splits: dict[str, SplitName] = {}
    for place, cells in places(table):
        post_id, name = cells[config.columns.post_id], cells["split"]
        if name not in SPLITS:
            problems.add(
                "a split is not train, validation or test",
                f"{place}: {name!r}{suggest(name, SPLITS)}",
            )
        if post_id not in raw.texts:
            problems.add("a split is for a post that is not there", f"{place}: {post_id!r}")
        elif splits.setdefault(post_id, cast(SplitName, name)) != name:
            problems.add("a post stands in two splits", f"{place}: {post_id!r}")
    return splits


def _criteria(config: CorpusConfig, raw: _Raw, problems: Problems) -> tuple[str, ...]:
    positive = {criterion for rows in raw.rows.values() for criterion, _, status in rows if status == 1}
    if config.criteria is None:
        found = {criterion for rows in raw.rows.values() for criterion, _, _ in rows}
        if not positive:
            problems.add("no annotation has status 1: there is nothing to learn", "the annotations table")
        return tuple(sorted(found))
    for criterion in config.criteria:
        if criterion not in positive:
            problems.add(
                "a label of corpus.criteria has no row with status 1",
                f"{criterion!r}{suggest(criterion, positive)}",
            )
    return config.criteria


def _post(post_id: str, raw: _Raw, config: CorpusConfig, criteria: tuple[str, ...]) -> Post:
    text = raw.texts[post_id]
    sentences = split_sentences(text)
    aligner = Aligner(text, sentences, config.alignment_threshold)
    rows = raw.rows.get(post_id, [])
    evidence = []
    for criterion, sentence, status in rows:
        place = aligner.align(sentence, criterion)
        evidence.append(Evidence(criterion, status, place.start, place.end, place.found, place.similarity))
    met = {item.criterion for item in evidence if item.status == 1}
    return Post(
        post_id=post_id,
        text=text,
        criteria=tuple(criterion for criterion in criteria if criterion in met),
        evidence=tuple(evidence),
        sentences=sentences,
    )


def _split(
    posts: Mapping[str, Post], criteria: tuple[str, ...], config: CorpusConfig
) -> dict[str, SplitName]:
    labels = np.array([[c in post.criteria for c in criteria] for post in posts.values()], dtype=bool)
    names = stratified_split([post.text for post in posts.values()], labels, config.split)
    return dict(zip(posts, names, strict=True))
