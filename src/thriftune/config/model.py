"""`model` and `encoders`: two agents on one shared encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from thriftune.config.base import Section, Text


class EncoderFromConfig(Section):
    """An encoder built from its configuration, with a tokenizer trained on the training split."""

    kind: Literal["config"]
    vocabulary_size: int = Field(default=4000, ge=300)
    """Most tokens in the vocabulary; a small corpus has fewer."""
    hidden_size: int = Field(default=96, ge=8)
    """Width of a token's representation; a multiple of attention_heads."""
    layers: int = Field(default=2, ge=1)
    """Number of transformer layers."""
    attention_heads: int = Field(default=4, ge=1)
    """Attention heads of a layer."""
    intermediate_size: int = Field(default=192, ge=8)
    """Width of a layer's feed-forward part."""
    window: int = Field(default=256, ge=16)
    """Most tokens at once."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout probability of hidden states and attention in training."""


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
    """The directory; a relative path starts at the project."""

    @property
    def folder(self) -> Path:
        """The absolute path of `path`."""
        return self.resolve(self.path)


class EncoderFromHub(Section):
    """An encoder on the Hugging Face hub (safetensors weights)."""

    kind: Literal["hub"]
    id: Text
    """owner/name."""
    revision: Text = "main"
    """Branch, tag or commit. The commit of a branch is asked for once, and recorded below corpus.root."""
    window: int | None = Field(default=None, ge=16)
    """Most tokens at once, checked before the download; null: not known before it."""
    licence: Text | None = None
    """What the model card says; a note for the reader."""
    gated: bool = False
    """Whether its terms have to be accepted first; a note for the reader."""
    weights: Literal["safetensors", "pickle", "flax"] = "safetensors"
    """The best format that the repository had when the entry was written; a note for the reader."""


EncoderSource = Annotated[
    EncoderFromConfig | EncoderFromPackage | EncoderFromDirectory | EncoderFromHub,
    Field(discriminator="kind"),
]


Head = Literal["linear", "mlp", "residual", "gated", "multi_sample"]


class AgentConfig(Section):
    """A weight, a head and a loss, which both agents have."""

    weight: float = Field(default=1.0, ge=0)
    """Weight of this agent's loss in the joint loss; 0: the model is built without this agent."""
    head: Head = "linear"
    """linear, mlp, residual (an MLP with a shortcut), gated (GEGLU; Shazeer, 2020), or multi_sample (linear,
    averaged over several dropout masks; Inoue, 2019)."""
    loss: Literal["bce", "weighted_bce", "focal", "asymmetric", "hybrid"] = "weighted_bce"
    """bce: cross-entropy; weighted_bce: with weighted positives; focal (Lin et al., 2017); asymmetric (Ridnik
    et al., 2021); hybrid: focal and weighted_bce, mixed by hybrid_focal_share."""
    focal_gamma: float = Field(default=2.0, ge=0)
    """How strongly focal, also in hybrid, discounts what is right already; 0: cross-entropy."""
    asymmetric_gamma_positive: float = Field(default=0.0, ge=0)
    """How strongly asymmetric discounts positives that are right already; 0: not at all."""
    asymmetric_gamma_negative: float = Field(default=4.0, ge=0)
    """How strongly asymmetric discounts negatives that are right already; 0: not at all."""
    asymmetric_margin: float = Field(default=0.05, ge=0, lt=1)
    """Probability, 0 to 1, below which a negative costs nothing in asymmetric."""
    hybrid_focal_share: float = Field(default=0.5, ge=0, le=1)
    """Share of focal in hybrid, 0 to 1; the rest is weighted_bce."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share s of each target, 0 to 1, that is taken as undecided: 1 becomes 1 - s/2, 0 becomes s/2."""


class CriteriaAgentConfig(AgentConfig):
    """The agent that says which criteria a post meets."""

    pooling: Literal["mean", "cls", "attention", "last2"] = "mean"
    """How a post's tokens become one vector: mean, cls (the windows' first tokens), attention (learned
    weights), or last2 (the mean in a learned mix of the last two layers)."""


class EvidenceAgentConfig(AgentConfig):
    """The agent that finds what in a post is evidence for each criterion."""

    kind: Literal["sentence", "span", "biaffine", "tagger", "crf_tagger"] = "sentence"
    """sentence: a score for each sentence; on tokens: span (where a range starts and ends), biaffine (a score
    for each range), tagger (outside, begin, inside), crf_tagger (the same with a linear chain). The taggers
    use cross-entropy, or the chain's likelihood, whatever `loss` is; label_smoothing applies to sentences
    alone, since nearly every token is not evidence."""
    head: Head = "mlp"
    """As for the criteria agent."""
    longest_range: int = Field(default=64, ge=1, le=8192)
    """Most tokens of a range that span and biaffine find; of a longer one they learn the first tokens."""


class LoraConfig(Section):
    """Low-rank adapters of the encoder's linear layers (Hu et al., 2021; peft)."""

    rank: int = Field(default=8, ge=1, le=4096)
    """Width of an adapter."""
    alpha: int = Field(default=16, gt=0)
    """The adapters' output is scaled by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout probability of an adapter's input in training."""
    target_modules: Text = "all-linear"
    """Layers that get an adapter: peft's `all-linear`, or a regular expression over module names."""


class ModelConfig(Section):
    """Both agents and what they share."""

    criteria_agent: CriteriaAgentConfig = CriteriaAgentConfig()
    evidence_agent: EvidenceAgentConfig = EvidenceAgentConfig()
    reading: Literal["posts", "pairs"] = "posts"
    """posts: each post is read once, for all criteria; pairs: once for each criterion, followed by its
    description."""
    descriptions: dict[str, Annotated[Text, StringConstraints(pattern=r"\S")]] = Field(default_factory=dict)
    """Description of each criterion for pairs; one without an entry is described by its name."""
    head_dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout probability of the heads' input in training."""
    coupling: Literal["independent", "concat", "sum", "gated", "strongest"] = "strongest"
    """How evidence joins the criteria agent: independent: not at all; concat, sum or gated: with the post's
    vector; strongest: the strongest evidence for a criterion is added to its logit. A single agent is
    independent."""
    fine_tuning: Literal["full", "top_layers", "heads", "lora"] = "full"
    """full: everything is trained; top_layers: the heads and the encoder's last trained_layers; heads: the
    encoder is frozen; lora: it is frozen and has low-rank adapters."""
    trained_layers: int = Field(default=2, ge=1)
    """Layers of the encoder that top_layers trains, counted from the last."""
    lora: LoraConfig = LoraConfig()
    max_positive_weight: float = Field(default=20.0, ge=1)
    """Largest weight of a criterion's positives in weighted_bce, which is negatives / positives."""

    @model_validator(mode="after")
    def _one_agent_at_least(self) -> ModelConfig:
        if self.criteria_agent.weight == 0 and self.evidence_agent.weight == 0:
            raise ValueError(
                "model.criteria_agent.weight and model.evidence_agent.weight are both 0: "
                "nothing would be trained"
            )
        return self
