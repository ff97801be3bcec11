"""What training hands over at an epoch's end, and the receipt by which it learns of the commit."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from thriftune.errors import ThriftuneError

if TYPE_CHECKING:
    import torch


class Receipt:
    """Accepted by the store, then settled: committed, or failed with its cause.

    awaited: whoever made the checkpoint looks at the receipt, so a failed write is raised there and
    not where the store was called.
    """

    def __init__(self, *, awaited: bool = False) -> None:
        self.awaited = awaited
        self._accepted = False
        self._settled = threading.Event()
        self._cause: BaseException | None = None

    def accept(self) -> None:
        """The store has the checkpoint and will settle the receipt."""
        self._accepted = True

    def commit(self) -> None:
        """The checkpoint is durable."""
        self._accepted = True
        self._settled.set()

    def fail(self, cause: BaseException) -> None:
        """The write failed; `cause` is raised where the receipt is checked."""
        self._accepted, self._cause = True, cause
        self._settled.set()

    def check(self) -> None:
        """Raise the cause of a failed write, or ThriftuneError where no store has the checkpoint.
        Does not wait."""
        if self._cause is not None:
            raise self._cause
        if not self._accepted:
            raise ThriftuneError("a checkpoint was yielded but no store saved it")

    def wait(self) -> None:
        """Wait until the receipt is settled, then check it."""
        if self._accepted:
            self._settled.wait()
        self.check()


@dataclass(frozen=True)
class Checkpoint:
    """One trial at the end of one epoch (epochs count from 1)."""

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
    """What training changed: trained parameters and buffers. What it did not change is named, with its
    hashes, in signature["base"]."""
    optimizer: Mapping[str, torch.Tensor]
    """Optimizer state, flattened to named tensors."""
    state: Mapping[str, Any]
    """Everything else that exact resume needs, as JSON values."""
    signature: Mapping[str, Any]
    """architecture, heads, criteria; the store adds every tensor's name, shape and dtype."""
    data_fingerprint: str
    attempt: int = 1
    detached: bool = False
    """The tensors are copies that nothing changes any more, so they can be written while training goes
    on. Otherwise they must be written before the save returns."""
    receipt: Receipt = field(default_factory=Receipt, compare=False)
