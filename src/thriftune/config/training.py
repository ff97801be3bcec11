"""`training`: how one configuration is trained."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from thriftune.config.base import Section


class TrainingConfig(Section):
    """Optimisation of one trial. A batch counts posts; a step is an optimizer step."""

    epochs: int = Field(default=8, ge=1)
    """Passes over the training posts of one trial."""
    batch_size: int = Field(default=16, ge=1)
    """Posts in a micro-batch; an optimizer step sees batch_size x accumulation posts."""
    accumulation: int = Field(default=1, ge=1)
    """Micro-batches in an optimizer step."""
    max_length: int = Field(default=256, ge=16)
    """Tokens in a window, special tokens included; a longer post becomes several windows."""
    overlap: int = Field(default=32, ge=0)
    """Tokens that neighbouring windows of one post share; at most half of max_length."""
    max_windows: int = Field(default=16, ge=1)
    """Most windows of one post in a training step, which bounds memory; evaluation always reads all."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Peak learning rate of the encoder, and of the heads where head_learning_rate is null."""
    head_learning_rate: float | None = Field(default=None, gt=0)
    """Peak learning rate of the heads; null: learning_rate."""
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    """Share, up to 1, of the learning rate of the layer above that each encoder layer has; 1: all the
    same."""
    optimizer: Literal["adamw", "adam", "radam", "adafactor", "lion", "sgd"] = "adamw"
    """lion needs a learning rate about ten times lower than adamw, sgd one about a hundred times higher."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Momentum of sgd; other optimizers ignore it."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Decoupled from the gradient (Loshchilov & Hutter, 2019), except in adam and sgd, where it is an L2
    penalty; 0: none."""
    schedule: Literal["linear", "cosine", "polynomial", "constant", "one_cycle"] = "linear"
    """How the learning rate falls to 0 after the warm-up; constant: it stays. one_cycle: up and down by half
    cosines (Smith & Topin, 2018), with the warm-up as the way up."""
    schedule_power: float = Field(default=2.0, gt=0)
    """Power of the polynomial schedule; others ignore it."""
    warmup_share: float = Field(default=0.1, ge=0, lt=1)
    """Share of all optimizer steps, 0 to 1, in which the learning rate rises linearly from 0."""
    clip_norm: float | None = Field(default=1.0, gt=0)
    """Largest L2 norm of the gradient; null: it is not clipped."""
    early_stopping_patience: int | None = Field(default=None, ge=1)
    """Saved epochs without a better value after which a trial stops; null: never."""
    gradient_checkpointing: bool = False
    """true: compute the encoder's activations again in the backward pass: less memory, the same weights,
    about a third more time."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision of the encoder's forward pass in training (autocast); all else is float32."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: the GPU where there is one, else the CPU."""
    threads: int | None = Field(default=None, ge=1, le=1024)
    """CPU threads of torch; null: the number of physical cores at the study's start, which is recorded."""

    @model_validator(mode="after")
    def _windows_advance(self) -> TrainingConfig:
        if self.overlap > self.max_length // 2:
            raise ValueError(
                f"overlap {self.overlap} is more than half of max_length {self.max_length}; "
                "windows of a long post would hardly advance"
            )
        return self
