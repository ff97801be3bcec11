"""The dual agent's shape: two agents on one shared encoder."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from thriftune.config.base import Section, Text


class EncoderFromConfig(Section):
    """An encoder built from its configuration, with a tokenizer trained on the training split."""

    kind: Literal["config"]
    vocabulary_size: int = Field(default=4000, ge=300)
    hidden_size: int = Field(default=96, ge=8)
    layers: int = Field(default=2, ge=1)
    attention_heads: int = Field(default=4, ge=1)
    intermediate_size: int = Field(default=192, ge=8)
    window: int = Field(default=256, ge=16)
    dropout: float = Field(default=0.1, ge=0, lt=1)


class EncoderFromPackage(Section):
    """An encoder whose weights ship inside an installed Python package."""

    kind: Literal["package"]
    package: Text
    """Import name of the package."""
    folder: Text
    """Directory inside the package that holds config, tokenizer and weights."""
    sha256: Text
    """Expected SHA-256 of model.safetensors."""


class EncoderFromDirectory(Section):
    """An encoder saved by transformers in a local directory (safetensors weights)."""

    kind: Literal["directory"]
    path: Text


EncoderSource = Annotated[
    EncoderFromConfig | EncoderFromPackage | EncoderFromDirectory, Field(discriminator="kind")
]


class CriteriaAgentConfig(Section):
    """Which criteria a post meets: pooling, head and loss of the post-level agent."""

    weight: float = Field(default=1.0, ge=0)
    """Weight of this agent's loss in the joint loss; 0 leaves the agent out altogether."""
    pooling: Literal["mean", "cls"] = "mean"
    head: Literal["linear", "mlp"] = "linear"
    loss: Literal["bce", "weighted_bce", "focal"] = "weighted_bce"
    focal_gamma: float = Field(default=2.0, ge=0)


class EvidenceAgentConfig(Section):
    """Which sentences are evidence for each criterion: head and loss of the sentence scorer."""

    weight: float = Field(default=1.0, ge=0)
    """Weight of this agent's loss in the joint loss; 0 leaves the agent out altogether."""
    head: Literal["linear", "mlp"] = "mlp"
    loss: Literal["bce", "weighted_bce", "focal"] = "weighted_bce"
    focal_gamma: float = Field(default=2.0, ge=0)


class LoraConfig(Section):
    """Low-rank adapters of the encoder's linear layers (Hu et al., 2021; peft)."""

    rank: int = Field(default=8, ge=1)
    alpha: int = Field(default=16, gt=0)
    """The adapters' output is scaled by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    target_modules: Text = "all-linear"
    """Which layers: peft's `all-linear`, or a regular expression over module names."""


class ModelConfig(Section):
    """Both agents and what they share."""

    criteria_agent: CriteriaAgentConfig = CriteriaAgentConfig()
    evidence_agent: EvidenceAgentConfig = EvidenceAgentConfig()
    head_dropout: float = Field(default=0.1, ge=0, lt=1)
    fine_tuning: Literal["full", "heads", "lora"] = "full"
    """full: everything is trained; heads: the encoder is frozen; lora: it has low-rank adapters."""
    lora: LoraConfig = LoraConfig()
    max_positive_weight: float = Field(default=20.0, ge=1)
    """Ceiling of the per-criterion positive weight of weighted_bce (negatives / positives)."""

    @model_validator(mode="after")
    def _one_agent_at_least(self) -> ModelConfig:
        if self.criteria_agent.weight == 0 and self.evidence_agent.weight == 0:
            raise ValueError(
                "model.criteria_agent.weight and model.evidence_agent.weight are both 0: "
                "nothing would be trained"
            )
        return self
