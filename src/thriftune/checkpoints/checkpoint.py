"""What training hands over at an epoch's end, and the receipt by which it learns of the commit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from thriftune.errors import ThriftuneError

if TYPE_CHECKING:
    import torch


class Receipt:
    """Settled by the store: committed, or failed with its cause."""

    def __init__(self) -> None:
        self._settled = False
        self._cause: BaseException | None = None

    def commit(self) -> None:
        """The checkpoint is durable."""
        self._settled = True

    def fail(self, cause: BaseException) -> None:
        """The write failed; `cause` is raised where the receipt is checked."""
        self._settled, self._cause = True, cause

    def check(self) -> None:
        """Raise the cause of a failed write, or ThriftuneError where nobody saved it."""
        if self._cause is not None:
            raise self._cause
        if not self._settled:
            raise ThriftuneError("a checkpoint was yielded but no store saved it")


@dataclass(frozen=True)
class Checkpoint:
    """A CPU snapshot of one trial at the end of one epoch (epochs count from 1)."""

    study: str
    """Study id."""
    trial: int
    """Trial number, from 0."""
    trial_id: str
    epoch: int
    step: int
    """Optimizer steps taken so far in this trial."""
    value: float | None
    """The optimisation metric; None where it is undefined."""
    metrics: Mapping[str, float | None]
    """Validation metrics by dotted name."""
    model: Mapping[str, torch.Tensor]
    optimizer: Mapping[str, torch.Tensor]
    """Optimizer state, flattened to named tensors."""
    state: Mapping[str, Any]
    """Everything else that exact resume needs, as JSON values."""
    signature: Mapping[str, Any]
    """architecture, heads, criteria; the store adds every tensor's name, shape and dtype."""
    data_fingerprint: str
    attempt: int = 1
    receipt: Receipt = field(default_factory=Receipt, compare=False)
