"""From raw tables to an ingested corpus: read and check, split, align and write; or reuse."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from thriftune import files
from thriftune.config import CorpusConfig
from thriftune.corpus.reading import Reading
from thriftune.corpus.report import data_report
from thriftune.corpus.sources import Sources, find_sources, read_tables
from thriftune.corpus.store import Corpus, CorpusStore
from thriftune.corpus.types import SPLITS, SplitName
from thriftune.corpus.writing import make_posts, sentence_counts
from thriftune.errors import DataError
from thriftune.hub import Hub

RULES_VERSION = 3
"""Raised when reading, alignment or splitting changes what it makes of the same input."""
WHERE_FROM = {"source", "files", "hub", "root", "cache"}
"""Settings that do not decide what is made of the same tables."""


def ingest(
    config: CorpusConfig, store: CorpusStore, log: Callable[[str], None], hub: Hub | None = None
) -> Corpus:
    """The corpus of the configured sources; skipped when it is there already, continued where a process that
    wrote it was killed. hub: None for the usual one.

    The posts are read twice, one at a time: once to check and to split them, once to write them. Raises
    DataError with all that is wrong with the tables; then nothing was written. ConfigError or
    UnavailableError where the hub does not have them, or cannot be had.
    """
    sources = find_sources(config, hub)
    lacking = _lacking(config, sources)
    revision = sources.revision(config)
    source_key = _source_key(config, sources, revision)
    corpus = store.find(source_key)
    if corpus is not None:
        store.tidy()
        log(f"ingest: inputs unchanged, corpus {corpus.fingerprint[:12]} is used again")
        return corpus
    tables = read_tables(config, sources)
    plan = Reading(config).plan(tables, lacking)
    with store.making(source_key) as folder:
        corpus = store.find(source_key)  # another process was quicker
        if corpus is None:
            made = make_posts(folder, tables.posts, plan, config)
            report = data_report(plan, made, sentence_counts(folder), revision)
            corpus = store.commit(folder, plan.criteria, source_key, revision, report)
    plan.annotations.close()
    report = corpus.data_report()
    counts = ", ".join(f"{count} {name}" for name, count in corpus.counts.items())
    shared = report["alignment_shared"]
    at_another = f"; {shared} at the place of another sentence" if shared else ""
    log(f"ingest: corpus {corpus.fingerprint[:12]}: {counts}; alignment {report['alignment']}{at_another}")
    return corpus


def ingested(config: CorpusConfig, store: CorpusStore) -> Corpus | None:
    """The corpus of the configured sources, where it is there already; nothing is downloaded to find out."""
    if config.source == "hub":
        return None
    try:
        sources = find_sources(config)
        return store.find(_source_key(config, sources, sources.revision(config)))
    except DataError:
        return None


def _source_key(config: CorpusConfig, sources: Sources, revision: Mapping[str, Any]) -> str:
    """Of all that decides what is made of the tables."""
    return files.sha256_json(
        {
            "rules": RULES_VERSION,
            "sha256": revision["sha256"],
            "config": config.model_dump(mode="json", exclude=WHERE_FROM),
            "ready_splits": config.hub.splits.model_dump() if sources.posts is None else None,
        }
    )


def _lacking(config: CorpusConfig, sources: Sources) -> tuple[SplitName, ...]:
    """The splits that a data set with ready ones has not."""
    if sources.posts is not None:
        return ()
    return tuple(name for name in SPLITS if getattr(config.hub.splits, name) is None)
