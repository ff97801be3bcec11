"""Bytes of a configured model in a checkpoint."""

from __future__ import annotations

import torch

from thriftune import training
from thriftune.checkpoints.tensors import tensor_bytes
from thriftune.config import EncoderFromConfig, Parameters, override
from thriftune.corpus.store import Corpus
from thriftune.model.encoder import Encoder, check_source
from thriftune.model.shapes import BertShape
from thriftune.model.trainable import DualAgent
from thriftune.model.trained_tokenizer import vocabulary_size
from thriftune.training.sources import encoder_source


def model_bytes(parameters: Parameters, corpus: Corpus, encoder: Encoder | None = None) -> int:
    """Return the bytes of the weights that training changes, which are those that a checkpoint holds.

    Args:
        parameters: The study's parameters.
        corpus: The corpus whose criteria and vocabulary the model has.
        encoder: The encoder, if it is loaded. None: only the shape is built if the encoder comes from the
            configuration and its tokenizer was trained before; else the encoder is loaded.
    """
    agent = _shape(parameters, corpus) if encoder is None else None
    if agent is None:
        agent = _built(parameters, corpus, encoder)
    return tensor_bytes(agent.trained_state())


def assumed_model_bytes(parameters: Parameters, criteria: tuple[str, ...]) -> int:
    """Return an upper bound of `model_bytes` without a corpus.

    The tokenizer is assumed to be as large as it may become, and adapters in an encoder from the
    configuration as large as the encoder.

    Args:
        parameters: The study's parameters.
        criteria: Names of the criteria, in order.
    """
    source = encoder_source(parameters)
    if isinstance(source, EncoderFromConfig):
        check_source(source, parameters.training.max_length)
        if parameters.model.fine_tuning == "lora":
            parameters = override(parameters, {"model.fine_tuning": "full"})
        return tensor_bytes(_on_meta(source, source.vocabulary_size, parameters, criteria).trained_state())
    from thriftune.training.inputs import pretrained

    agent = training.build_agent(parameters, pretrained(parameters), criteria)
    return tensor_bytes(agent.trained_state())


def _shape(parameters: Parameters, corpus: Corpus) -> DualAgent | None:
    """Return a dual agent without values, or None if the configuration alone does not give its shape."""
    source = encoder_source(parameters)
    # Adapters are put into layers that peft finds in a model of transformers.
    if not isinstance(source, EncoderFromConfig) or parameters.model.fine_tuning == "lora":
        return None
    check_source(source, parameters.training.max_length)
    texts = (post.text for post in corpus.posts("train"))
    tokens = vocabulary_size(source, texts, parameters.corpus.cache_folder)
    return None if tokens is None else _on_meta(source, tokens, parameters, corpus.criteria)


def _on_meta(
    source: EncoderFromConfig, tokens: int, parameters: Parameters, criteria: tuple[str, ...]
) -> DualAgent:
    with torch.device("meta"):
        return DualAgent(BertShape(source, tokens), parameters.model, criteria)


def _built(parameters: Parameters, corpus: Corpus, encoder: Encoder | None) -> DualAgent:
    encoder = encoder or training.encoder_for(parameters, corpus)
    return training.build_agent(parameters, encoder, corpus.criteria)
