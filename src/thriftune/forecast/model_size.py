"""How many bytes a checkpoint holds of a configured model."""

from __future__ import annotations

from pathlib import Path

import torch

from thriftune.checkpoints.tensors import tensor_bytes
from thriftune.config import EncoderFromConfig, Parameters, override
from thriftune.corpus.store import Corpus
from thriftune.model.encoder import Encoder, check_source, resolve_encoder, vocabulary_size
from thriftune.model.shapes import BertShape
from thriftune.model.trainable import DualAgent


def model_bytes(parameters: Parameters, corpus: Corpus, encoder: Encoder | None = None) -> int:
    """Return the bytes of what training changes of the dual agent, which is what a checkpoint holds of it.

    Without an encoder, where it is built from the configuration and its tokenizer was trained before, the
    model's shape alone is built; else the encoder is made, which may load it.
    """
    agent = _shape(parameters, corpus) if encoder is None else None
    if agent is None:
        agent = _built(parameters, corpus, encoder)
    return tensor_bytes(agent.trained_state())


def assumed_model_bytes(parameters: Parameters, criteria: tuple[str, ...]) -> int:
    """Return the same where there is no corpus yet, at most: its tokenizer is taken to be as large as it may
    be, and adapters in an encoder from the configuration to be the whole of it."""
    source = resolve_encoder(parameters.encoder, parameters.encoders)
    if isinstance(source, EncoderFromConfig):
        check_source(source, parameters.training.max_length)
        if parameters.model.fine_tuning == "lora":
            parameters = override(parameters, {"model.fine_tuning": "full"})
        return tensor_bytes(_on_meta(source, source.vocabulary_size, parameters, criteria).trained_state())
    from thriftune.training.inputs import build_agent, pretrained

    return tensor_bytes(build_agent(parameters, pretrained(parameters), criteria).trained_state())


def _shape(parameters: Parameters, corpus: Corpus) -> DualAgent | None:
    """Return a dual agent without values; None where that takes more than the configuration."""
    source = resolve_encoder(parameters.encoder, parameters.encoders)
    # Adapters are put into layers that peft finds in a model of transformers.
    if not isinstance(source, EncoderFromConfig) or parameters.model.fine_tuning == "lora":
        return None
    check_source(source, parameters.training.max_length)
    texts = (post.text for post in corpus.posts("train"))
    tokens = vocabulary_size(source, texts, Path(parameters.corpus.cache))
    return None if tokens is None else _on_meta(source, tokens, parameters, corpus.criteria)


def _on_meta(
    source: EncoderFromConfig, tokens: int, parameters: Parameters, criteria: tuple[str, ...]
) -> DualAgent:
    with torch.device("meta"):
        return DualAgent(BertShape(source, tokens), parameters.model, criteria)


def _built(parameters: Parameters, corpus: Corpus, encoder: Encoder | None) -> DualAgent:
    from thriftune.training.inputs import (
        build_agent,
        encoder_for,  # seconds of imports, as the model itself
    )

    return build_agent(parameters, encoder or encoder_for(parameters, corpus), corpus.criteria)
