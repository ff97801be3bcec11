"""`evaluation`: the test evaluation and its report."""

from __future__ import annotations

from pydantic import Field

from thriftune.config.base import Section


class EvaluationConfig(Section):
    """The one test evaluation."""

    force: bool = False
    """true: evaluate a study again that was evaluated before; both evaluations stay on record."""
    bootstrap_samples: int = Field(default=1000, ge=0)
    """Bootstrap samples of the 95 % intervals; 0: no intervals."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seed of the bootstrap samples."""
    batch_size: int = Field(default=32, ge=1)
    """Posts per forward pass."""
    examples: int = Field(default=1, ge=0, le=20)
    """Posts that report.html quotes for each criterion and kind (evidence found, missed, marked by mistake),
    up to 20; 0: no text of a post is in it. The copy in MLflow never has any."""
