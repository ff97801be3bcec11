"""The dual agent's shape: two agents on one shared encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

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
    """Branch, tag or commit. What a branch stands for is asked once, and written down below corpus.root."""
    window: int | None = Field(default=None, ge=16)
    """Most tokens at once, where it is known before the download."""
    licence: Text | None = None
    """For the reader: what the model card says."""
    gated: bool = False
    """For the reader: whether its terms have to be accepted first."""
    weights: Literal["safetensors", "pickle", "flax"] = "safetensors"
    """For the reader: the best format that the repository had when its entry was written."""


EncoderSource = Annotated[
    EncoderFromConfig | EncoderFromPackage | EncoderFromDirectory | EncoderFromHub,
    Field(discriminator="kind"),
]


Head = Literal["linear", "mlp", "residual", "gated", "multi_sample"]


class AgentConfig(Section):
    """What both agents have: a weight, a head and a loss."""

    weight: float = Field(default=1.0, ge=0)
    """Weight of this agent's loss in the joint loss; 0 leaves the agent out altogether."""
    head: Head = "linear"
    """linear, mlp, residual (an MLP with a shortcut), gated (GEGLU), or multi_sample (linear,
    averaged over several dropout masks)."""
    loss: Literal["bce", "weighted_bce", "focal", "asymmetric", "hybrid"] = "weighted_bce"
    """hybrid: focal and weighted_bce, mixed by hybrid_focal_share."""
    focal_gamma: float = Field(default=2.0, ge=0)
    """How much less focal (and its share of hybrid) counts what is right already; 0: cross-entropy."""
    asymmetric_gamma_positive: float = Field(default=0.0, ge=0)
    """The same, of asymmetric's positives."""
    asymmetric_gamma_negative: float = Field(default=4.0, ge=0)
    """The same, of asymmetric's negatives."""
    asymmetric_margin: float = Field(default=0.05, ge=0, lt=1)
    """Probability under which asymmetric leaves a negative out."""
    hybrid_focal_share: float = Field(default=0.5, ge=0, le=1)
    """Share of focal in hybrid; the rest is weighted_bce."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of each target that is taken as undecided: 1 becomes 1 - s/2, 0 becomes s/2."""


class CriteriaAgentConfig(AgentConfig):
    """Which criteria a post meets: pooling, head and loss of the post-level agent."""

    pooling: Literal["mean", "cls", "attention", "last2"] = "mean"
    """mean of the tokens, cls (first tokens), attention (learned), or last2 (the mean in a
    learned mix of the last two layers)."""


class EvidenceAgentConfig(AgentConfig):
    """What in a post is evidence for each criterion."""

    kind: Literal["sentence", "span", "biaffine", "tagger", "crf_tagger"] = "sentence"
    """sentence: a score a candidate sentence; of tokens: span (where a range starts and ends), biaffine (a
    score a range), tagger (outside, begin, inside), crf_tagger (with a linear chain over them). The
    taggers' loss is the cross-entropy, or the chain's likelihood, whatever `loss` is; label_smoothing is of
    sentences: where nearly every token is no evidence, it would be much."""
    head: Head = "mlp"
    longest_range: int = Field(default=64, ge=1, le=8192)
    """Most tokens of a range that span and biaffine find; a longer one is learned as its first tokens."""


class LoraConfig(Section):
    """Low-rank adapters of the encoder's linear layers (Hu et al., 2021; peft)."""

    rank: int = Field(default=8, ge=1, le=4096)
    """Width of an adapter."""
    alpha: int = Field(default=16, gt=0)
    """The adapters' output is scaled by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Of an adapter's input, in training."""
    target_modules: Text = "all-linear"
    """Which layers: peft's `all-linear`, or a regular expression over module names."""


class ModelConfig(Section):
    """Both agents and what they share."""

    criteria_agent: CriteriaAgentConfig = CriteriaAgentConfig()
    evidence_agent: EvidenceAgentConfig = EvidenceAgentConfig()
    reading: Literal["posts", "pairs"] = "posts"
    """posts: each post once, for all criteria; pairs: once a criterion, its description behind it."""
    descriptions: dict[str, Annotated[Text, StringConstraints(pattern=r"\S")]] = Field(default_factory=dict)
    """What pairs read of a criterion; without an entry its name."""
    head_dropout: float = Field(default=0.1, ge=0, lt=1)
    """Of the heads' input, in training."""
    coupling: Literal["independent", "concat", "sum", "gated", "strongest"] = "strongest"
    """Whether the evidence that the evidence agent is sure of joins the criteria agent's input, and how:
    concat, sum or gated with what is read of the post; strongest adds the strongest evidence for a
    criterion to its logit. An agent alone is independent."""
    fine_tuning: Literal["full", "top_layers", "heads", "lora"] = "full"
    """full: everything is trained; top_layers: the heads and the encoder's last trained_layers; heads: the
    encoder is frozen; lora: it has low-rank adapters."""
    trained_layers: int = Field(default=2, ge=1)
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
