"""The dual agent: one encoder, a post-level criteria agent and a sentence-level evidence agent."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, TypedDict, cast

import torch
from pydantic import JsonValue
from torch import Tensor

from thriftune.config import ModelConfig
from thriftune.dual_agent.agents import Agents, Outputs, Shape
from thriftune.dual_agent.batch import Batch
from thriftune.errors import ConfigError, DamageError
from thriftune.model.layers import ENCODER, encoder_layer, layer_count, layer_name


class Base(TypedDict, total=False):
    """The part of a model that training does not change."""

    id: str
    """The encoder that it comes from."""
    fingerprint: str
    frozen: dict[str, str]
    """SHA-256 of the frozen tensors (names, shapes and bytes) by layer."""


class DualAgent(Agents):
    """Both agents in training: decides what of the encoder is trained, and in which precision.

    Args:
        encoder: A model of transformers; it is changed in place.
        config: The model's section of the configuration.
        criteria: Names of the criteria, in the order of all tensors.
        source: id and fingerprint of the encoder, by which checkpoints refer to tensors that they do not
            hold; None if nothing is known of it.
        precision: Name of the torch dtype in which the encoder is trained; evaluation is always in float32,
            so that it is alike on every device.
    """

    def __init__(
        self,
        encoder: Any,
        config: ModelConfig,
        criteria: tuple[str, ...],
        source: Mapping[str, str] | None = None,
        precision: str = "float32",
    ) -> None:
        super().__init__(encoder, shape_of(config), len(criteria), config.head_dropout)
        self._precision = getattr(torch, precision)
        self._source = dict(source or {})
        self._base: Base | None = None
        self.config = config
        self.criteria = criteria
        if config.fine_tuning == "heads":
            self.encoder.requires_grad_(False)
        elif config.fine_tuning == "top_layers":
            _freeze_below(self.encoder, config.trained_layers)
        elif config.fine_tuning == "lora":
            _add_lora(self.encoder, config)

    def train(self, mode: bool = True) -> DualAgent:
        """Return self in training or evaluation mode; a frozen encoder stays without dropout.

        Args:
            mode: True for training mode.
        """
        super().train(mode)
        if self.config.fine_tuning == "heads":
            self.encoder.eval()
        return self

    def forward(self, batch: Batch) -> Outputs:
        """Return the logits of posts and of their sentences or tokens.

        Args:
            batch: Tokenised posts on the device of the weights.
        """
        frozen = self.config.fine_tuning == "heads"
        lower = self.training and self._precision != torch.float32
        with (
            torch.set_grad_enabled(torch.is_grad_enabled() and not frozen),
            torch.autocast(batch.input_ids.device.type, self._precision, enabled=lower),
        ):
            layers = self.encode(batch)
        return self.score(layers, batch)

    def set_thresholds(self, criteria: Tensor | None, evidence: Tensor | None) -> None:
        """Replace the thresholds of decisions.

        Args:
            criteria: `[criteria]` float32, of the criteria agent; None to keep them.
            evidence: `[criteria]` float32, of the evidence agent; None to keep them.
        """
        if criteria is not None:
            self.criteria_thresholds.copy_(criteria)
        if evidence is not None:
            self.evidence_thresholds.copy_(evidence)

    def trained_state(self) -> dict[str, Tensor]:
        """Return the live tensors that training can change, by name: trained parameters and buffers."""
        frozen = {name for name, parameter in self.named_parameters() if not parameter.requires_grad}
        return {name: tensor for name, tensor in self.state_dict().items() if name not in frozen}

    def load_trained(self, tensors: Mapping[str, Tensor]) -> None:
        """Copy tensors into the model.

        Args:
            tensors: As trained_state returned them, on any device.

        Raises:
            DamageError: If the names are not those of trained_state.
        """
        expected = self.trained_state().keys()
        if expected != tensors.keys():
            raise DamageError(f"trained tensors differ: {sorted(expected ^ tensors.keys())[:5]}")
        self.load_state_dict(dict(tensors), strict=False)

    def merged_encoder(self) -> Any:
        """Return the encoder as a plain model of transformers, with adapters merged into its weights.

        The agent must not be trained afterwards.
        """
        if self.config.fine_tuning == "lora":
            from peft.tuners.tuners_utils import BaseTunerLayer

            for name, module in list(self.encoder.named_modules()):
                if isinstance(module, BaseTunerLayer):
                    module.merge()
                    parent = self.encoder.get_submodule(name.rpartition(".")[0])
                    setattr(parent, name.rpartition(".")[2], module.get_base_layer())
        return self.encoder

    def base(self) -> Base | None:
        """Return what training does not change; None if everything is trained. It is computed once."""
        if self._base is None:
            hashes: dict[str, hashlib._Hash] = {}
            for name, parameter in self.named_parameters():
                if not parameter.requires_grad:
                    digest = hashes.setdefault(layer_name(name), hashlib.sha256())
                    digest.update(f"{name} {list(parameter.shape)} ".encode())
                    digest.update(_bytes_of(parameter))
            frozen = {layer: digest.hexdigest() for layer, digest in hashes.items()}
            self._base = cast(Base, {**self._source, "frozen": frozen} if frozen else {})
        return self._base or None

    def signature(self) -> dict[str, JsonValue]:
        """Return what must be equal for weights to fit, as JSON: architecture, heads, criteria, base."""
        return {
            "architecture": type(self.encoder).__name__,
            "hidden_size": int(self.encoder.config.hidden_size),
            "criteria": list(self.criteria),
            **asdict(self.shape),
            "base": cast("JsonValue", self.base()),
        }


def shape_of(config: ModelConfig) -> Shape:
    """Return the architecture of a configuration.

    Args:
        config: The model's section; an agent with weight 0 is left out.
    """
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
    """Train only the last layers and what follows them; ConfigError if the encoder has fewer."""
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
    """Freeze the encoder and give its linear layers low-rank adapters (Hu et al., 2021).

    Raises:
        ConfigError: If the encoder has no layer with the configured names.
    """
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
