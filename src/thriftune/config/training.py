"""How one configuration is trained."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from thriftune.config.base import Section


class TrainingConfig(Section):
    """Optimisation of one trial. Posts are the unit of a batch, optimizer steps of a step."""

    epochs: int = Field(default=8, ge=1)
    """Passes over the training posts of one trial."""
    batch_size: int = Field(default=16, ge=1)
    """Posts per micro-batch; an optimizer step sees batch_size x accumulation posts."""
    accumulation: int = Field(default=1, ge=1)
    max_length: int = Field(default=256, ge=16)
    """Tokens per window, special tokens included; longer posts become several windows."""
    overlap: int = Field(default=32, ge=0)
    """Tokens that neighbouring windows of one post share."""
    max_windows: int = Field(default=16, ge=1)
    """Most windows of one post in a training step (memory); evaluation always reads all."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Peak rate of the encoder, and of the heads where head_learning_rate is null."""
    head_learning_rate: float | None = Field(default=None, gt=0)
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    """Each layer of the encoder learns at this share of the rate of the layer above it; 1: all alike."""
    optimizer: Literal["adamw", "adam", "radam", "adafactor", "lion", "sgd"] = "adamw"
    """lion wants a rate some ten times lower than adamw, sgd one some hundred times higher."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Of sgd."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Decoupled from the gradient (Loshchilov & Hutter, 2019) but under adam and sgd, where it is an L2
    penalty."""
    schedule: Literal["linear", "cosine", "polynomial", "constant", "one_cycle"] = "linear"
    """How the rate goes after warming up: to 0 but for constant. one_cycle: up and down by half cosines
    (Smith & Topin, 2018), its warm-up the way up."""
    schedule_power: float = Field(default=2.0, gt=0)
    """Of polynomial."""
    warmup_share: float = Field(default=0.1, ge=0, lt=1)
    """Share of all optimizer steps that warm up linearly from 0."""
    clip_norm: float | None = Field(default=1.0, gt=0)
    """Largest L2 norm of the gradient; null: no clipping."""
    early_stopping_patience: int | None = Field(default=None, ge=1)
    """Saved epochs without a gain after which a trial stops; null: never."""
    gradient_checkpointing: bool = False
    """Compute the encoder's activations again in the backward pass in place of keeping them: less memory, the
    same weights, about a third more time."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of the encoder's forward pass in training (autocast); weights, heads and evaluation are float32."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int | None = Field(default=None, ge=1, le=1024)
    """CPU threads of torch; null: the physical cores at the study's start."""

    @model_validator(mode="after")
    def _windows_advance(self) -> TrainingConfig:
        if self.overlap > self.max_length // 2:
            raise ValueError(
                f"overlap {self.overlap} is more than half of max_length {self.max_length}; "
                "windows of a long post would hardly advance"
            )
        return self
