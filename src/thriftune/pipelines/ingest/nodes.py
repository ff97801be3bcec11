"""From raw tables to the ingested corpus and its data report."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thriftune.config import Parameters
    from thriftune.corpus.store import Corpus, CorpusStore


def ingest_corpus(corpora: CorpusStore, settings: Parameters) -> tuple[Corpus, dict[str, Any]]:
    """Read, check, align and split the posts; skipped when its inputs are unchanged."""
    from thriftune.corpus.ingestion import ingest

    corpus = ingest(settings.corpus, corpora, logging.getLogger(__name__).info)
    return corpus, corpus.data_report()
