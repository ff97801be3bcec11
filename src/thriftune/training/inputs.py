"""The inputs of a training: the encoder, the tokenised rows of a split, the agent, class weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice

import torch
from pydantic import JsonValue

from thriftune.checkpoints.tensors import describe
from thriftune.config import EncoderSource, Parameters, suggest
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
    """Return the encoder of a configuration; its window is checked against `training.max_length`.

    Args:
        parameters: The trial's own.
        corpus: The corpus, whose training split an encoder made from a configuration learns its words from.
    """
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
    """Return the encoder of a configuration that names one of a package, a folder or the hub.

    Args:
        parameters: The trial's own.
    """
    source = encoder_source(parameters)
    encoder = build_encoder(source, lambda: (), parameters.corpus.cache_folder, hub_of(parameters.corpus))
    check_window(encoder, parameters.training.max_length)
    return encoder


def rows_of(parameters: Parameters, corpus: Corpus, encoder: Encoder, split: SplitName) -> TokenisedRows:
    """Return the tokenised posts of a split, read from disk; they are tokenised once per encoder and length.

    Args:
        parameters: The trial's own.
        corpus: The corpus.
        encoder: The encoder, whose tokenizer is used.
        split: The split's name.
    """
    dataset = TokenisedStore(parameters.corpus.cache_folder).get(
        corpus, split, encoder.tokenizer, encoder.fingerprint, layout_of(parameters, corpus.criteria)
    )
    return TokenisedRows(dataset)


def layout_of(parameters: Parameters, criteria: Sequence[str]) -> Layout:
    """Return how a configuration reads posts.

    Args:
        parameters: The trial's own.
        criteria: The corpus's, in its order.

    Raises:
        ConfigError: It describes a criterion that the corpus does not have.
    """
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
    """Return the collator that makes batches of a configuration's rows.

    Args:
        parameters: The trial's own.
        corpus: The corpus.
        encoder: The encoder, whose tokenizer is used.
    """
    tails = window_tails(encoder.tokenizer, layout_of(parameters, corpus.criteria))
    return Collator(len(corpus.criteria), encoder.pad_token_id, tails)


def _as_words(name: str) -> str:
    return name.replace("_", " ").lower()


class TrainingInputs:
    """The inputs of the trial before, for a next trial that has the same encoder, or the same rows.

    One encoder and the rows of one encoder and layout are kept; others replace them.
    """

    def __init__(self, corpus: Corpus) -> None:
        """Start with nothing.

        Args:
            corpus: The corpus of all trials.
        """
        self._corpus = corpus
        self._encoder: tuple[EncoderSource, Encoder] | None = None
        self._rows: dict[SplitName, TokenisedRows] = {}
        self._rows_key: tuple[str, Layout] | None = None

    def encoder(self, parameters: Parameters) -> Encoder:
        """Return what `encoder_for` does.

        Args:
            parameters: The trial's own.
        """
        source = encoder_source(parameters)
        if self._encoder is None or self._encoder[0] != source:
            self._encoder = None
            self._encoder = source, encoder_for(parameters, self._corpus)
        check_window(self._encoder[1], parameters.training.max_length)
        return self._encoder[1]

    def rows(self, parameters: Parameters, encoder: Encoder, split: SplitName) -> TokenisedRows:
        """Return what `rows_of` does.

        Args:
            parameters: The trial's own.
            encoder: The encoder, whose tokenizer is used.
            split: The split's name.
        """
        key = encoder.fingerprint, layout_of(parameters, self._corpus.criteria)
        if key != self._rows_key:
            self._rows, self._rows_key = {}, key
        if split not in self._rows:
            self._rows[split] = rows_of(parameters, self._corpus, encoder, split)
        return self._rows[split]


def build_agent(parameters: Parameters, encoder: Encoder, criteria: tuple[str, ...]) -> DualAgent:
    """Return the dual agent of a configuration.

    All generators are seeded first: weights that are drawn, a frozen base among them, are always the same.

    Args:
        parameters: The trial's own.
        encoder: The encoder.
        criteria: The corpus's, in its order.
    """
    seed_everything(parameters.study.seed)
    source = {"id": parameters.encoder, "fingerprint": encoder.fingerprint}
    model, training = encoder.instantiate(), parameters.training
    if training.gradient_checkpointing:
        allow_recomputation(model)
    return DualAgent(model, parameters.model, criteria, source, training.precision)


def signature_of(agent: DualAgent) -> dict[str, JsonValue]:
    """Return what a checkpoint must agree with to be loaded into an agent, every tensor's shape included.

    Args:
        agent: The agent.
    """
    return {**agent.signature(), "tensors": {**describe(agent.trained_state())}}


def class_weights(
    parameters: Parameters, rows: Sequence[Row], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the positive weights of the two agents' losses, [criteria] float32 each.

    Args:
        parameters: The trial's own.
        rows: Tokenised posts of the training split.
        device: Where the weights are put.
    """
    ceiling = parameters.model.max_positive_weight
    posts = _positives(column(rows, "criteria"))
    sentences = _positives(chain.from_iterable(column(rows, "sentence_targets")))
    return (
        positive_weights(*posts, ceiling).to(device),
        positive_weights(*sentences, ceiling).to(device),
    )


def _positives(marks: Iterator[Sequence[int]]) -> tuple[torch.Tensor, int]:
    """Count the ones of each column and the rows, a few thousand rows at a time."""
    positives, total = torch.zeros((), dtype=torch.int64), 0
    while some := list(islice(marks, COUNTED_TOGETHER)):
        positives = positives + torch.tensor(some).sum(0)
        total += len(some)
    return positives, total
