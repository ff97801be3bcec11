"""What a trial is trained on: its encoder, and the tokenised rows of a split."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Any

import torch

from thriftune.checkpoints.tensors import describe
from thriftune.config import Parameters, suggest
from thriftune.corpus.rows import Row, TokenisedRows, column
from thriftune.corpus.store import Corpus
from thriftune.corpus.tokens import TokenisedStore
from thriftune.corpus.types import SplitName
from thriftune.dual_agent.batch import Collator
from thriftune.dual_agent.windows import Layout, window_tails
from thriftune.errors import ConfigError
from thriftune.model.encoder import Encoder, allow_recomputation, build_encoder, check_window
from thriftune.model.losses import positive_weights
from thriftune.model.trainable import DualAgent
from thriftune.training.seeding import seed_everything
from thriftune.training.sources import encoder_source, hub_of

COUNTED_TOGETHER = 4096
"""Rows of targets that are in memory at once while class weights are computed."""


def encoder_for(parameters: Parameters, corpus: Corpus) -> Encoder:
    """The encoder of a configuration, its window checked."""
    source = encoder_source(parameters)
    encoder = build_encoder(
        source,
        lambda: (post.text for post in corpus.posts("train")),
        parameters.corpus.cache_folder,
        hub_of(parameters.corpus),
    )
    check_window(encoder, parameters.training.max_length)
    return encoder


def pretrained(parameters: Parameters) -> Encoder:
    """The encoder of a configuration that names one of a package, a folder or the hub, its window checked."""
    source = encoder_source(parameters)
    encoder = build_encoder(source, lambda: (), parameters.corpus.cache_folder, hub_of(parameters.corpus))
    check_window(encoder, parameters.training.max_length)
    return encoder


def rows_of(parameters: Parameters, corpus: Corpus, encoder: Encoder, split: SplitName) -> TokenisedRows:
    """The tokenised posts of a split; tokenised once per encoder and length, and read from disk."""
    dataset = TokenisedStore(parameters.corpus.cache_folder).get(
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
        source = encoder_source(parameters)
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


def build_agent(parameters: Parameters, encoder: Encoder, criteria: tuple[str, ...]) -> DualAgent:
    """The dual agent of a configuration. All generators are seeded first: weights that are drawn, a frozen
    base among them, are the same whoever builds it."""
    seed_everything(parameters.study.seed)
    source = {"id": parameters.encoder, "fingerprint": encoder.fingerprint}
    model, training = encoder.instantiate(), parameters.training
    if training.gradient_checkpointing:
        allow_recomputation(model)
    return DualAgent(model, parameters.model, criteria, source, training.precision)


def signature_of(agent: DualAgent) -> dict[str, Any]:
    """What a checkpoint must agree with to be loaded into this agent, every tensor's shape included."""
    return {**agent.signature(), "tensors": describe(agent.trained_state())}


def class_weights(
    parameters: Parameters, rows: Sequence[Row], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """The positive weights of the two agents' losses from the training rows, [criteria] float32 each."""
    ceiling = parameters.model.max_positive_weight
    posts = _positives(column(rows, "criteria"))
    sentences = _positives(chain.from_iterable(column(rows, "sentence_targets")))
    return (
        positive_weights(*posts, ceiling).to(device),
        positive_weights(*sentences, ceiling).to(device),
    )


def _positives(marks: Iterator[Sequence[int]]) -> tuple[torch.Tensor, int]:
    """(how many are 1 in each column, number of rows), a few thousand rows at a time."""
    positives, total = torch.zeros((), dtype=torch.int64), 0
    while some := list(islice(marks, COUNTED_TOGETHER)):
        positives = positives + torch.tensor(some).sum(0)
        total += len(some)
    return positives, total
