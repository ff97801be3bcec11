"""Ingestion: read and check tables, split, align and write the corpus; or reuse one."""

from __future__ import annotations

from collections.abc import Callable

from thriftune import files
from thriftune.config import CorpusConfig
from thriftune.corpus.reading import TableScan
from thriftune.corpus.report import data_report
from thriftune.corpus.sources import Revision, Sources, find_sources, read_tables
from thriftune.corpus.store import Corpus, CorpusStore
from thriftune.corpus.types import SPLITS, SplitName
from thriftune.corpus.writing import make_posts, sentence_counts
from thriftune.errors import DataError
from thriftune.hub import Hub

RULES_VERSION = 3
"""To be raised when reading, alignment or splitting changes its result for the same input."""
WHERE_FROM = {"source", "files", "hub", "root", "cache"}
"""Settings that do not affect the corpus made of the same tables."""


def ingest(
    config: CorpusConfig, store: CorpusStore, log: Callable[[str], None], hub: Hub | None = None
) -> Corpus:
    """Return the corpus of the configured sources, made now unless it exists.

    If a process that made it was killed, its work is continued. Posts are read twice, one at a time: once to
    check and split them, once to write them. It is a DataError, with everything that is wrong, if the tables
    cannot be used, and then nothing is written; a ConfigError or UnavailableError if the hub does not have
    the data or cannot be reached.

    Args:
        config: The corpus section.
        store: Where the corpus is kept.
        log: Called with a line for the user.
        hub: None for the usual one.
    """
    sources = find_sources(config, hub)
    lacking = _missing_splits(config, sources)
    revision = sources.revision(config)
    source_key = _source_key(config, sources, revision)
    corpus = store.find(source_key)
    if corpus is not None:
        store.tidy()
        log(f"ingest: inputs unchanged, corpus {corpus.fingerprint[:12]} is reused")
        return corpus
    tables = read_tables(config, sources)
    plan = TableScan(config).plan(tables, lacking)
    with store.writing(source_key) as folder:
        corpus = store.find(source_key)  # another process may have made it meanwhile
        if corpus is None:
            progress = make_posts(folder, tables.posts, plan, config)
            report = data_report(plan, progress, sentence_counts(folder), revision)
            corpus = store.commit(folder, plan.criteria, source_key, revision, report)
    plan.annotations.close()
    report = corpus.data_report()
    counts = ", ".join(f"{count} {name}" for name, count in corpus.counts.items())
    shared = report["alignment_shared"]
    at_another = f"; {shared} at the place of another sentence" if shared else ""
    log(f"ingest: corpus {corpus.fingerprint[:12]}: {counts}; alignment {report['alignment']}{at_another}")
    return corpus


def ingested(config: CorpusConfig, store: CorpusStore) -> Corpus | None:
    """Return the corpus of the configured sources if it exists, without downloading anything; else None.

    Args:
        config: The corpus section; with `source: hub` the result is None.
        store: Where the corpus is kept.
    """
    if config.source == "hub":
        return None
    try:
        sources = find_sources(config)
        return store.find(_source_key(config, sources, sources.revision(config)))
    except DataError:
        return None


def _source_key(config: CorpusConfig, sources: Sources, revision: Revision) -> str:
    """Return a hash of all files and settings that affect the corpus."""
    return files.sha256_json(
        {
            "rules": RULES_VERSION,
            "sha256": revision["sha256"],
            "config": config.model_dump(mode="json", exclude=WHERE_FROM),
            "ready_splits": config.hub.splits.model_dump() if sources.posts is None else None,
        }
    )


def _missing_splits(config: CorpusConfig, sources: Sources) -> tuple[SplitName, ...]:
    """Return the splits that a data set with ready splits lacks."""
    if sources.posts is not None:
        return ()
    return tuple(name for name in SPLITS if getattr(config.hub.splits, name) is None)
