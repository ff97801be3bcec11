"""The dual agent: one encoder, a post-level criteria agent and a sentence-level evidence agent.

Windows of a post are merged by sums over the tokens that each window owns, so the result is that of
one pass over the whole post but for the attention that a window cuts off.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from thriftune.config import ModelConfig
from thriftune.errors import ConfigError, DamageError
from thriftune.model.batch import Batch

INITIAL_THRESHOLD = 0.5


@dataclass(frozen=True)
class Outputs:
    """Logits of both agents; None where an agent is left out."""

    criteria_logits: Tensor | None
    """[posts, criteria]"""
    sentence_logits: Tensor | None
    """[sentences, criteria]"""

    def zero(self) -> Tensor:
        """A scalar 0 on the outputs' device."""
        logits = self.criteria_logits if self.criteria_logits is not None else self.sentence_logits
        if logits is None:
            raise ValueError("both agents are left out")
        return logits.new_zeros(())


class DualAgent(nn.Module):
    """Criteria agent and evidence agent on one shared encoder.

    The tuned thresholds are buffers, so they travel with the weights and under their hash.
    """

    criteria_thresholds: Tensor
    evidence_thresholds: Tensor

    def __init__(
        self,
        encoder: Any,
        config: ModelConfig,
        criteria: tuple[str, ...],
        source: Mapping[str, str] | None = None,
    ) -> None:
        """source: id and fingerprint of the encoder, by which checkpoints refer to what they do not hold."""
        super().__init__()
        self._source = dict(source or {})
        self._base: dict[str, Any] | None = None
        self.encoder = encoder
        self.config = config
        self.criteria = criteria
        size = int(encoder.config.hidden_size)
        self.criteria_head: nn.Module | None = None
        self.evidence_head: nn.Module | None = None
        if config.criteria_agent.weight > 0:
            self.criteria_head = _head(config.criteria_agent.head, size, len(criteria), config)
        if config.evidence_agent.weight > 0:
            self.evidence_head = _head(config.evidence_agent.head, size, len(criteria), config)
        for name in ("criteria_thresholds", "evidence_thresholds"):
            self.register_buffer(name, torch.full((len(criteria),), INITIAL_THRESHOLD))
        if config.fine_tuning == "heads":
            self.encoder.requires_grad_(False)
        elif config.fine_tuning == "lora":
            _add_lora(self.encoder, config)

    def train(self, mode: bool = True) -> DualAgent:
        """As nn.Module; a frozen encoder stays in evaluation mode, without dropout."""
        super().train(mode)
        if self.config.fine_tuning == "heads":
            self.encoder.eval()
        return self

    def forward(self, batch: Batch) -> Outputs:
        """Logits per post and per sentence. A post or sentence without tokens is a zero vector."""
        frozen = self.config.fine_tuning == "heads"
        with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
            hidden = self.encoder(
                input_ids=batch.input_ids, attention_mask=batch.attention_mask
            ).last_hidden_state  # [windows, seq, hidden]
        criteria_logits = sentence_logits = None
        if self.criteria_head is not None:
            criteria_logits = self.criteria_head(self._pool_posts(hidden, batch))
        if self.evidence_head is not None:
            sentence_logits = self.evidence_head(_pool_sentences(hidden, batch))
        return Outputs(criteria_logits, sentence_logits)

    def _pool_posts(self, hidden: Tensor, batch: Batch) -> Tensor:
        if self.config.criteria_agent.pooling == "cls":
            return _mean_by(hidden[:, 0], batch.window_post, batch.n_posts)
        post = batch.window_post[:, None].expand_as(batch.owned)[batch.owned]  # [owned tokens]
        return _mean_by(hidden[batch.owned], post, batch.n_posts)

    def set_thresholds(self, criteria: Tensor | None, evidence: Tensor | None) -> None:
        """Replace the thresholds of the agents that are there; [criteria] float32 each."""
        if criteria is not None:
            self.criteria_thresholds.copy_(criteria)
        if evidence is not None:
            self.evidence_thresholds.copy_(evidence)

    def trained_state(self) -> dict[str, Tensor]:
        """Live tensors of all that training can change: trained parameters and buffers, by name."""
        frozen = {name for name, parameter in self.named_parameters() if not parameter.requires_grad}
        return {name: tensor for name, tensor in self.state_dict().items() if name not in frozen}

    def load_trained(self, tensors: Mapping[str, Tensor]) -> None:
        """Copy in what trained_state gave; DamageError where the names are not the same."""
        expected = self.trained_state().keys()
        if expected != tensors.keys():
            raise DamageError(f"trained tensors differ: {sorted(expected ^ tensors.keys())[:5]}")
        self.load_state_dict(dict(tensors), strict=False)

    def merged_encoder(self) -> Any:
        """The encoder as a plain transformers model: adapters, where there are any, folded into its weights.
        The agent must not be trained afterwards."""
        if self.config.fine_tuning == "lora":
            from peft.tuners.tuners_utils import BaseTunerLayer

            for name, module in list(self.encoder.named_modules()):
                if isinstance(module, BaseTunerLayer):
                    module.merge()
                    parent = self.encoder.get_submodule(name.rpartition(".")[0])
                    setattr(parent, name.rpartition(".")[2], module.get_base_layer())
        return self.encoder

    def base(self) -> dict[str, Any] | None:
        """What training does not change: the encoder it comes from and, layer by layer, the SHA-256 of its
        frozen tensors (names, shapes and bytes); None where everything is trained. Computed once."""
        if self._base is None:
            hashes: dict[str, Any] = {}
            for name, parameter in self.named_parameters():
                if not parameter.requires_grad:
                    digest = hashes.setdefault(_layer_of(name), hashlib.sha256())
                    digest.update(f"{name} {list(parameter.shape)} ".encode())
                    digest.update(_bytes_of(parameter))
            frozen = {layer: digest.hexdigest() for layer, digest in hashes.items()}
            self._base = {**self._source, "frozen": frozen} if frozen else {}
        return self._base or None

    def signature(self) -> dict[str, Any]:
        """What must agree for weights to fit: architecture, heads, criteria."""
        config = self.config
        return {
            "architecture": type(self.encoder).__name__,
            "hidden_size": int(self.encoder.config.hidden_size),
            "criteria": list(self.criteria),
            "criteria_head": None if self.criteria_head is None else config.criteria_agent.head,
            "evidence_head": None if self.evidence_head is None else config.evidence_agent.head,
            "pooling": config.criteria_agent.pooling,
            "base": self.base(),
        }


def _layer_of(name: str) -> str:
    """`encoder.encoder.layer.3` of a tensor in a numbered layer, `encoder.embeddings` of another."""
    numbered = re.match(r"(.+?\.\d+)\.", name)
    return numbered.group(1) if numbered else ".".join(name.split(".")[:2])


def _bytes_of(tensor: Tensor) -> memoryview:
    return memoryview(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)


def _add_lora(encoder: Any, config: ModelConfig) -> None:
    """Freeze the encoder and give its linear layers low-rank adapters (Hu et al., 2021). ConfigError where it
    has no layer of those names."""
    from peft import LoraConfig, inject_adapter_in_model

    settings = LoraConfig(
        r=config.lora.rank,
        lora_alpha=config.lora.alpha,
        lora_dropout=config.lora.dropout,
        target_modules=config.lora.target_modules,
    )
    try:
        inject_adapter_in_model(settings, encoder)
    except (ValueError, re.error) as error:
        raise ConfigError(
            f"{type(encoder).__name__} cannot be given adapters: {str(error).partition(chr(10))[0]}",
            where="model.lora.target_modules",
            remedy="name layers that the encoder has, or all-linear.",
        ) from error


def _head(kind: str, size: int, outputs: int, config: ModelConfig) -> nn.Module:
    if kind == "linear":
        return nn.Sequential(nn.Dropout(config.head_dropout), nn.Linear(size, outputs))
    return nn.Sequential(
        nn.Dropout(config.head_dropout),
        nn.Linear(size, size),
        nn.GELU(),
        nn.Dropout(config.head_dropout),
        nn.Linear(size, outputs),
    )


def _pool_sentences(hidden: Tensor, batch: Batch) -> Tensor:
    counted = batch.owned & (batch.token_sentence >= 0)
    return _mean_by(hidden[counted], batch.token_sentence[counted], batch.n_sentences)


def _mean_by(vectors: Tensor, group: Tensor, groups: int) -> Tensor:
    """Mean of vectors [items, hidden] by group [items] in 0..groups-1; zero for an empty group."""
    sums = vectors.new_zeros((groups, vectors.shape[-1])).index_add(0, group, vectors)
    ones = vectors.new_ones(len(group))
    counts = vectors.new_zeros(groups).index_add(0, group, ones)
    return sums / counts.clamp(min=1.0)[:, None]
