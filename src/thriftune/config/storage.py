"""`storage`: how many bytes a study may hold, and what is kept of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field

from thriftune.config.base import Section, Text
from thriftune.units import parse_bytes

Size = Annotated[int, BeforeValidator(parse_bytes)]


class StorageConfig(Section):
    """The retention policy and the budget of one study. Epochs count from 1."""

    root: Text = "data/06_models"
    """Directory with a folder per study; a relative path starts at the project."""
    keep_last_n: int = Field(default=1, ge=1)
    """Newest checkpoints of the running trial that are kept with all that a resume needs."""
    keep_best_k: int = Field(default=1, ge=1)
    """Best epochs that a running trial keeps, and best trials that the study keeps."""
    keep_best_k_max: int = Field(default=2, ge=1)
    """Most checkpoints kept in all where several tie for the best exactly."""
    max_total_size: Size = Field(default=10 * 10**9, gt=0)
    """Byte budget of the whole study: checkpoints, journals, reports and shared data. A number of bytes, or a
    text such as 10GB or 512MiB."""
    min_interval_epochs: int = Field(default=1, ge=1)
    """Epochs from one save to the next; those in between cannot be the best."""
    free_disk_watermark: float = Field(default=0.10, ge=0, lt=1)
    """Share of the disk, 0 to 1; with less free only protected checkpoints are kept. 0: no watermark."""
    overlap: bool = True
    """true: training continues while a checkpoint is written, which takes memory for a copy; false: it
    waits."""
    checkpointing: bool = True
    """false: metrics only; nothing is saved, an interrupted trial restarts, and there is no test
    evaluation."""
    dry_run: bool = False
    """true: log what retention would keep, strip and delete, and delete nothing."""

    @property
    def folder(self) -> Path:
        """The absolute path of `root`."""
        return self.resolve(self.root)
