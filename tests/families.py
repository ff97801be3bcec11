"""Small models of the families of encoders that people use, each of its own class and with a tokenizer of the
kind that its models have."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SHAPE = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
WINDOW = 64


@dataclass(frozen=True)
class Family:
    """How to make a model whose window is WINDOW tokens."""

    tokenizer: Callable[[Sequence[str]], Any]
    config: dict[str, Any] = field(default_factory=dict)
    positions: int | None = WINDOW
    """The position vectors that it has for so many tokens."""


def wordpiece(texts: Sequence[str]) -> Any:
    """BERT's: words and ## pieces, lower case."""
    from tokenizers import BertWordPieceTokenizer
    from transformers import PreTrainedTokenizerFast

    trained = BertWordPieceTokenizer(lowercase=True)
    trained.train_from_iterator(texts, vocab_size=300, show_progress=False)
    return PreTrainedTokenizerFast(tokenizer_object=trained._tokenizer, **_bert_like())


def byte_level(texts: Sequence[str]) -> Any:
    """RoBERTa's: bytes, a space belongs to the word behind it."""
    from tokenizers import ByteLevelBPETokenizer, processors
    from transformers import PreTrainedTokenizerFast

    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(texts, vocab_size=400, special_tokens=_SPECIALS, show_progress=False)
    inner = trained._tokenizer
    inner.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return PreTrainedTokenizerFast(tokenizer_object=inner, **_roberta_like())


def pieces(texts: Sequence[str]) -> Any:
    """SentencePiece's unigrams: a space is a character of the word behind it."""
    from tokenizers import SentencePieceUnigramTokenizer, processors
    from transformers import PreTrainedTokenizerFast

    trained = SentencePieceUnigramTokenizer()
    trained.train_from_iterator(
        texts, vocab_size=300, special_tokens=_SPECIALS, unk_token="<unk>", show_progress=False
    )
    inner = trained._tokenizer
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=inner, **_roberta_like())


_SPECIALS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def _bert_like() -> dict[str, str]:
    names = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    return {f"{name}_token": token for name, token in names.items()}


def _roberta_like() -> dict[str, str]:
    names = {"pad": "<pad>", "unk": "<unk>", "cls": "<s>", "sep": "</s>", "mask": "<mask>"}
    return {f"{name}_token": token for name, token in names.items()}


AFTER_PADDING = WINDOW + 2
"""Position vectors of a model that counts from its padding token's id, 1, on."""
FAMILIES: dict[str, Family] = {
    "bert": Family(wordpiece),
    "distilbert": Family(wordpiece, {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}),
    "electra": Family(wordpiece, {"embedding_size": 8}),
    "mpnet": Family(pieces, {}, AFTER_PADDING),
    "albert": Family(pieces, {"embedding_size": 8}),
    "roberta": Family(byte_level, {}, AFTER_PADDING),
    "xlm-roberta": Family(pieces, {}, AFTER_PADDING),
    "camembert": Family(pieces, {}, AFTER_PADDING),
    "longformer": Family(byte_level, {"attention_window": 8}, AFTER_PADDING),
    "big_bird": Family(pieces, {"block_size": 4, "num_random_blocks": 1}),
    "deberta": Family(byte_level, {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]}),
    "deberta-v2": Family(
        pieces,
        {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_biased_input": False},
    ),
    "modernbert": Family(byte_level, {"local_attention": 8, "global_attn_every_n_layers": 2}),
    "ernie": Family(wordpiece),
    "megatron-bert": Family(wordpiece),
    "rembert": Family(pieces, {"input_embedding_size": 8, "output_embedding_size": 8}),
    "convbert": Family(wordpiece, {"embedding_size": 16, "conv_kernel_size": 3}),
    "xlnet": Family(pieces, {"d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 32}, None),
}


def build(name: str, texts: Sequence[str], dtype: str = "float32") -> dict[str, bytes]:
    """The files of a model of the family, weights drawn with seed 0 and stored in a type."""
    import torch
    from transformers import AutoConfig, AutoModel

    family = FAMILIES[name]
    tokenizer = family.tokenizer(texts)
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        name,
        **SHAPE
        | {
            "vocab_size": len(tokenizer),
            "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": tokenizer.cls_token_id,
            "eos_token_id": tokenizer.sep_token_id,
            "cls_token_id": tokenizer.cls_token_id,
            "sep_token_id": tokenizer.sep_token_id,
        }
        | ({} if family.positions is None else {"max_position_embeddings": family.positions})
        | family.config,
    )
    model = AutoModel.from_config(config).to(getattr(torch, dtype))
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}
