"""How many bytes a study may hold, and what is kept of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field

from thriftune.config.base import Section, Text
from thriftune.units import parse_bytes

Size = Annotated[int, BeforeValidator(parse_bytes)]


class StorageConfig(Section):
    """The retention policy and the budget of one study. `epochs` count from 1."""

    root: Text = "data/06_models"
    """Directory that holds a folder per study."""
    keep_last_n: int = Field(default=1, ge=1)
    """Newest checkpoints of the running trial that are kept resume-capable."""
    keep_best_k: int = Field(default=1, ge=1)
    """Best epochs a running trial keeps, and best trials the study keeps."""
    keep_best_k_max: int = Field(default=2, ge=1)
    """Most co-best checkpoints (exact ties of the best) kept in all."""
    max_total_size: Size = Field(default=10 * 10**9, gt=0)
    """Byte budget of the whole study: checkpoints, journals, reports."""
    min_interval_epochs: int = Field(default=1, ge=1)
    """A save every so many epochs; epochs between are no candidates for the best."""
    free_disk_watermark: float = Field(default=0.10, ge=0, lt=1)
    """Share of free disk under which only what is protected is kept."""
    overlap: bool = True
    """Training goes on while a checkpoint is written (needs memory for one copy of it)."""
    checkpointing: bool = True
    """False: metrics only. Nothing is saved, a killed trial starts anew, and there is no test evaluation."""
    dry_run: bool = False
    """Say what retention would keep, strip and delete, and delete nothing."""

    @property
    def folder(self) -> Path:
        """The absolute path of `root`."""
        return self.resolve(self.root)
