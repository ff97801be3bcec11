"""What a trial is trained on: its encoder, and the tokenised rows of a split."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from thriftune.config import Parameters, suggest
from thriftune.corpus.rows import TokenisedRows
from thriftune.corpus.store import Corpus
from thriftune.corpus.tokens import TokenisedStore
from thriftune.corpus.types import SplitName
from thriftune.dual_agent.batch import Collator
from thriftune.dual_agent.windows import Layout, window_tails
from thriftune.errors import ConfigError
from thriftune.maintenance.fetch import hub_of
from thriftune.model.encoder import Encoder, build_encoder, check_window, resolve_encoder


def encoder_for(parameters: Parameters, corpus: Corpus) -> Encoder:
    """The encoder of a configuration, its window checked."""
    source = resolve_encoder(parameters.encoder, parameters.encoders)
    encoder = build_encoder(
        source,
        lambda: (post.text for post in corpus.posts("train")),
        Path(parameters.corpus.cache),
        hub_of(parameters),
    )
    check_window(encoder, parameters.training.max_length)
    return encoder


def pretrained(parameters: Parameters) -> Encoder:
    """The encoder of a configuration that names one of a package, a folder or the hub, its window checked."""
    source = resolve_encoder(parameters.encoder, parameters.encoders)
    encoder = build_encoder(source, lambda: (), Path(parameters.corpus.cache), hub_of(parameters))
    check_window(encoder, parameters.training.max_length)
    return encoder


def rows_of(parameters: Parameters, corpus: Corpus, encoder: Encoder, split: SplitName) -> TokenisedRows:
    """The tokenised posts of a split; tokenised once per encoder and length, and read from disk."""
    dataset = TokenisedStore(Path(parameters.corpus.cache)).get(
        corpus, split, encoder.tokenizer, encoder.fingerprint, layout_of(parameters, corpus.criteria)
    )
    return TokenisedRows(dataset)


def layout_of(parameters: Parameters, criteria: Sequence[str]) -> Layout:
    """How a configuration reads posts. ConfigError where it describes a criterion that there is not."""
    model, training = parameters.model, parameters.training
    for name in model.descriptions:
        if name not in criteria:
            raise ConfigError(
                f"there is no criterion {name!r}{suggest(name, criteria)}",
                where="model.descriptions",
                remedy=f"the corpus has {', '.join(criteria)}.",
            )
    described = tuple(model.descriptions.get(name, _as_words(name)) for name in criteria)
    return Layout(
        training.max_length,
        training.overlap,
        descriptions=described if model.reading == "pairs" else (),
        token_ranges=model.evidence_agent.weight > 0 and model.evidence_agent.kind != "sentence",
    )


def collator_for(parameters: Parameters, corpus: Corpus, encoder: Encoder) -> Collator:
    """What makes batches of the rows of a configuration."""
    tails = window_tails(encoder.tokenizer, layout_of(parameters, corpus.criteria))
    return Collator(len(corpus.criteria), encoder.pad_token_id, tails)


def _as_words(name: str) -> str:
    return name.replace("_", " ").lower()


class Prepared:
    """What the trial before was trained on, for the next one that takes the same: its encoder, and the rows
    of its encoder and length. Others take their place."""

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus
        self._encoder: tuple[Any, Encoder] | None = None
        self._rows: dict[SplitName, TokenisedRows] = {}
        self._rows_key: tuple[Any, ...] = ()

    def encoder(self, parameters: Parameters) -> Encoder:
        """See encoder_for."""
        source = resolve_encoder(parameters.encoder, parameters.encoders)
        if self._encoder is None or self._encoder[0] != source:
            self._encoder = None
            self._encoder = source, encoder_for(parameters, self._corpus)
        check_window(self._encoder[1], parameters.training.max_length)
        return self._encoder[1]

    def rows(self, parameters: Parameters, encoder: Encoder, split: SplitName) -> TokenisedRows:
        """See rows_of."""
        key = encoder.fingerprint, layout_of(parameters, self._corpus.criteria)
        if key != self._rows_key:
            self._rows, self._rows_key = {}, key
        if split not in self._rows:
            self._rows[split] = rows_of(parameters, self._corpus, encoder, split)
        return self._rows[split]
