"""A tiny encoder, posts made of few words, and agents that read them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from thriftune.config import EncoderFromConfig, ModelConfig
from thriftune.corpus.tokens import tokenise
from thriftune.corpus.types import Evidence, Post
from thriftune.dual_agent.batch import Collator
from thriftune.dual_agent.windows import Layout, window_tails
from thriftune.model.encoder import Encoder
from thriftune.model.trainable import DualAgent

SOURCE = EncoderFromConfig(
    kind="config",
    vocabulary_size=300,
    hidden_size=16,
    layers=1,
    attention_heads=2,
    intermediate_size=32,
    window=64,
)
WORDS = ["the", "sun", "rose", "over", "a", "quiet", "town", "because", "every", "dog", "barked"]


def post(words: int, number: int = 0) -> Post:
    """A post of so many words in sentences of five."""
    parts = [" ".join(WORDS[(number + i + j) % len(WORDS)] for j in range(5)) for i in range(0, words, 5)]
    text = ". ".join(parts)
    spans, at = [], 0
    for part in parts:
        spans.append((at, at + len(part)))
        at += len(part) + 2
    return Post(post_id=str(number), text=text, sentences=tuple(spans), criteria=("A",), evidence=())


def marked(words: int, number: int = 0) -> Post:
    """Such a post whose second sentence is evidence for A, and the last one for B."""
    bare = post(words, number)
    found = [
        Evidence(criterion, 1, *bare.sentences[at], "exact", 100.0) for criterion, at in (("A", 1), ("B", -1))
    ]
    return replace(bare, criteria=("A", "B"), evidence=tuple(found))


LAYOUT = Layout(max_length=16, overlap=4)


def rows(encoder: Encoder, posts: list[Post], layout: Layout = LAYOUT) -> list[dict[str, Any]]:
    """Their tokenised rows, windows of 16 tokens."""
    return list(tokenise(posts, encoder.tokenizer, ("A", "B"), layout))


def collator(encoder: Encoder, layout: Layout = LAYOUT) -> Collator:
    """Makes batches of rows."""
    return Collator(2, encoder.pad_token_id, window_tails(encoder.tokenizer, layout))


def agent(encoder: Encoder, **model: Any) -> DualAgent:
    """A dual agent in evaluation mode."""
    torch.manual_seed(0)
    return DualAgent(encoder.instantiate(), ModelConfig.model_validate(model), ("A", "B")).eval()


TOKENS = Layout(max_length=16, overlap=4, token_ranges=True)
PAIRS = Layout(max_length=24, overlap=4, descriptions=("the sun", "a dog barked"), token_ranges=True)
