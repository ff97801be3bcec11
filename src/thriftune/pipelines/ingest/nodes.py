"""From raw tables to the ingested corpus and its data report."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from thriftune import corpus as corpus_room

if TYPE_CHECKING:
    from thriftune.config import Parameters
    from thriftune.corpus import Corpus, CorpusStore
    from thriftune.corpus.report import DataReport


def ingest_corpus(corpora: CorpusStore, settings: Parameters) -> tuple[Corpus, DataReport]:
    """Read, check, align and split the posts; nothing is done where its inputs are unchanged.

    Args:
        corpora: Where the corpus is kept.
        settings: The parameters of this run.

    Returns:
        The corpus, and its data report as JSON.
    """
    corpus = corpus_room.ingest(settings.corpus, corpora, logging.getLogger(__name__).info)
    return corpus, corpus.data_report()
