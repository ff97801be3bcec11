"""Bytes that the test evaluation leaves, and those of tokenised splits."""

from __future__ import annotations

from thriftune.config import Parameters
from thriftune.evaluation.examples import KINDS
from thriftune.forecast.corpus_size import CorpusSize
from thriftune.training.optimisation import configured_values

TOKENS_PER_CORPUS_BYTE, WITH_RANGES = 2.6, 4.1
"""Bytes of tokenised splits per byte of ingested ones, measured on the sample; the same with each token's
characters."""
PREDICTION_BYTES_PER_CRITERION, PREDICTION_BYTES, EVALUATION_BYTES = 110, 700, 120_000
"""A post in predictions.jsonl; evaluation.json with the page."""
PAGE_BYTES_PER_TRIAL, QUOTE_BYTES = 400, 2_500
"""A trial in the charts and tables of report.html; a post that it quotes."""


def evaluation_bytes(size: CorpusSize, settings: Parameters) -> int:
    """Return the bytes that the test evaluation writes: tokens of the test split, predictions, page.

    Args:
        size: The corpus, ingested or assumed.
        settings: The study's parameters.
    """
    tokens = token_bytes(settings, size.split_bytes["test"])
    per_post = PREDICTION_BYTES_PER_CRITERION * len(size.criteria) + PREDICTION_BYTES
    quotes = QUOTE_BYTES * settings.evaluation.examples * len(KINDS) * len(size.criteria)
    page = PAGE_BYTES_PER_TRIAL * settings.study.trials + quotes
    return tokens + size.posts["test"] * per_post + EVALUATION_BYTES + page


def token_bytes(settings: Parameters, split_bytes: int) -> int:
    """Return the bytes of tokenised splits.

    Args:
        settings: The study's parameters.
        split_bytes: The bytes of the same splits as they were ingested.
    """
    kinds = configured_values(settings, "model.evidence_agent.kind", settings.model.evidence_agent.kind)
    return round((TOKENS_PER_CORPUS_BYTE if kinds == {"sentence"} else WITH_RANGES) * split_bytes)
