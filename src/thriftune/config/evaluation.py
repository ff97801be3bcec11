"""`evaluation`: of the test split, and its report."""

from __future__ import annotations

from pydantic import Field

from thriftune.config.base import Section


class EvaluationConfig(Section):
    """The one test evaluation."""

    force: bool = False
    """Evaluate a study again that was evaluated already."""
    bootstrap_samples: int = Field(default=1000, ge=0)
    """Resamples of the 95 % intervals; 0: none."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Of the resamples."""
    batch_size: int = Field(default=32, ge=1)
    """Posts per forward pass."""
    examples: int = Field(default=1, ge=0, le=20)
    """Posts that report.html quotes of each criterion with evidence found, missed, and marked by mistake;
    0: no text of a post is in it. The copy in MLflow never has any."""
