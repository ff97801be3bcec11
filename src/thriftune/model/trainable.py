"""The dual agent: one encoder, a post-level criteria agent and a sentence-level evidence agent."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from thriftune.config import ModelConfig
from thriftune.dual_agent.agents import Agents, Outputs, Shape
from thriftune.dual_agent.batch import Batch
from thriftune.errors import ConfigError, DamageError
from thriftune.model.layers import ENCODER, encoder_layer, layer_count, layer_name


class DualAgent(Agents):
    """The agents in training: what of the encoder is trained, in which precision, from which base."""

    def __init__(
        self,
        encoder: Any,
        config: ModelConfig,
        criteria: tuple[str, ...],
        source: Mapping[str, str] | None = None,
        precision: str = "float32",
    ) -> None:
        """source: id and fingerprint of the encoder, by which checkpoints refer to what they do not hold.
        precision: in which the encoder is trained; evaluated it is in float32, alike on every device."""
        super().__init__(encoder, shape_of(config), len(criteria), config.head_dropout)
        self._precision = getattr(torch, precision)
        self._source = dict(source or {})
        self._base: dict[str, Any] | None = None
        self.config = config
        self.criteria = criteria
        if config.fine_tuning == "heads":
            self.encoder.requires_grad_(False)
        elif config.fine_tuning == "top_layers":
            _freeze_below(self.encoder, config.trained_layers)
        elif config.fine_tuning == "lora":
            _add_lora(self.encoder, config)

    def train(self, mode: bool = True) -> DualAgent:
        """As nn.Module; a frozen encoder stays in evaluation mode, without dropout."""
        super().train(mode)
        if self.config.fine_tuning == "heads":
            self.encoder.eval()
        return self

    def forward(self, batch: Batch) -> Outputs:
        """See Agents."""
        frozen = self.config.fine_tuning == "heads"
        lower = self.training and self._precision != torch.float32
        with (
            torch.set_grad_enabled(torch.is_grad_enabled() and not frozen),
            torch.autocast(batch.input_ids.device.type, self._precision, enabled=lower),
        ):
            layers = self.encode(batch)
        return self.score(layers, batch)

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
                    digest = hashes.setdefault(layer_name(name), hashlib.sha256())
                    digest.update(f"{name} {list(parameter.shape)} ".encode())
                    digest.update(_bytes_of(parameter))
            frozen = {layer: digest.hexdigest() for layer, digest in hashes.items()}
            self._base = {**self._source, "frozen": frozen} if frozen else {}
        return self._base or None

    def signature(self) -> dict[str, Any]:
        """What must agree for weights to fit: architecture, heads, criteria."""
        return {
            "architecture": type(self.encoder).__name__,
            "hidden_size": int(self.encoder.config.hidden_size),
            "criteria": list(self.criteria),
            **asdict(self.shape),
            "base": self.base(),
        }


def shape_of(config: ModelConfig) -> Shape:
    """The agents of a configuration."""
    criteria, evidence = config.criteria_agent, config.evidence_agent
    return Shape(
        pooling=criteria.pooling,
        criteria_head=criteria.head if criteria.weight > 0 else None,
        evidence_head=evidence.head if evidence.weight > 0 else None,
        evidence_kind=evidence.kind,
        coupling=config.coupling if criteria.weight > 0 and evidence.weight > 0 else "independent",
        pairs=config.reading == "pairs",
        longest=evidence.longest_range,
    )


def _freeze_below(encoder: Any, trained: int) -> None:
    """Train the last layers, and what comes after them, alone. ConfigError where there are too few."""
    names = [f"{ENCODER}{name}" for name, _ in encoder.named_parameters()]
    layers = layer_count(names)
    if trained > layers:
        raise ConfigError(
            f"{type(encoder).__name__} has {layers} layers",
            where="model.trained_layers",
            remedy=f"set it to {layers} at most, or model.fine_tuning=full.",
        )
    reached = False
    for name, parameter in zip(names, encoder.parameters(), strict=True):
        reached = reached or encoder_layer(name) == layers - trained
        parameter.requires_grad_(reached)


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
