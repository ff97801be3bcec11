"""The shape of an encoder against the encoder itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

from thriftune.config import EncoderFromConfig
from thriftune.model.encoder import build_encoder
from thriftune.model.shapes import BertShape
from thriftune.model.trained_tokenizer import vocabulary_size

pytestmark = pytest.mark.unit


def shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Of what a checkpoint would hold, by name."""
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def test_a_shape_has_the_tensors_of_the_model(tmp_path: Path) -> None:
    """Names, shapes and which are parameters; the vocabulary is the trained tokenizer's."""
    source = EncoderFromConfig(
        kind="config", vocabulary_size=300, hidden_size=24, layers=3, attention_heads=2, intermediate_size=40
    )
    texts = ["a few words that are read here", "and a few more words"]
    assert vocabulary_size(source, texts, tmp_path) is None
    encoder = build_encoder(source, lambda: texts, tmp_path)
    tokens = vocabulary_size(source, texts, tmp_path)
    assert tokens == len(encoder.tokenizer)
    model, shape = encoder.instantiate(), BertShape(source, tokens)
    assert shapes(shape) == shapes(model)
    assert [name for name, _ in shape.named_parameters()] == [name for name, _ in model.named_parameters()]
